"""Lists of objects: prefix, delimiter, offsets, globs, versions, pages.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.storage.base import shown_object
from tests.emulator.world import Record

MOST = 1000
"""Items and prefixes on a page."""


@dataclass(frozen=True, order=True)
class Entry:
    """One line of a list: an object's name with its generation, or a prefix with none."""

    name: str
    generation: int = 0

    @property
    def token(self) -> str:
        """For a page that begins behind this line."""
        return base64.urlsafe_b64encode(f"{self.name}\n{self.generation}".encode()).decode()


def listing(records: Iterable[Record], call: Call) -> Body:
    """The page asked for: items, the prefixes that stand for more of them, and the token of the next."""
    for name in ("softDeleted", "filter"):
        if call.get(name):
            raise errors.not_emulated(f"{name} in a list of objects")
    lines: dict[Entry, Record | None] = {}
    for record in records:
        if _listed(record.body, call):
            lines |= _lines(record, call)
    after = _after(call.get("pageToken", ""))
    rest = sorted(entry for entry in lines if after is None or entry > after)
    size = min(call.get("maxResults") or MOST, MOST)
    given = rest[:size]
    items = [shown_object(found, call) for entry in given if (found := lines[entry]) is not None]
    prefixes = [entry.name for entry in given if lines[entry] is None]
    both: Body = {"items": items, "prefixes": prefixes}
    token = given[-1].token if given and len(rest) > size else ""
    shown = {key: value for key, value in both.items() if value}
    return {"kind": "storage#objects", **shown, **({"nextPageToken": token} if token else {})}


def _listed(body: Body, call: Call) -> bool:
    name, end = body["name"], call.get("endOffset", "")
    if "timeDeleted" in body and not call.get("versions"):
        return False
    if not name.startswith(call.get("prefix", "")) or name < call.get("startOffset", "") or (end and name >= end):
        return False
    return "matchGlob" not in call.parameters or re.fullmatch(pattern_of(call["matchGlob"]), name) is not None


def _lines(record: Record, call: Call) -> dict[Entry, Record | None]:
    """The object itself, or the prefix it is under; one whose name ends there is both where that is asked for."""
    name, delimiter = record.body["name"], call.get("delimiter", "")
    own: dict[Entry, Record | None] = {Entry(name, int(record.body["generation"])): record}
    start = len(call.get("prefix", ""))
    end = name.find(delimiter, start) if delimiter else -1
    if end < 0:
        return own
    prefix = name[: end + len(delimiter)]
    both = call.get("includeTrailingDelimiter") and prefix == name
    return {Entry(prefix): None} | (own if both else {})


def _after(token: str) -> Entry | None:
    if not token:
        return None
    try:
        name, _, generation = base64.urlsafe_b64decode(token).decode().rpartition("\n")
        return Entry(name, int(generation))
    except ValueError:
        raise errors.invalid("Invalid page token.") from None  # no source for the words


def pattern_of(glob: str) -> str:
    """A regular expression: `**` any text, `*` and `?` without a slash, `[…]`, `{a,b}`, `\\` before a literal.

    Source: https://cloud.google.com/storage/docs/json_api/v1/objects/list#list-objects-and-prefixes-using-glob
    """
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|\\.|[{},]|[^*?\[\]\\{},]+|.", glob, re.DOTALL)
    depth, parts = 0, []
    for token in tokens:
        depth += {"{": 1, "}": -1}.get(token, 0)
        parts.append("|" if token == "," and depth else _part(token))
    return "".join(parts)


def _part(token: str) -> str:
    fixed = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")"}
    if token in fixed:
        return fixed[token]
    if token.startswith("[") and token.endswith("]"):
        inner = token[1:-1].replace("\\", r"\\")
        return f"[^{inner[1:]}]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(token[1:] if token.startswith("\\") else token)
