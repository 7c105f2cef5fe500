"""Values held against discovery schemas: requests as Google would refuse them, our own responses by the same rules.

Source of the words: proto3 JSON transcoding as the Extensible Service Proxy does it
(https://cloud.google.com/endpoints/docs/grpc/transcoding; the texts are those of mnfst/llm-gateway#1858,
"Invalid JSON payload received. Unknown name", and the same of other types), types and formats by
https://developers.google.com/discovery/v1/type-format.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.emulator.discovery import Document, Method, Schema

INTEGER_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
TEXT_FORMATS = {
    "google-datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)",
    "date-time": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)",
    "google-duration": r"-?\d{1,12}(\.\d{1,9})?s",
    "date": r"\d{4}-\d\d-\d\d",
    "google-fieldmask": r"[A-Za-z0-9_.,*`/-]*",
}
NOT_REQUIRED = {
    ("compute.firewalls.patch", "name"),  # a patch names what it changes
    ("compute.routes.insert", "priority"),  # its own description gives a default of 1000
    ("compute.networks.addPeering", "name"),  # older than `networkPeering`, which has a name of its own
    ("storage.buckets.update", "acl"),  # there is none under uniform bucket-level access
    ("storage.objects.update", "acl"),
    ("storage.buckets.setIamPolicy", "bindings"),  # none is how all are taken away
}
"""What the documents mark as required and Google's own clients leave out."""
MAX_DEPTH = 100
"""Nesting at which protobuf's parser gives up (CodedInputStream's default recursion limit)."""


@dataclass(frozen=True)
class Violation:
    """What is wrong, where (dotted path, "" is the whole body), and in Google's words."""

    where: str
    message: str


def violations(document: Document, schema: Schema, value: Any, root: str = "") -> list[Violation]:
    """All that is wrong with a value; root is the name of the request message's body field, if it has one."""
    return list(_check(document, schema, value, root, 0))


def missing(document: Document, method: Method, body: Mapping[str, Any]) -> list[str]:
    """Fields of the body that the document marks as required by this method, and that are not there."""
    schema = _resolved(document, method.request or {})
    marked = ((name, given.get("annotations", {})) for name, given in schema.get("properties", {}).items())
    wanted = [name for name, annotations in marked if method.id in annotations.get("required", ())]
    return [name for name in wanted if body.get(name) in (None, "", []) and (method.id, name) not in NOT_REQUIRED]


def plain(document: Document, schema: Schema, value: Any, numbers: Mapping[str, Mapping[int, str]]) -> Any:
    """The value in one form, whichever of those that JSON takes its client sent.

    Enums given as numbers, as clients over REST do, get their names; bytes in the alphabet for URLs, as gcloud sends
    them, get the usual one (https://protobuf.dev/programming-guides/json/ takes both and writes the latter).
    numbers has the enums whose numbers are not their places in the list, by schema name and property.
    """
    return _named(document, schema, value, numbers, "")


def _check(document: Document, schema: Schema, value: Any, where: str, depth: int) -> Iterator[Violation]:
    if depth > MAX_DEPTH:
        yield Violation(where, "Message too deep. Max recursion depth reached")
        return
    schema = _resolved(document, schema)
    if value is None:
        return
    if "enum" in schema:
        yield from _check_enum(schema, value, where)
        return
    kind = schema.get("type", "any")
    yield from _CHECKS[kind](document, schema, value, where, depth)


def _resolved(document: Document, schema: Schema) -> Schema:
    reference = schema.get("$ref")
    return document.schemas[reference] if reference else schema


def without_nulls(value: Any) -> Any:
    """A null is a field that is not set, but for a patch, where it removes one.

    Source: https://protobuf.dev/programming-guides/json/#null, https://cloud.google.com/compute/docs/api/how-tos/patch
    """
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value if each is not None] if isinstance(value, list) else value


def _check_object(document: Document, schema: Schema, value: Any, where: str, depth: int) -> Iterator[Violation]:
    if not isinstance(value, dict):
        yield Violation(where, _invalid(where, schema.get("id", "object"), value))
        return
    properties, extra = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        here = f"{where}.{name}" if where else name
        if name in properties:
            yield from _check(document, properties[name], item, here, depth + 1)
        elif extra is not None:
            yield from _check(document, extra, item, here, depth + 1)
        elif properties or "id" in schema:
            at = f" at '{where}'" if where else ""
            yield Violation(where, f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.')


def _check_array(document: Document, schema: Schema, value: Any, where: str, depth: int) -> Iterator[Violation]:
    if not isinstance(value, list):
        yield Violation(where, _invalid(where, "array", value))
        return
    for number, item in enumerate(value):
        yield from _check(document, schema.get("items", {}), item, f"{where}[{number}]", depth + 1)


def _check_string(document: Document, schema: Schema, value: Any, where: str, depth: int) -> Iterator[Violation]:
    form = schema.get("format")
    if form in INTEGER_RANGES:
        yield from _check_integer(document, schema, value, where, depth)
        return
    if not isinstance(value, str):
        yield Violation(where, _invalid(where, "TYPE_STRING", value))
    elif form == "byte":
        if not _is_base64(value):
            yield Violation(
                where, f"Invalid value at '{where}' (TYPE_BYTES), Base64 decoding failed for \"{value[:80]}\""
            )
    elif form in TEXT_FORMATS and not re.fullmatch(TEXT_FORMATS[form], value):
        yield Violation(where, _invalid(where, form, value))
    elif "pattern" in schema and not matches(schema["pattern"], value):
        named = f"resource.{where}" if document.api.startswith("compute.") else where
        yield Violation(where, must_match(named, value, schema["pattern"]))


def _check_integer(_: Document, schema: Schema, value: Any, where: str, __: int) -> Iterator[Violation]:
    form = schema.get("format", "int32")
    low, high = INTEGER_RANGES.get(form, INTEGER_RANGES["int64"])
    low, high = max(low, int(schema.get("minimum", low))), min(high, int(schema.get("maximum", high)))
    number = _as_integer(value)
    if number is None or not low <= number <= high:
        yield Violation(where, _invalid(where, f"TYPE_{form.upper()}", value))


def _check_number(_: Document, schema: Schema, value: Any, where: str, __: int) -> Iterator[Violation]:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number and value not in ("NaN", "Infinity", "-Infinity"):
        yield Violation(where, _invalid(where, f"TYPE_{schema.get('format', 'double').upper()}", value))


def _check_boolean(_: Document, __: Schema, value: Any, where: str, ___: int) -> Iterator[Violation]:
    if not isinstance(value, bool):
        yield Violation(where, _invalid(where, "TYPE_BOOL", value))


def _check_any(_: Document, __: Schema, ___: Any, ____: str, _____: int) -> Iterator[Violation]:
    return iter(())


def _check_enum(schema: Schema, value: Any, where: str) -> Iterator[Violation]:
    if not isinstance(value, str) or value not in schema["enum"]:
        yield Violation(where, _invalid(where, "TYPE_ENUM", value))


Check = Callable[[Document, Schema, Any, str, int], Iterator[Violation]]
_CHECKS: dict[str, Check] = {
    "object": _check_object,
    "array": _check_array,
    "string": _check_string,
    "integer": _check_integer,
    "number": _check_number,
    "boolean": _check_boolean,
    "any": _check_any,
}


def _invalid(where: str, kind: str, value: Any) -> str:
    shown = f'"{value[:80]}"' if isinstance(value, str) else str(value)[:80]
    return f"Invalid value at '{where}' ({kind}), {shown}"


def must_match(where: str, value: str, pattern: str) -> str:
    """Source: pulumi/pulumi-gcp#813, rapid7/insightconnect-plugins#751 (a parameter)."""
    return f"Invalid value for field '{where}': '{value}'. Must be a match of regex '{pattern}'"


def _as_integer(value: Any) -> int | None:
    """The number, which JSON may carry as a number, as a whole float or as a string."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,20}", value):
        return int(value)
    return None


def _usual_base64(text: str) -> str:
    """In the usual alphabet, and padded."""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(_usual_base64(text), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value matches: discovery's patterns are anchored or meant to be."""
    return _compiled(pattern).fullmatch(value) is not None


def _named(document: Document, schema: Schema, value: Any, numbers: Mapping[str, Mapping[int, str]], key: str) -> Any:
    schema = _resolved(document, schema)
    if "enum" in schema and isinstance(value, int) and not isinstance(value, bool):
        known = numbers.get(key) or dict(enumerate(schema["enum"]))
        return known.get(value, value)
    if schema.get("format") == "byte" and isinstance(value, str):
        return _usual_base64(value) if _is_base64(value) else value
    if isinstance(value, list):
        return [_named(document, schema.get("items", {}), item, numbers, key) for item in value]
    if isinstance(value, dict):
        return {name: _named_property(document, schema, name, item, numbers) for name, item in value.items()}
    return value


def _named_property(
    document: Document, schema: Schema, name: str, item: Any, numbers: Mapping[str, Mapping[int, str]]
) -> Any:
    inner = schema.get("properties", {}).get(name, schema.get("additionalProperties") or {})
    return _named(document, inner, item, numbers, f"{schema.get('id', '')}.{name}")
