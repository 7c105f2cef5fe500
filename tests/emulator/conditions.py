"""Conditions of role bindings: expressions that say for which resource and until when a role holds.

Source: https://cloud.google.com/iam/docs/conditions-attribute-reference. Emulated are `request.time`,
`resource.name`, `resource.service` and `resource.type` with comparisons, `startsWith`, `endsWith`, `timestamp`,
`&&`, `||`, `!` and parentheses; anything else is 501 when it is set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from tests.emulator.errors import not_emulated

TOKENS = re.compile(r"\s*(\"[^\"\\]*\"|'[^'\\]*'|[A-Za-z_][\w.]*|&&|\|\||[!=<>]=|[()!<>,])")
COMPARED: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, two: bool(one == two),
    "!=": lambda one, two: bool(one != two),
    "<": lambda one, two: bool(one < two),
    "<=": lambda one, two: bool(one <= two),
    ">": lambda one, two: bool(one > two),
    ">=": lambda one, two: bool(one >= two),
}
ATTRIBUTES = ("request.time", "resource.name", "resource.service", "resource.type")
SERVICES = {"cloudsql": "sqladmin", "resourcemanager": "cloudresourcemanager"}
"""What permissions call a service, and what its host does."""
TYPES = {
    "buckets": "Bucket", "objects": "Object", "secrets": "Secret", "versions": "SecretVersion", "projects": "Project",
    "instances": "Instance", "disks": "Disk", "images": "Image", "snapshots": "Snapshot", "services": "Service",
    "repositories": "Repository", "serviceAccounts": "ServiceAccount",
}  # fmt: skip
"""Source: https://cloud.google.com/iam/docs/conditions-resource-attributes#resource-type; the same for all services."""
Facts = Mapping[str, Any]
Told = Callable[[Facts], Any]


def facts(permission: str, resource: str, now: datetime) -> dict[str, Any]:
    """What an expression is about: the call's own resource, by its name as policies know it."""
    service = permission.partition(".")[0]
    host = f"{SERVICES.get(service, service)}.googleapis.com"
    collection = resource.split("/")[-2] if resource.count("/") else ""
    return {
        "request.time": now,
        "resource.name": resource,
        "resource.service": host,
        "resource.type": f"{host}/{TYPES.get(collection, collection)}",
    }


def holds(condition: Mapping[str, Any] | None, known: Facts) -> bool:
    """Whether a binding's condition is true; one without is."""
    return condition is None or bool(parsed(condition["expression"])(known))


@cache
def parsed(expression: str) -> Told:
    """An expression as a function; 501 for what this does not understand."""
    words = TOKENS.findall(expression)
    if "".join(words) != re.sub(r"\s+(?=(?:[^\"']*[\"'][^\"']*[\"'])*[^\"']*$)", "", expression):
        raise not_emulated(f"the condition {expression}")
    reader = _Reader(expression, words)
    told = reader.either()
    if reader.words:
        raise reader.puzzled()
    return told


@dataclass
class _Reader:
    """Recursive descent over the words that are left."""

    expression: str
    words: list[str]

    def puzzled(self) -> Exception:
        return not_emulated(f"the condition {self.expression}")

    def take(self, *wanted: str) -> str:
        """The next word if it is one of these, else ""."""
        return self.words.pop(0) if self.words and self.words[0] in wanted else ""

    def need(self, word: str) -> None:
        if not self.take(word):
            raise self.puzzled()

    def either(self) -> Told:
        parts = [self.both()]
        while self.take("||"):
            parts.append(self.both())
        return lambda known: any(part(known) for part in parts)

    def both(self) -> Told:
        parts = [self.one()]
        while self.take("&&"):
            parts.append(self.one())
        return lambda known: all(part(known) for part in parts)

    def one(self) -> Told:
        if self.take("!"):
            inner = self.one()
            return lambda known: not inner(known)
        if self.take("("):
            inner = self.either()
            self.need(")")
            return inner
        left = self.value()
        compared = self.take(*COMPARED)
        if not compared:
            return left
        right = self.value()
        return lambda known: COMPARED[compared](left(known), right(known))

    def value(self) -> Told:
        word = self.words.pop(0) if self.words else ""
        if word[:1] in ('"', "'"):
            return lambda known: word[1:-1]
        if word in ATTRIBUTES:
            return lambda known: known[word]
        attribute, _, method = word.rpartition(".")
        if word == "timestamp":
            moment = datetime.fromisoformat(self.argument().replace("Z", "+00:00"))
            return lambda known: moment
        if attribute in ATTRIBUTES[1:] and method in ("startsWith", "endsWith"):
            part = self.argument()
            return lambda known: getattr(known[attribute], method.lower())(part)
        raise self.puzzled()

    def argument(self) -> str:
        """One text in parentheses."""
        self.need("(")
        word = self.words.pop(0) if self.words else ""
        self.need(")")
        if word[:1] not in ('"', "'"):
            raise self.puzzled()
        return word[1:-1]
