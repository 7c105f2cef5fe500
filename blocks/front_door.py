"""How a stack's users come in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
from prefect.client.orchestration import SyncPrefectClient

from blocks.errors import NotReady
from blocks.waiting import wait_until

CALL_SECONDS = 10.0
"""Time in which a call of an impatient client ends, repetitions included; a quiet server answers within 0.1 s."""
TRY_LATER = {408, 429, *range(500, 600)}
"""Statuses that say nothing about what was asked, only that the server could not see to it now."""


@dataclass(frozen=True)
class FrontDoor:
    """The public address of a server and the auth string it asks for."""

    url: str
    """Without a slash at the end."""
    auth_string: str = field(repr=False)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client to the server's API; nothing of this process's own Prefect settings matters."""
        with SyncPrefectClient(self.api_url, auth_string=self.auth_string) as client:
            yield client

    @contextlib.contextmanager
    def impatient_client(self) -> Iterator[SyncPrefectClient]:
        """A client for callers with a deadline of their own: its calls raise NotReady after `CALL_SECONDS`."""
        settings = {"transport": Impatient(), "timeout": CALL_SECONDS}
        with SyncPrefectClient(self.api_url, auth_string=self.auth_string, httpx_settings=settings) as client:
            yield client


class Impatient(httpx.HTTPTransport):
    """Repeats a call for `CALL_SECONDS` and then raises NotReady, where Prefect's own client would go on.

    That client repeats a call for a minute on most faults, and for ever on a 503 with `Prefect-Maintenance`; no
    setting turns the latter off. It knows faults by status and by httpx's own exceptions: NotReady passes through.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.path}"
        return wait_until(lambda: self._answer(request), call, timeout=CALL_SECONDS, every=0.5)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        try:
            response = super().handle_request(request)
            response.read()  # here, as Prefect's client would repeat a fault in the middle of the answer as well
        except httpx.TransportError as error:
            raise NotReady(f"{type(error).__name__} {error}".rstrip()) from error
        if response.status_code in TRY_LATER:
            raise NotReady(f"it answers {response.status_code}")
        return response
