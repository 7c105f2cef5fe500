"""Rules of probes. Source: https://cloud.google.com/run/docs/configuring/healthchecks and the reference of Probe.

There is no source for the words.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.emulator.kind import Body
from tests.emulator.services.run.base import Violation

LONGEST = {"startupProbe": 240, "livenessProbe": 3600, "readinessProbe": 3600}
"""Seconds that initialDelaySeconds and periodSeconds may have at most."""
STARTUP_LIMIT = 240
"""Seconds a startup probe may take in all: failureThreshold × periodSeconds."""


def probe_rules(container: Body, at: str) -> Iterator[Violation]:
    for name, longest in LONGEST.items():
        if name in container:
            yield from _probe(container[name], f"{at}.{name}", longest)
    startup = container.get("startupProbe", {})
    if startup.get("failureThreshold", 0) * startup.get("periodSeconds", 0) > STARTUP_LIMIT:
        yield Violation(f"{at}.startupProbe", "failure_threshold * period_seconds must be at most 240 seconds.")
    if "tcpSocket" in container.get("livenessProbe", {}):
        yield Violation(f"{at}.livenessProbe", "tcp_socket is not supported for liveness probes.")


def _probe(probe: Body, at: str, longest: int) -> Iterator[Violation]:
    spans = (("initialDelaySeconds", 0, longest), ("periodSeconds", 1, longest), ("timeoutSeconds", 1, 3600))
    for name, least, most in spans:
        if not least <= probe.get(name, 0) <= most:
            yield Violation(f"{at}.{name}", f"must be between {least} and {most}.")
    if probe["timeoutSeconds"] > probe["periodSeconds"]:
        yield Violation(f"{at}.timeoutSeconds", "must be smaller than or equal to period_seconds.")
    if probe["failureThreshold"] < 1:
        yield Violation(f"{at}.failureThreshold", "must be at least 1.")
    yield from _action(probe, at)


def _action(probe: Body, at: str) -> Iterator[Violation]:
    actions = [name for name in ("httpGet", "tcpSocket", "grpc") if name in probe]
    if len(actions) != 1:
        yield Violation(at, "exactly one of http_get, tcp_socket, or grpc must be specified.")
    for action in actions:
        if not 1 <= probe[action].get("port", 1) <= 65535:
            yield Violation(f"{at}.{action}.port", "must be between 1 and 65535.")
    if "httpGet" in probe and not probe["httpGet"]["path"].startswith("/"):
        yield Violation(f"{at}.httpGet.path", "must begin with '/'.")
