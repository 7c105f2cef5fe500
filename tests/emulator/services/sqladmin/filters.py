"""Filters of lists: `field:value` terms.

Source: the `filter` parameters of instances.list and backups.list in
https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1
"""

from __future__ import annotations

import re
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.services.sqladmin.answers import refused


def chosen(text: str, body: Body) -> bool:
    """Whether a body passes `field:value` terms, joined by AND or by blanks. OR, NOT and comparisons: 501."""
    terms = [term for term in re.split(r"\s+(?:AND\s+)?", text.strip()) if term]
    if "OR" in terms or any(term[0] in "(-" for term in terms):
        raise errors.not_emulated(f"sql.instances.list with filter {text!r}")
    return all(_term(term, body) for term in terms)


def _term(term: str, body: Body) -> bool:
    found = re.fullmatch(r"([\w.]+)[:=]\"?([^\"]*)\"?", term)
    if found is None:
        raise refused(f"Invalid filter: {term}")
    value: Any = body
    for part in found[1].split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value is not None and (found[2] == "*" or str(value).lower() == found[2].lower())
