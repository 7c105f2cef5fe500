"""Filters of lists of secrets and versions.

Source: https://cloud.google.com/secret-manager/docs/filtering: `name:a OR name:b`, `labels.k=v`, `create_time<…`,
`state:ENABLED`, joined by AND (or a space) and OR, with NOT or `-` before a term.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body

TERM = re.compile(r'(?P<not>NOT\s+|-)?(?P<path>[\w.]+)\s*(?P<sign><=|>=|!=|[:=<>])\s*(?P<value>"[^"]*"|[^\s()]+)')


def keeps(text: str, body: Body) -> bool:
    """Whether a filter lets this one through. OR binds more tightly than AND, as https://google.aip.dev/160 says."""
    if "(" in text:
        raise errors.not_emulated("a filter with parentheses")
    groups: list[list[bool]] = []
    joined = "AND"
    for joiner, term in _terms(text):
        joined = joiner or "AND"
        if joined == "OR" and groups:
            groups[-1].append(_holds(term, body))
        else:
            groups.append([_holds(term, body)])
    return all(any(group) for group in groups)


def _terms(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Each term, with the word before it."""
    end = 0
    while rest := text[end:].strip():
        end = len(text) - len(text[end:].lstrip())
        joiner = re.match(r"(AND|OR)\s+", rest)
        start = end + (joiner.end() if joiner else 0)
        found = TERM.match(text, start)
        if found is None:
            raise errors.invalid(f"Invalid filter: {text}")  # no source for the words
        yield (joiner[1] if joiner else ""), found
        end = found.end()


def _holds(term: re.Match[str], body: Body) -> bool:
    path, sign, wanted = term["path"], term["sign"], term["value"].strip('"')
    value = _value(body, path.split("."))
    return _compare(sign, value, wanted) is not bool(term["not"])


def _compare(sign: str, value: Any, wanted: str) -> bool:
    if value is None:
        return sign == "!="
    if sign == ":":
        found = wanted.lower() in str(value).lower() if not isinstance(value, dict) else wanted in value
        return wanted == "*" or found
    ordered = {
        "<": str(value) < wanted,
        ">": str(value) > wanted,
        "<=": str(value) <= wanted,
        ">=": str(value) >= wanted,
    }
    return ordered.get(sign, (str(value) == wanted) is (sign == "="))


def _value(body: Any, path: list[str]) -> Any:
    """What is there by camel case or snake case; a `name` is its last part."""
    for number, part in enumerate(path):
        head, *rest = part.split("_")
        camel = head + "".join(word.title() for word in rest)
        body = body.get(part, body.get(camel)) if isinstance(body, dict) else None
        if number == 0 and part == "name" and isinstance(body, str):
            body = body.rpartition("/")[2]
    return body
