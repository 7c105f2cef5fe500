"""Lists a page at a time, for services that know only `pageSize` and `pageToken`. Source: https://google.aip.dev/158"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Call


def page(key: str, items: list[dict[str, Any]], call: Call, size: int, most: int) -> dict[str, Any]:
    """`{key: …, nextPageToken: …}`: `size` items where the call names no number, never more than `most`."""
    asked = int(call.get("pageSize") or size)
    if asked < 0:
        raise errors.invalid("Request contains an invalid argument.")
    begin, end = _offset(call.get("pageToken", "")), min(asked, most)
    answer: dict[str, Any] = {key: items[begin : begin + end]} if items[begin:] else {}
    if len(items) > begin + end:
        answer["nextPageToken"] = base64.urlsafe_b64encode(str(begin + end).encode()).decode()
    return answer


def _offset(token: str) -> int:
    try:
        return int(base64.urlsafe_b64decode(token.encode()) or b"0")
    except (ValueError, binascii.Error):
        raise errors.invalid("Request contains an invalid argument.") from None
