"""Numbers as the schema has them: JSON may bring a 32-bit one as a text and a 64-bit one as a number.

Source: https://protobuf.dev/programming-guides/json/ ("either numbers or strings" are accepted, 64 bits come out as
strings).
"""

from __future__ import annotations

from typing import Any

from tests.emulator.discovery import Document, Schema


def typed(document: Document, schema: Schema, value: Any) -> Any:
    """A valid value in the form in which the API gives it back."""
    schema = document.schemas[schema["$ref"]] if "$ref" in schema else schema
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        return {key: typed(document, inner.get(key, {}), each) for key, each in value.items()}
    if isinstance(value, list):
        return [typed(document, schema.get("items", {}), each) for each in value if each is not None]
    if value is None or isinstance(value, bool):
        return value
    if schema.get("type") == "integer":
        return int(value)
    return str(int(value)) if schema.get("format") in ("int64", "uint64") else value
