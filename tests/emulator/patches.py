"""Patches: what a body is to be by an update mask, or by what was sent alone.

Sources: https://google.aip.dev/161 (masks); RFC 7396, as https://cloud.google.com/storage/docs/json_api#patch and
https://cloud.google.com/compute/docs/api/how-tos/patch have it
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from tests.emulator import errors
from tests.emulator.schema import without_nulls


def paths(mask: str) -> list[str]:
    """The paths of a mask, as sent."""
    return [path.strip() for path in mask.split(",") if path.strip()]


def camel(name: str) -> str:
    """`display_name` as JSON writes it; masks may have either."""
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def replaced(old: Mapping[str, Any], new: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The old body with what is at one path taken from the new one, which may have nothing there."""
    head, *rest = keys
    kept = {key: value for key, value in old.items() if key != head}
    if not rest:
        return kept | ({head: copy.deepcopy(new[head])} if head in new else {})
    inner, wanted = old.get(head, {}), new.get(head, {})
    if not isinstance(inner, Mapping):
        raise errors.invalid(f"Invalid field mask path: {'.'.join(keys)}.")  # no source: words
    return kept | {head: replaced(inner, wanted if isinstance(wanted, Mapping) else {}, rest)}


def merged(old: Any, new: Any) -> Any:
    """A patch without a mask: objects merge, null removes, everything else is replaced."""
    if not isinstance(new, dict):
        return copy.deepcopy(without_nulls(new))
    old = old if isinstance(old, dict) else {}
    kept = {key: copy.deepcopy(value) for key, value in old.items() if key not in new}
    return kept | {key: merged(old.get(key), value) for key, value in new.items() if value is not None}
