"""Whose a thing at Google is: a label where its kind has labels, else its description."""

from __future__ import annotations

LABEL = "prefect-selfhost"
"""Label of what belongs to a stack; its value is the stack's name."""


def description(stack: str) -> str:
    """Description of what belongs to a stack."""
    return f"{LABEL}: {stack}"
