"""Filter, order and pages of a list in Compute Engine.

Source: the `filter`, `orderBy`, `maxResults` and `pageToken` parameters in
https://cloud.google.com/compute/docs/reference/rest/v1/instances/list
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.emulator import errors
from tests.emulator.discovery import Document, Schema
from tests.emulator.kind import Body, Call
from tests.emulator.pages import cut

MOST = 500
"""Results on a page where none or 0 are asked for, and the most that may be asked for."""
PATH = r"[A-Za-z][\w-]*(?:\.[\w-]+)*"
OPERATOR = r"(?:=|!=|>=|<=|>|<|:|(?:eq|ne)\b)"
LITERAL = r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\s()]+"
Test = Callable[[Body], bool]


def chosen(items: list[Body], call: Call) -> tuple[list[Body], dict[str, str]]:
    """The page asked for, and `{"nextPageToken": …}` where there is more. Items come in the order of their names."""
    keeps = _filter(call)
    kept = [item for item in items if keeps(item)]
    if _newest_first(call.get("orderBy", "")):
        kept.sort(key=lambda item: item.get("creationTimestamp", ""), reverse=True)
    token = call.get("pageToken", "")
    wrong = f"Invalid value for field 'pageToken': '{token}'. The page token is invalid."  # no source for the words
    given, more = cut(kept, _size(call.get("maxResults", 0)), token, wrong)
    return given, {"nextPageToken": more} if more else {}


def _newest_first(order: str) -> bool:
    """Source: "only sorting by `name` or `creationTimestamp desc` is supported"; no source for the words."""
    if order not in ("", "name", "creationTimestamp desc"):
        raise errors.invalid(f"Invalid value for field 'orderBy': '{order}'. Unsupported sort order.")
    return order.startswith("creation")


def _size(asked: int) -> int:
    """Source: "Acceptable values are 0 to 500, inclusive"; the words are those of Google's other older APIs."""
    if not 0 <= asked <= MOST:
        raise errors.invalid(
            f"Invalid value '{asked}'. Values must be within the range: [0, {MOST}]", reason="invalidParameter"
        )
    return asked or MOST


def _filter(call: Call) -> Test:
    """What a call's filter keeps; everything where there is none."""
    text = call.get("filter", "")
    if not text.strip():
        return lambda item: True
    assert call.method is not None
    document = call.cloud.router.documents[call.method.api]
    return _Parser(text, document, _item_schema(document, call.method.response or {})).parsed()


def _item_schema(document: Document, response: Schema) -> Schema:
    """The schema of one item of a list's response, or of an aggregated list's."""
    items = _resolved(document, response)["properties"]["items"]
    if "additionalProperties" in items:
        scoped = _resolved(document, items["additionalProperties"])["properties"]
        items = next(each for name, each in scoped.items() if name != "warning")
    return items["items"]  # type: ignore[no-any-return]


def _resolved(document: Document, schema: Schema) -> Schema:
    return document.schemas[schema["$ref"]] if "$ref" in schema else schema


class _Parser:
    """Expressions of https://google.aip.dev/160 (OR binds closer than AND), or of the older kind with `eq` and `ne`.

    The older kind knows neither AND, OR nor NOT: so says the part of gcloud that writes such filters.
    """

    def __init__(self, text: str, document: Document, schema: Schema) -> None:
        self.text = text
        self.document = document
        self.schema = schema
        self.position = 0
        self.seen: set[str] = set()
        """`regular` expressions, `plain` comparisons and `logic` (AND, OR, NOT): the first goes with no other."""

    def parsed(self) -> Test:
        test = self.expression()
        if self.take(r".+") or (len(self.seen) > 1 and "regular" in self.seen):
            raise self.wrong()
        return test

    def wrong(self) -> errors.ApiError:
        return errors.invalid(f"Invalid value for field 'filter': '{self.text}'. Invalid list filter expression.")

    def take(self, pattern: str) -> re.Match[str] | None:
        """What comes next if it looks so; it is then behind us."""
        found = re.compile(rf"\s*({pattern})", re.DOTALL).match(self.text, self.position)
        self.position = found.end() if found else self.position
        return found

    def logic(self, pattern: str) -> bool:
        found = self.take(pattern) is not None
        self.seen |= {"logic"} if found else set()
        return found

    def expression(self) -> Test:
        """Factors one after the other, with or without AND between them: all must hold."""
        factors = [self.factor()]
        while self.logic(r"AND\b") or re.match(r"\s*[^\s)]", self.text[self.position :]):
            factors.append(self.factor())
        return lambda item: all(factor(item) for factor in factors)

    def factor(self) -> Test:
        terms = [self.term()]
        while self.logic(r"OR\b"):
            terms.append(self.term())
        return lambda item: any(term(item) for term in terms)

    def term(self) -> Test:
        if self.logic(r"NOT\b|-"):
            inner = self.term()
            return lambda item: not inner(item)
        if self.take(r"\("):
            inner = self.expression()
            if not self.take(r"\)"):
                raise self.wrong()
            return inner
        return self.comparison()

    def comparison(self) -> Test:
        path, operator, literal = self.take(PATH), self.take(OPERATOR), self.take(LITERAL)
        if not (path and operator and literal and self.known(path[1].split("."))):
            raise self.wrong()
        self.seen.add("regular" if operator[1] in ("eq", "ne") else "plain")
        try:
            holds = _comparing(operator[1], _unquoted(literal[1]))
        except re.error:
            raise self.wrong() from None
        negated, names = operator[1] in ("!=", "ne"), path[1].split(".")
        return lambda item: any(holds(_text(each)) for each in _values(item, names)) is not negated

    def known(self, path: list[str]) -> bool:
        """Whether there is such a field. Source: https://google.aip.dev/160#validation"""
        schema = self.schema
        for name in path:
            schema = _resolved(self.document, schema)
            schema = _resolved(self.document, schema.get("items", schema))
            schema = schema.get("properties", {}).get(name) or schema.get("additionalProperties") or {}
        return bool(schema)


def _unquoted(literal: str) -> str:
    return re.sub(r"\\([\"\\])", r"\1", literal[1:-1]) if literal[0] in "\"'" else literal


def _comparing(operator: str, wanted: str) -> Callable[[str], bool]:
    if operator in ("eq", "ne"):
        pattern = re.compile(wanted)
        return lambda value: pattern.fullmatch(value) is not None
    if operator == ":":
        return lambda value: wanted == "*" or wanted.strip("*").lower() in value.lower()
    if operator in ("=", "!="):
        pattern = re.compile(re.escape(wanted).replace(r"\*", ".*"), re.DOTALL)
        return lambda value: pattern.fullmatch(value) is not None or _ordered("=", value, wanted)
    return lambda value: _ordered(operator, value, wanted)


def _ordered(operator: str, value: str, wanted: str) -> bool:
    """As numbers where both are, else as text."""
    left, right = (float(value), float(wanted)) if _numeric(value, wanted) else (value, wanted)
    order = (left > right) - (left < right)  # type: ignore[operator]
    return order in {"=": (0,), ">": (1,), "<": (-1,), ">=": (0, 1), "<=": (0, -1)}[operator]


def _numeric(*texts: str) -> bool:
    return all(re.fullmatch(r"-?\d+(\.\d+)?", text) for text in texts)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _values(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _values(each, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _values(value[path[0]], path[1:])
