"""What is there, cut to what is wanted: Google fills in fields that nobody asked for, and they are no drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINK = "https://www.googleapis.com/compute/v1/"
"""What stands before a path where Google answers; it takes the path alone."""


def pruned(seen: Any, wanted: Any) -> Any:
    """What `seen` has of the fields of `wanted`, at any depth, in the form in which that is written."""
    if seen is None and wanted in (False, 0):
        return wanted  # left out of JSON
    if isinstance(wanted, Mapping):
        return {key: pruned(seen.get(key), value) for key, value in wanted.items()} if seen else {}
    if isinstance(wanted, list) and isinstance(seen, list) and len(seen) == len(wanted):
        return [pruned(found, each) for found, each in zip(seen, wanted, strict=True)]
    if isinstance(seen, str) and isinstance(wanted, int):
        return int(seen)  # 64 bits are text in JSON
    return seen.removeprefix(LINK) if isinstance(seen, str) else seen
