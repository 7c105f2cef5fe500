"""What a caller may set on a bucket: which names, places, classes and policies are valid, and their defaults.

Source: https://cloud.google.com/storage/docs/json_api/v1/buckets
"""

from __future__ import annotations

import ipaddress
import re
from datetime import datetime, timedelta
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.services.storage.lifecycle import check_rules
from tests.emulator.services.storage.marks import moment, stamp

MULTI_REGIONS = frozenset({"US", "EU", "ASIA"})
DUAL_REGIONS = frozenset({"ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"})
REGIONS = frozenset({
    "AFRICA-SOUTH1", "ASIA-EAST1", "ASIA-EAST2", "ASIA-NORTHEAST1", "ASIA-NORTHEAST2", "ASIA-NORTHEAST3",
    "ASIA-SOUTH1", "ASIA-SOUTH2", "ASIA-SOUTHEAST1", "ASIA-SOUTHEAST2", "AUSTRALIA-SOUTHEAST1",
    "AUSTRALIA-SOUTHEAST2", "EUROPE-CENTRAL2", "EUROPE-NORTH1", "EUROPE-NORTH2", "EUROPE-SOUTHWEST1",
    "EUROPE-WEST1", "EUROPE-WEST2", "EUROPE-WEST3", "EUROPE-WEST4", "EUROPE-WEST6", "EUROPE-WEST8", "EUROPE-WEST9",
    "EUROPE-WEST10", "EUROPE-WEST12", "ME-CENTRAL1", "ME-CENTRAL2", "ME-WEST1", "NORTHAMERICA-NORTHEAST1",
    "NORTHAMERICA-NORTHEAST2", "NORTHAMERICA-SOUTH1", "SOUTHAMERICA-EAST1", "SOUTHAMERICA-WEST1", "US-CENTRAL1",
    "US-EAST1", "US-EAST4", "US-EAST5", "US-SOUTH1", "US-WEST1", "US-WEST2", "US-WEST3", "US-WEST4",
})  # fmt: skip
"""Source of all three: https://cloud.google.com/storage/docs/locations"""
STORAGE_CLASSES = (
    "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY",
)  # fmt: skip
"""Source: https://cloud.google.com/storage/docs/storage-classes"""
WRITABLE = (
    "defaultEventBasedHold", "iamConfiguration", "labels", "lifecycle", "retentionPolicy", "rpo", "softDeletePolicy",
    "storageClass", "versioning",
)  # fmt: skip
"""What an insert, a patch or an update sets; what only Google sets is ignored in a body."""
NOT_EMULATED = (
    "acl", "billing", "cors", "customPlacementConfig", "defaultObjectAcl", "encryption", "ipFilter", "logging",
    "objectRetention", "website",
)  # fmt: skip
"""Settings that would change what a bucket does, and are refused when they say anything."""
SOFT_DELETE = timedelta(days=7)
"""Source: https://cloud.google.com/storage/docs/soft-delete#default"""
SOFT_DELETE_RANGE = (timedelta(days=7), timedelta(days=90))
"""Or 0 for off. Source: https://cloud.google.com/storage/docs/soft-delete#retention-duration"""
LONGEST_RETENTION = 3_155_760_000
"""Seconds: 100 years. Source: https://cloud.google.com/storage/docs/bucket-lock#retention-periods"""
UNIFORM_LOCK = timedelta(days=90)
"""Source: https://cloud.google.com/storage/docs/uniform-bucket-level-access"""
LABEL = re.compile(r"[\w-]{1,63}")
PREVENTIONS = ("inherited", "enforced", "unspecified")


def check_name(name: str) -> None:
    """Source: https://cloud.google.com/storage/docs/buckets#naming; the words:
    googleapis/nodejs-storage#1652 and, of a domain, hectorj/terraform-provider-googlesiteverification#23."""
    if not name:
        raise errors.invalid("Required", reason="required")
    longest = 222 if "." in name else 63
    well_formed = re.fullmatch(r"[a-z0-9][a-z0-9._-]*[a-z0-9]", name) and 3 <= len(name) <= longest
    parts_fit = all(0 < len(part) <= 63 for part in name.split("."))
    if not well_formed or not parts_fit or _is_address(name) or name.startswith("goog") or _like_google(name):
        raise errors.invalid(f"Invalid bucket name: '{name}'")
    if "." in name:
        where = f"https://search.google.com/search-console/welcome?new_domain_name={name}"
        raise errors.ApiError(
            403,
            f"Another user owns the domain {name} or a parent domain. You can either verify domain ownership at "
            f"{where} or find the current owner and ask that person to create the bucket for you",
            reason="forbidden",
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        return False
    return True


def _like_google(name: str) -> bool:
    """ "google" or "close misspellings, such as g00gle"."""
    return "google" in name.replace("0", "o")


def place(location: str) -> Body:
    """`location`, `locationType` and, where there is one, `rpo`.

    Source of the words: googleapis/google-cloud-cpp#8566.
    """
    name = location.upper()
    if name in REGIONS:
        return {"location": name, "locationType": "region"}
    if name in MULTI_REGIONS or name in DUAL_REGIONS:
        kind = "multi-region" if name in MULTI_REGIONS else "dual-region"
        return {"location": name, "locationType": kind, "rpo": "DEFAULT"}
    raise errors.invalid("The specified location constraint is not valid.")


def refuse_unknown(body: Body) -> None:
    """501 for settings that are not emulated."""
    for name in NOT_EMULATED:
        if body.get(name):
            raise errors.not_emulated(f"a bucket's {name}")
    for name in ("autoclass", "hierarchicalNamespace"):
        if body.get(name, {}).get("enabled"):
            raise errors.not_emulated(f"a bucket's {name}")
    if body.get("rpo", "DEFAULT") != "DEFAULT":
        raise errors.not_emulated(f"a bucket's rpo {body['rpo']}")


def settled(wanted: Body, before: Body, now: datetime) -> Body:
    """The settings that a bucket has after a caller's wish, completed and checked against what they were before."""
    refuse_unknown(wanted)
    kept = {name: wanted[name] for name in WRITABLE if wanted.get(name) is not None}
    kept.setdefault("storageClass", "STANDARD")
    if kept["storageClass"] not in STORAGE_CLASSES:
        raise errors.invalid(f"Invalid storage class: {kept['storageClass']}")  # no source for the words
    check_rules(kept.get("lifecycle", {}).get("rule", []), STORAGE_CLASSES)
    _check_labels(kept.get("labels", {}))
    kept["iamConfiguration"] = _iam(kept.get("iamConfiguration", {}), before.get("iamConfiguration", {}), now)
    kept["softDeletePolicy"] = _soft_delete(kept.get("softDeletePolicy"), before.get("softDeletePolicy"), now)
    retention = _retention(kept.pop("retentionPolicy", None), before, now)
    return kept | ({"retentionPolicy": retention} if retention else {})


def _check_labels(labels: dict[str, str]) -> None:
    """Source: https://cloud.google.com/storage/docs/tags-and-labels#bucket-labels (no source for the words)"""
    if len(labels) > 64:
        raise errors.invalid("A bucket has at most 64 labels.")
    for key, value in labels.items():
        begins = key[:1].isalpha() and key == key.lower() and value == value.lower()
        if not begins or not LABEL.fullmatch(key) or (value and not LABEL.fullmatch(value)):
            raise errors.invalid(f"Invalid label: {key}={value}")


def _iam(wanted: Body, before: Body, now: datetime) -> Body:
    """Uniform access and its lock, under its old name too, and the prevention of public access."""
    prevention = wanted.get("publicAccessPrevention", "inherited")
    if prevention not in PREVENTIONS:
        raise errors.invalid(f"Invalid publicAccessPrevention: {prevention}")  # no source for the words
    older, newer = (wanted.get(name, {}).get("enabled") for name in ("bucketPolicyOnly", "uniformBucketLevelAccess"))
    was = before.get("uniformBucketLevelAccess", {})
    enabled = bool(older if newer is None else newer)
    uniform: Body = {"enabled": enabled}
    if enabled:
        uniform["lockedTime"] = was.get("lockedTime") or stamp(now + UNIFORM_LOCK)
    elif was.get("enabled") and moment(was["lockedTime"]) <= now:
        # no source for the words
        raise errors.ApiError(412, "Uniform bucket-level access is locked and cannot be disabled.")
    prevention = "inherited" if prevention == "unspecified" else prevention
    return {"bucketPolicyOnly": uniform, "uniformBucketLevelAccess": uniform, "publicAccessPrevention": prevention}


def _soft_delete(wanted: Body | None, before: Body | None, now: datetime) -> Body:
    low, high = (int(limit.total_seconds()) for limit in SOFT_DELETE_RANGE)
    seconds = int((wanted or {}).get("retentionDurationSeconds", SOFT_DELETE.total_seconds()))
    if seconds != 0 and not low <= seconds <= high:
        raise errors.invalid("Soft delete policy retention duration must be 0 or between 7 and 90 days.")  # no source
    if before and int(before["retentionDurationSeconds"]) == seconds:
        return before
    return {"retentionDurationSeconds": str(seconds), "effectiveTime": stamp(now)}


def _retention(wanted: Body | None, bucket: Body, now: datetime) -> Body | None:
    """Source: https://cloud.google.com/storage/docs/bucket-lock; gsutil's own tests have the words of a locked one."""
    before = bucket.get("retentionPolicy", {})
    locked, period = before.get("isLocked", False), int((wanted or {}).get("retentionPeriod", 0))
    if locked and period < int(before["retentionPeriod"]):
        message = f"Cannot reduce retention duration of a locked Retention Policy for bucket '{bucket['name']}'."
        raise errors.ApiError(403, message, reason="forbidden")
    if wanted is None or "retentionPeriod" not in wanted:
        return None
    if not 0 < period <= LONGEST_RETENTION:
        raise errors.invalid(f"Retention period must be between 1 and {LONGEST_RETENTION} seconds.")  # no source
    same = str(period) == before.get("retentionPeriod")
    policy: dict[str, Any] = {"retentionPeriod": str(period)}
    policy["effectiveTime"] = before["effectiveTime"] if same else stamp(now)
    return policy | ({"isLocked": True} if locked else {})
