"""Custom metadata of an instance or a project as the API takes it: its limits, its fingerprint.

Sources: `Metadata` in https://cloud.google.com/compute/docs/reference/rest/v1/instances (512 KB in all, 256 KiB a
value, keys) and https://cloud.google.com/compute/docs/troubleshooting/troubleshoot-os-login ("maximum size 262144
character(s)", with code 413 in notes of public repositories).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.services.compute.base import fingerprint, stale

LARGEST_VALUE = 262_144
LARGEST_TOTAL = 524_288


def metadata(given: Body, field: str) -> Body:
    """Metadata as it is kept, with its fingerprint; 400 or 413 for what breaks a limit."""
    items = given.get("items", [])
    keys = [item.get("key", "") for item in items]
    for number, item in enumerate(items):
        _check(item, f"{field}.items[{number}]")
    for key in keys:
        if keys.count(key) > 1:
            raise errors.invalid(f"Invalid value for field '{field}': '{key}'. Metadata has duplicate key: {key}.")
    total = sum(len(item["key"].encode()) + len(item.get("value", "").encode()) for item in items)
    if total > LARGEST_TOTAL:
        raise _too_large(field, LARGEST_TOTAL, total)
    kept: dict[str, Any] = {"kind": "compute#metadata", "fingerprint": fingerprint(items)}
    return kept | ({"items": copy.deepcopy(items)} if items else {})


def _check(item: Body, field: str) -> None:
    """The pattern of keys is the schema's; it says "less than 128 bytes" in words and 128 in the pattern."""
    if not item.get("key"):
        raise errors.invalid(f"Required field '{field}.key' not specified", reason="required")
    size = len(item.get("value", "").encode())
    if size > LARGEST_VALUE:
        raise _too_large(f"{field}.value", LARGEST_VALUE, size)


def _too_large(field: str, most: int, size: int) -> errors.ApiError:
    message = f"Value for field '{field}' is too large: maximum size {most} character(s); actual size {size}."
    return errors.ApiError(413, message, reason="uploadTooLarge")


def replacement(given: Body, key: str) -> Callable[[Body], None]:
    """What puts new metadata in the place of the old in a body; 412 unless the caller has seen what is there.

    Sources: "You must always provide an up-to-date fingerprint hash" in the reference; gravitational/teleport#43219
    for the call that is refused, cloudfoundry/bosh-google-cpi-release#159 for the operation that ends so.
    """
    new = metadata(given, "metadata")

    def change(body: Body) -> None:
        if given.get("fingerprint") != body[key]["fingerprint"]:
            raise stale("Supplied fingerprint does not match current metadata fingerprint.")
        body[key] = new

    return change


def values(body: Body) -> dict[str, str]:
    """Metadata as a mapping."""
    return {item["key"]: item.get("value", "") for item in body.get("items", [])}
