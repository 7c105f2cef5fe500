"""Filter, order and pages of a list in Compute Engine.

Source: the `filter`, `orderBy`, `maxResults` and `pageToken` parameters in
https://cloud.google.com/compute/docs/reference/rest/v1/instances/list
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call

MOST = 500
"""Results on a page where none or more are asked for."""
TERM = re.compile(
    r'\s*(-|NOT\s+)?([\w.\-]+)\s*(=|!=|>=|<=|>|<|:|\beq\b|\bne\b)\s*("(?:[^"\\]|\\.)*"|\'[^\']*\'|[^\s()]+)'
)


def chosen(items: list[Body], call: Call) -> tuple[list[Body], dict[str, str]]:
    """The page asked for, and `{"nextPageToken": …}` where there is more."""
    kept = [item for item in items if _keeps(call.get("filter", ""), item)]
    if call.get("orderBy") == "creationTimestamp desc":
        kept.sort(key=lambda item: item.get("creationTimestamp", ""), reverse=True)
    size = min(call.get("maxResults", MOST) or MOST, MOST)
    begin = _offset(call.get("pageToken", ""))
    more = {"nextPageToken": f"page-{begin + size}"} if begin + size < len(kept) else {}
    return kept[begin : begin + size], more


def _offset(token: str) -> int:
    if not token:
        return 0
    found = re.fullmatch(r"page-(\d+)", token)
    if not found:
        raise errors.invalid(f"Invalid value for field 'pageToken': '{token}'. The page token is invalid.")
    return int(found[1])


def _keeps(text: str, item: Body) -> bool:
    """Terms joined by AND, by OR inside parentheses; both spellings of equality."""
    if not text.strip():
        return True
    groups = re.split(r"\s+AND\s+|\)\s*\(", text.strip())
    return all(any(_term(part, item) for part in re.split(r"\s+OR\s+|\|", group)) for group in groups)


def _term(text: str, item: Body) -> bool:
    bare = text.strip().strip("()").strip()
    found = TERM.fullmatch(bare)
    if not found:
        raise errors.invalid(f"Invalid value for field 'filter': '{text}'. Invalid list filter expression.")
    negated, path, operator, value = found.groups()
    wanted = value.strip("\"'")
    values = [str(each).lower() if isinstance(each, bool) else str(each) for each in _values(item, path.split("."))]
    hit = any(_compare(operator, each, wanted) for each in values)
    if operator in ("!=", "ne"):
        hit = not any(_compare("=" if operator == "!=" else "eq", each, wanted) for each in values)
    return hit is not bool(negated)


def _compare(operator: str, value: str, wanted: str) -> bool:
    if operator == "eq":
        return re.fullmatch(wanted, value) is not None
    if operator == ":":
        return wanted == "*" or wanted.strip("*").lower() in value.lower()
    if operator in (">", "<", ">=", "<="):
        left, right = (float(value), float(wanted)) if _numeric(value, wanted) else (value, wanted)
        return {">": left > right, "<": left < right, ">=": left >= right, "<=": left <= right}[operator]  # type: ignore[operator]
    return value == wanted


def _numeric(*texts: str) -> bool:
    return all(re.fullmatch(r"-?\d+(\.\d+)?", text) for text in texts)


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])
