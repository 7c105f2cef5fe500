"""Lists a page at a time. Source: https://google.aip.dev/158"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any, TypeVar

from tests.emulator import errors
from tests.emulator.kind import Call

Item = TypeVar("Item")
INVALID = "Request contains an invalid argument."
"""Google's words for a page that cannot be, where a service has none of its own."""


def page(
    key: str, items: Sequence[Any], call: Call, size: int, most: int, asked: str = "pageSize", wrong: str = INVALID
) -> dict[str, Any]:
    """`{key: …, nextPageToken: …}`: `size` items where the call names no number by `asked`, never more than `most`."""
    given, token = cut(items, min(int(call.get(asked) or size), most), call.get("pageToken", ""), wrong)
    return ({key: given} if given else {}) | ({"nextPageToken": token} if token else {})


def cut(items: Sequence[Item], size: int, token: str, wrong: str = INVALID) -> tuple[list[Item], str]:
    """`size` items from where the token says, and the token of what is left, "" where that is nothing."""
    begin = _offset(token)
    if size < 0 or begin is None:
        raise errors.invalid(wrong)
    more = base64.urlsafe_b64encode(str(begin + size).encode()).decode() if len(items) > begin + size else ""
    return list(items[begin : begin + size]), more


def _offset(token: str) -> int | None:
    """Where a page begins; None for a token that was never given."""
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode() or "0"
    except (ValueError, binascii.Error):
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
