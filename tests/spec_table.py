"""Keys of a spec file as rows of the table in blocks/README.md, read off the model: `python -m tests.spec_table`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from blocks.spec import StackSpec

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """One key of a spec file, in the words of the manual."""

    name: str
    """Dotted path; `workers[].pool` for a key of each worker."""
    type: str
    default: str
    what: str

    def row(self, why: str = "") -> str:
        """Its row in the table; the last cell, the reason for the default, is for a person to write."""
        return f"| `{self.name}` | {self.type} | {self.default} | {_escaped(self.what)} | {why} |"


def _escaped(text: str) -> str:
    """What looks like an HTML tag outside backticks would not be shown."""
    parts = text.split("`")
    return "`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts))


def keys() -> list[Key]:
    """Every key of `StackSpec`, in the model's order."""
    schema = StackSpec.model_json_schema()
    return list(_keys(schema, schema["$defs"], ""))


def _keys(schema: Schema, definitions: Schema, prefix: str) -> Iterator[Key]:
    for name, field in schema["properties"].items():
        if "$ref" in field:
            yield from _keys(_referred(field, definitions), definitions, f"{prefix}{name}.")
            continue
        default = _default(field) if name not in schema.get("required", ()) else "must be given"
        yield Key(prefix + name, _type(_given(field)), default, field["description"])
        items = field.get("items", {})
        if "$ref" in items:
            yield from _keys(_referred(items, definitions), definitions, f"{prefix}{name}[].")


def _referred(field: Schema, definitions: Schema) -> Schema:
    found: Schema = definitions[field["$ref"].rpartition("/")[2]]
    return found


def _given(field: Schema) -> Schema:
    """The type of a value that is given, where the key may be left out."""
    found: Schema = next((each for each in field.get("anyOf", ()) if each["type"] != "null"), field)
    return found


def _type(field: Schema) -> str:
    if "enum" in field or "const" in field:
        return "one of " + ", ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    if "$ref" in field:
        return f"{field['$ref'].rpartition('/')[2].lower()}s"
    if field["type"] == "array":
        return "list of " + _type(field["items"]).removeprefix("one of ")
    if field["type"] == "integer":
        least, most = field["minimum"], field.get("maximum")
        return f"integer, {least} to {most}" if most else f"integer, at least {least}"
    return {"string": "text", "object": "table of text", "boolean": "yes or no"}[field["type"]]


def _default(field: Schema) -> str:
    default = field["default"]
    if default is None:
        return "left out"
    if isinstance(default, list) and any(isinstance(each, dict) for each in default):
        return ", ".join(f"`{each['name']}`" for each in default)
    return f"`{json.dumps(default)}`"


if __name__ == "__main__":
    print("\n".join(key.row() for key in keys()))
