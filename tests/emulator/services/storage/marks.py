"""Marks of a version: generation, etag, timestamps."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from tests.emulator import errors
from tests.emulator.world import FIRST_NUMBER, World


def policy_name(bucket: str) -> str:
    """Source: `resourceId` in https://cloud.google.com/storage/docs/json_api/v1/buckets/getIamPolicy"""
    return f"projects/_/buckets/{bucket}"


def lists_name(bucket: str) -> str:
    """Where the default list of a bucket's objects, projectPrivate, is kept as if it were a policy.

    Source: https://cloud.google.com/storage/docs/access-control/lists#default
    """
    return f"{policy_name(bucket)}/defaultObjectAcl"


def stamp(moment: datetime) -> str:
    """Milliseconds, as Cloud Storage writes a timestamp."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def next_generation(world: World) -> int:
    """Microseconds of the moment, moved on so that none comes twice.

    Source: https://cloud.google.com/storage/docs/metadata#generation-number says no more than that they increase.
    """
    return int(world.clock.now().timestamp() * 1_000_000) + world.number() - FIRST_NUMBER


def etag(*numbers: int) -> str:
    """Base64 of the numbers as fields of a protocol buffer, as etags of Cloud Storage look: 1 is `CAE=`."""
    fields = (bytes([8 * position]) + _varint(number) for position, number in enumerate(numbers, start=1))
    return base64.b64encode(b"".join(fields)).decode()


def _varint(number: int) -> bytes:
    low = bytearray()
    while number > 127:
        low.append(number & 127 | 128)
        number >>= 7
    return bytes([*low, number])


def moment(text: str) -> datetime:
    """A timestamp as the API writes it; 400 for a day or an hour that is none (no source for the words)."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise errors.invalid(f"Invalid value: '{text}' is malformed.") from None
