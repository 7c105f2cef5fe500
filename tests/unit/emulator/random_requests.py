"""Random requests out of the discovery documents, right by construction or wrong in one place by construction."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

from tests.emulator.discovery import Document, Method, Parameter, Schema

DEPTH = 3
"""Levels of a random body; deeper ones are left empty."""
WORDS = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
FORMATS = {
    "google-datetime": st.just("2026-01-02T03:04:05.678Z"),
    "date-time": st.just("2026-01-02T03:04:05Z"),
    "google-duration": st.sampled_from(["1s", "3.5s", "-2s"]),
    "date": st.just("2026-01-02"),
    "google-fieldmask": st.sampled_from(["name", "a.b,c"]),
    "byte": st.sampled_from(["", "YQ==", "YWI", "_-8="]),
    "int64": st.integers(-(2**63), 2**63 - 1).map(str),
    "uint64": st.integers(0, 2**64 - 1).map(str),
    "int32": st.integers(-(2**31), 2**31 - 1).map(str),
    "uint32": st.integers(0, 2**32 - 1).map(str),
}
RANGES = {"uint32": (0, 2**32 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}


@dataclass(frozen=True)
class Request:
    """One request: `path` is as the service has it, without a prefix."""

    method: Method
    path: str
    query: str
    body: Any


def right(document: Document, method: Method) -> st.SearchStrategy[Request]:
    """Requests the document allows."""
    body = values(document, method.request) if method.request else st.none()
    return st.builds(lambda path, query, sent: Request(method, path, query, sent), paths(method), queries(method), body)


def wrong(document: Document, method: Method) -> st.SearchStrategy[Request]:
    """Requests with one thing the document does not allow."""
    ways = [st.builds(lambda request, name: _with_query(request, f"zz_{name}", "1"), right(document, method), WORDS)]
    if method.request:
        schema = document.schemas[method.request["$ref"]]
        ways += [st.builds(_with_field, right(document, method), st.just(f), v) for f, v in _spoilers(document, schema)]
    return st.one_of(ways)


def paths(method: Method) -> st.SearchStrategy[str]:
    """The template with each parameter filled by its own pattern."""
    names = re.findall(r"\{(\+?)([^}]+)\}", method.path)
    fillings = st.fixed_dictionaries({name: _filling(method.parameters[name], bool(plus)) for plus, name in names})

    def filled(chosen: dict[str, str]) -> str:
        return re.sub(r"\{(\+?)([^}]+)\}", lambda m: quote(chosen[m[2]], safe="/:" if m[1] else ""), method.path)

    return fillings.map(filled)


def queries(method: Method) -> st.SearchStrategy[str]:
    """The required ones, and some of the others."""
    skipped = ("alt", "uploadType", "fields", "access_token", "oauth_token", "upload_id", "key", "callback")
    told = [each for each in method.parameters.values() if each.location == "query" and each.name not in skipped]
    needed = {each.name: _texts(each) for each in told if each.required}
    free = {each.name: _texts(each) for each in told if not each.required and "pattern" not in each.schema}
    return st.fixed_dictionaries(needed, optional=free).map(urlencode)


def _filling(parameter: Parameter, many: bool) -> st.SearchStrategy[str]:
    """Texts of a path parameter; one segment, of at least a letter, unless it is a `{+name}`."""
    pattern = parameter.schema.get("pattern", "")
    if not pattern:
        return _texts(parameter)
    simple = pattern.replace("[^/]+", "[a-z][a-z0-9]{0,8}").replace(".*", "[a-z]{1,8}")
    texts = st.from_regex(re.compile(simple, re.ASCII), fullmatch=True).map(lambda text: text.strip("\n"))
    return texts if many else texts.filter(lambda text: text != "" and "/" not in text)


def _texts(parameter: Parameter) -> st.SearchStrategy[str]:
    schema = parameter.schema
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "boolean":
        return st.sampled_from(["true", "false"])
    if schema.get("type") == "integer":
        return _integers(schema).map(str)
    return FORMATS.get(schema.get("format", ""), WORDS)


def _integers(schema: Schema) -> st.SearchStrategy[int]:
    low, high = RANGES.get(schema.get("format", ""), (-(2**31), 2**31 - 1))
    return st.integers(max(low, int(schema.get("minimum", low))), min(high, int(schema.get("maximum", high))))


def values(document: Document, schema: Schema, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a schema."""
    schema = document.schemas[schema["$ref"]] if "$ref" in schema else schema
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema.get("type", "any")
    if kind == "object":
        return _objects(document, schema, depth)
    if kind == "array":
        size = 0 if depth >= DEPTH else 2
        return st.lists(values(document, schema["items"], depth + 1), max_size=size) if size else st.just([])
    return _scalars(schema, kind)


def _scalars(schema: Schema, kind: str) -> st.SearchStrategy[Any]:
    if kind == "string":
        if "pattern" in schema:
            return st.from_regex(re.compile(schema["pattern"], re.ASCII), fullmatch=True).map(lambda s: s.strip("\n"))
        return FORMATS.get(schema.get("format", ""), st.text(max_size=12))
    by_kind: dict[str, st.SearchStrategy[Any]] = {
        "integer": _integers(schema),
        "number": st.floats(allow_nan=False, allow_infinity=False, width=32),
        "boolean": st.booleans(),
    }
    return by_kind.get(kind, st.sampled_from(["text", 1, {"a": 1}]))


def _objects(document: Document, schema: Schema, depth: int) -> st.SearchStrategy[Any]:
    if depth >= DEPTH:
        return st.just({})
    if "additionalProperties" in schema:
        return st.dictionaries(WORDS, values(document, schema["additionalProperties"], depth + 1), max_size=2)
    names = sorted(schema.get("properties", {}))
    if not names:
        return st.just({})
    return st.lists(st.sampled_from(names), unique=True, max_size=4).flatmap(
        lambda some: st.fixed_dictionaries(
            {name: values(document, schema["properties"][name], depth + 1) for name in some}
        )
    )


def _spoilers(document: Document, schema: Schema) -> list[tuple[str, st.SearchStrategy[Any]]]:
    """(field, values it must not have): an unknown field, a wrong type, a name no enum has, a number out of range."""
    found: list[tuple[str, st.SearchStrategy[Any]]] = [("zzUnknown", st.integers())]
    for name, given in schema.get("properties", {}).items():
        inner = document.schemas[given["$ref"]] if "$ref" in given else given
        spoiler = _spoiler(inner)
        if spoiler is not None:
            found.append((name, spoiler))
    return found


def _spoiler(schema: Schema) -> st.SearchStrategy[Any] | None:
    if "enum" in schema:
        return st.just("zz_NO_SUCH_VALUE")
    kind, form = schema.get("type", "any"), schema.get("format", "")
    if form in RANGES or form == "int32":
        return st.one_of(st.just(2**64), st.just("many"), st.just([1]))
    wrong_by_kind: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from([1, True, [], {}]),
        "boolean": st.sampled_from([1, "true", {}]),
        "number": st.sampled_from(["much", [], {}]),
        "array": st.sampled_from([1, "text", {}]),
        "object": st.sampled_from([1, "text", []]),
    }
    return wrong_by_kind.get(kind)


def _with_query(request: Request, name: str, value: str) -> Request:
    joined = "&".join(filter(None, (request.query, f"{name}={value}")))
    return Request(request.method, request.path, joined, request.body)


def _with_field(request: Request, name: str, value: Any) -> Request:
    return Request(request.method, request.path, request.query, {**(request.body or {}), name: value})
