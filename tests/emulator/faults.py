"""Faults on demand, laid by rule: which service, which method, which of its calls, and what goes wrong.

The kinds are what clients of Google's APIs meet: errors to retry
(https://cloud.google.com/apis/design/errors#error_retries), connections cut before or after the effect, slow answers,
operations that fail or hang, and reads that lag behind writes
(https://cloud.google.com/iam/docs/access-change-propagation for one place where they do).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.emulator.errors import ApiError

KINDS = (
    "error",  # answer with `code` (429, 500, 503, …) and no effect
    "page",  # the front end answers with a page of HTML (502 by default), no effect
    "stockout",  # the operation this call starts ends because its zone has no machines left
    "reset-before",  # cut the connection, no effect
    "reset-after",  # cut the connection, the effect stays
    "slow",  # wait `seconds` of real time, then answer as usual
    "operation-error",  # the operation this call starts ends with `code` and `message`
    "operation-stuck",  # the operation this call starts never ends
    "stale",  # a read answers as things were before the last write
)


STOCKOUT = "The zone does not have enough resources available to fulfill the request.  '(resource type:compute)'."
"""Source: scylladb/scylla-cluster-tests#12477 (503, …_WITH_DETAILS); skypilot-org/skypilot#831: with and without."""


@dataclass
class Rule:
    """One rule. `service` and `method` are patterns (`compute`, `compute.instances.*`); calls are counted from 1."""

    kind: str
    service: str = "*"
    method: str = "*"
    nth: int = 1
    times: int = 1
    code: int = 503
    message: str = "The service is currently unavailable."
    reason: str = ""
    seconds: float = 0.0
    seen: int = field(default=0, init=False)

    def hits(self, service: str, method: str) -> bool:
        """Count this call if it is one of ours, and say whether the fault strikes."""
        if not (fnmatchcase(service, self.service) and fnmatchcase(method, self.method)):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times

    def error(self) -> ApiError:
        if self.kind == "stockout":
            return ApiError(503, STOCKOUT, reason=self.reason or "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS")
        return ApiError(self.code, self.message, reason=self.reason)

    @property
    def page(self) -> str:
        """Source: terraform-google-modules/terraform-google-kubernetes-engine#1635."""
        return (
            f"<!DOCTYPE html>\n<html lang=en>\n  <title>Error {self.code} (Server Error)!!1</title>\n"
            f"  <p><b>{self.code}.</b> <ins>That’s an error.</ins>\n  <p>The server encountered a temporary error and "
            "could not complete your request.<p>Please try again in 30 seconds.\n"
        )


class Faults:
    """The table of rules."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def add(self, raw: dict[str, Any]) -> Rule:
        """A rule out of JSON; ValueError says what is wrong with it."""
        try:
            rule = Rule(**raw)
        except TypeError as error:
            raise ValueError(f"{error}; a rule has: {', '.join(Rule.__dataclass_fields__)}") from None
        if rule.kind not in KINDS:
            raise ValueError(f"kind is {rule.kind!r}, not one of {', '.join(KINDS)}")
        self.rules.append(rule)
        return rule

    def striking(self, service: str, method: str) -> list[Rule]:
        """Rules that strike this call; each counts it."""
        return [rule for rule in self.rules if rule.hits(service, method)]

    def may_go_stale(self) -> bool:
        """Whether somebody will want to read what was before a write."""
        return any(rule.kind == "stale" for rule in self.rules)
