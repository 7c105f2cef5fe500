"""Update masks: which fields of a resource a patch is about. Source: https://google.aip.dev/161"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from tests.emulator import errors


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
