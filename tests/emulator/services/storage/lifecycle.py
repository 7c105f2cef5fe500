"""Lifecycle rules: what is a valid one, and what they do to objects.

Source: https://cloud.google.com/storage/docs/lifecycle
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any

from tests.emulator import errors
from tests.emulator.services.storage.marks import moment, stamp
from tests.emulator.world import Record, World

ACTIONS = ("Delete", "SetStorageClass", "AbortIncompleteMultipartUpload")
MOST_RULES = 100
"""Source: https://cloud.google.com/storage/quotas#lifecycle"""
FOR_UPLOADS = frozenset({"age", "matchesPrefix", "matchesSuffix"})
"""The only conditions of AbortIncompleteMultipartUpload, which speaks of uploads in parts by the XML API alone: there
are none here for it to end. Source: https://cloud.google.com/storage/docs/lifecycle#abort-mpu"""
Rule = dict[str, Any]


def check_rules(rules: list[Rule], storage_classes: Collection[str]) -> None:
    """400 for a rule that Google would not take. No source for the words."""
    if len(rules) > MOST_RULES:
        raise errors.invalid(f"A lifecycle configuration has at most {MOST_RULES} rules.")
    for rule in rules:
        _check_action(rule.get("action", {}), rule.get("condition", {}), storage_classes)
        _check_condition(rule.get("condition", {}))


def _check_action(action: dict[str, str], condition: dict[str, Any], storage_classes: Collection[str]) -> None:
    kind = action.get("type")
    if kind not in ACTIONS:
        raise errors.invalid(f"Invalid lifecycle action type: {kind}.")
    if kind == "SetStorageClass" and action.get("storageClass") not in storage_classes:
        raise errors.invalid(f"Invalid storage class in a lifecycle rule: {action.get('storageClass')}.")
    if kind != "SetStorageClass" and "storageClass" in action:
        raise errors.invalid(f"A lifecycle action {kind} has no storage class.")
    if kind == "AbortIncompleteMultipartUpload" and not set(condition) <= FOR_UPLOADS:
        raise errors.invalid(f"A lifecycle action {kind} takes the conditions {', '.join(sorted(FOR_UPLOADS))} only.")


def _check_condition(condition: dict[str, Any]) -> None:
    if "matchesPattern" in condition:
        raise errors.not_emulated("the lifecycle condition matchesPattern")
    if not condition:
        raise errors.invalid("A lifecycle rule must have at least one condition.")
    for name, value in condition.items():
        if name in _NUMBERS and int(value) < 0:
            raise errors.invalid(f"The lifecycle condition {name} must not be negative.")
        if name in _DATES:
            moment(f"{value}T00:00:00Z")


def expired(world: World, bucket: Record) -> None:
    """Do to every object what the bucket's rules say; deletion before a change of class."""
    rules = bucket.body.get("lifecycle", {}).get("rule", [])
    if not rules:
        return
    now = world.clock.now()
    for record in world.under(f"{bucket.name}/o/", "storage.objects"):
        newer = _newer_versions(world, record)
        hit = [rule["action"] for rule in rules if _holds(rule["condition"], record.body, now, newer)]
        if any(action["type"] == "Delete" for action in hit) and not protected(record.body, now):
            _delete(world, bucket, record, now)
        else:
            _set_class(record, hit, now)


def protected(body: dict[str, Any], now: datetime) -> bool:
    """Held, or within its retention: rules leave it. Source: https://cloud.google.com/storage/docs/lifecycle#delete"""
    until = body.get("retentionExpirationTime")
    held = body.get("temporaryHold") or body.get("eventBasedHold")
    return bool(held) or (until is not None and moment(until) > now)


def _delete(world: World, bucket: Record, record: Record, now: datetime) -> None:
    """A live object becomes noncurrent where the bucket keeps versions; anything else is gone."""
    world.drop(record.name)
    if bucket.body.get("versioning", {}).get("enabled") and "timeDeleted" not in record.body:
        archive(world, record, now)


def archive(world: World, record: Record, now: datetime) -> None:
    """Make a live object noncurrent. Source: https://cloud.google.com/storage/docs/object-versioning"""
    world.drop(record.name)
    record.name = f"{record.name}#{record.body['generation']}"
    record.body["timeDeleted"] = stamp(now)
    world.put(record)


def _set_class(record: Record, actions: list[dict[str, str]], now: datetime) -> None:
    for action in actions:
        if action["type"] == "SetStorageClass" and record.body["storageClass"] != action["storageClass"]:
            record.body["storageClass"] = action["storageClass"]
            record.body["timeStorageClassUpdated"] = stamp(now)


def _newer_versions(world: World, record: Record) -> int:
    key = record.name.rpartition("#")[0] if "timeDeleted" in record.body else record.name
    same = (each.body for each in world.under(key, "storage.objects") if each.body["name"] == record.body["name"])
    return sum(int(body["generation"]) > int(record.body["generation"]) for body in same)


def _holds(condition: dict[str, Any], body: dict[str, Any], now: datetime, newer: int) -> bool:
    """All conditions of a rule must hold."""
    return all(
        _newer(int(value), newer) if name == "numNewerVersions" else _CONDITIONS[name](value, body, now)
        for name, value in condition.items()
    )


def _newer(wanted: int, newer: int) -> bool:
    return newer >= wanted


def _days(field: str) -> Callable[[Any, dict[str, Any], datetime], bool]:
    def holds(value: Any, body: dict[str, Any], now: datetime) -> bool:
        return field in body and (now - moment(body[field])) / timedelta(days=1) >= int(value)

    return holds


def _before(field: str) -> Callable[[Any, dict[str, Any], datetime], bool]:
    def holds(value: Any, body: dict[str, Any], _: datetime) -> bool:
        return field in body and moment(body[field]) < moment(f"{value}T00:00:00Z")

    return holds


_NUMBERS = frozenset(
    {"age", "numNewerVersions", "daysSinceNoncurrentTime", "daysSinceCustomTime", "sizeAboveBytes", "sizeBelowBytes"}
)
_DATES = frozenset({"createdBefore", "customTimeBefore", "noncurrentTimeBefore"})
_CONDITIONS: dict[str, Callable[[Any, dict[str, Any], datetime], bool]] = {
    "age": _days("timeCreated"),
    "daysSinceNoncurrentTime": _days("timeDeleted"),
    "daysSinceCustomTime": _days("customTime"),
    "createdBefore": _before("timeCreated"),
    "noncurrentTimeBefore": _before("timeDeleted"),
    "customTimeBefore": _before("customTime"),
    "isLive": lambda value, body, _: value is ("timeDeleted" not in body),
    "matchesStorageClass": lambda value, body, _: body["storageClass"] in value,
    "matchesPrefix": lambda value, body, _: body["name"].startswith(tuple(value)),
    "matchesSuffix": lambda value, body, _: body["name"].endswith(tuple(value)),
    "sizeAboveBytes": lambda value, body, _: int(body["size"]) > int(value),
    "sizeBelowBytes": lambda value, body, _: int(body["size"]) < int(value),
}
