"""From an HTTP request to the method of a discovery document, with its parameters checked and typed.

Paths stay percent-encoded until they are matched: an object's name may hold a slash as %2F.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

from tests.emulator.discovery import Document, Method, Parameter
from tests.emulator.patches import camel
from tests.emulator.schema import matches, must_match, violations

PLACEHOLDER = re.compile(r"\{(\+?)([^}]+)\}")
DIGESTS = ("artifactregistry",)
"""Services with names that hold a colon, `sha256:…`; elsewhere a colon begins the verb."""


@dataclass(frozen=True)
class Match:
    """A method, its path parameters decoded, and whether it came by an upload path."""

    method: Method
    path_parameters: dict[str, str]
    upload: bool = False


@dataclass(frozen=True)
class Route:
    """One path of a method, told apart from others by HTTP verb, number of segments and its regular expression."""

    method: Method
    template: str
    flat: str
    upload: bool

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The joined template with each `{+name}` narrowed by that parameter's own pattern."""
        parts: list[str] = []
        end = 0
        for found in PLACEHOLDER.finditer(self.template):
            parts.append(re.escape(self.template[end : found.start()]))
            parts.append(self._group(plus=bool(found[1]), name=found[2]))
            end = found.end()
        parts.append(re.escape(self.template[end:]))
        return re.compile("".join(parts))

    def _group(self, plus: bool, name: str) -> str:
        given = self.method.parameters[name].schema.get("pattern", "")
        segment = "[^/]+" if self.method.service in DIGESTS else "[^/:]+"
        inner = given.removeprefix("^").removesuffix("$").replace("[^/]+", segment) if plus else "[^/]+"
        return f"(?P<{_group_name(name)}>{inner or '.+'})"

    def match(self, path: str) -> dict[str, str] | None:
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        told = ((each[2], bool(each[1])) for each in PLACEHOLDER.finditer(self.template))
        return {name: _decoded(found[_group_name(name)], plus) for name, plus in told}


def _decoded(text: str, plus: bool) -> str:
    """A `{+name}` keeps its %2F. Source: google/api/http.proto ("%2F" and "%2f" are left unchanged)."""
    return "%2F".join(unquote(part) for part in re.split("%2[Ff]", text)) if plus else unquote(text)


def _group_name(name: str) -> str:
    return re.sub(r"\W", "_", name)


class Router:
    """All documents' routes; those with a `:verb` are tried first, then the longest text."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.documents = {document.api: document for document in documents}
        self._routes: dict[tuple[str, str, int], list[Route]] = defaultdict(list)
        for document in self.documents.values():
            for method in document.methods:
                self._add(method)
        for routes in self._routes.values():
            routes.sort(key=lambda route: (":" not in route.flat, -len(PLACEHOLDER.sub("", route.flat))))

    def _add(self, method: Method) -> None:
        self._put(Route(method, method.path, method.flat_path, upload=False))
        if method.downloads:
            self._put(Route(method, "/download" + method.path, "/download" + method.flat_path, upload=False))
        for path in method.upload_paths:
            self._put(Route(method, path, path, upload=True))

    def _put(self, route: Route) -> None:
        many = any(".*" in route.method.parameters[found[2]].schema.get("pattern", "") or _open(route, found)
                   for found in PLACEHOLDER.finditer(route.template))  # fmt: skip
        count = 0 if many else route.flat.count("/")
        self._routes[route.method.service, route.method.http, count].append(route)

    def match(self, service: str, http: str, path: str) -> Match | None:
        """The method behind a path of a service, or None: Google answers 404 with a page of HTML."""
        for count in (path.count("/"), 0):
            for route in self._routes.get((service, http, count), ()):
                found = route.match(path)
                if found is not None:
                    return Match(route.method, found, route.upload)
        return None

    def services(self) -> set[str]:
        """`compute`, `run` and so on."""
        return {api.partition(".")[0] for api in self.documents}


def _open(route: Route, found: re.Match[str]) -> bool:
    """Whether a `{+name}` has no pattern, and may hold any number of segments."""
    return bool(found[1]) and not route.method.parameters[found[2]].schema.get("pattern")


def typed_parameters(
    document: Document, match: Match, query: Sequence[tuple[str, str]]
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Path and query parameters as Python values, and what is wrong with them as (field, description).

    Source of the words: see schema.py; for a missing one https://cloud.google.com/compute/docs/reference/rest/v1/errors
    ("Required field … not specified").
    """
    method, wrong = match.method, []
    values: dict[str, Any] = {}
    for name, text in [*match.path_parameters.items(), *query]:
        parameter = method.parameters.get(name) or method.parameters.get(camel(name))  # as proto JSON does
        if parameter is None:
            wrong.append((name, _unknown(name)))
            continue
        value, problem = _typed(document, parameter, text)
        wrong += [(name, problem)] if problem else []
        if parameter.repeated:
            values.setdefault(parameter.name, []).append(value)
        else:
            values[parameter.name] = value
    missing = [each.name for each in method.parameters.values() if each.required and each.name not in values]
    wrong += [(name, f"Required parameter: {name}") for name in missing]
    return values, wrong


def _unknown(name: str) -> str:
    return (
        f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter. '
        f"Field '{name}' could not be found in request message."
    )


def _typed(document: Document, parameter: Parameter, text: str) -> tuple[Any, str]:
    schema = parameter.schema
    kind = schema.get("type", "string")
    value: Any = text
    if kind == "boolean":
        value = {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    elif kind == "integer":
        value = int(text) if re.fullmatch(r"-?\d{1,20}", text) else text
    elif "enum" in schema and text.isdigit() and int(text) < len(schema["enum"]):
        value = schema["enum"][int(text)]  # clients over REST send an enum's number here too
    pattern = schema.get("pattern")
    if pattern and not matches(pattern, text):
        return value, must_match(parameter.name, text, pattern)
    found = violations(
        document, {k: v for k, v in schema.items() if k not in ("pattern", "repeated")}, value, parameter.name
    )
    return value, found[0].message if found else ""
