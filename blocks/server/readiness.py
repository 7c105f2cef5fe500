"""What a server tells of itself in its ready file: that it accepts, its version, and which versions call it.

No client may be newer than its server, nor older than `blocks.clients` says: upgrade and status look at that.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from blocks.server.grace import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("blocks.server.serve")

AGENT = re.compile(rb"prefect/(\d{1,4}\.\d{1,4}\.\d{1,4}) ")
"""How Prefect's clients, workers among them, begin their `User-Agent`."""
EVERY = 60.0
"""Seconds after which a version that goes on calling is noted again."""
MOST = 20
"""Versions that are remembered: a client may call itself anything."""
OPEN = {"/api/health", "/api/ready"}
"""Paths of the API which ask for no auth string."""


class ClientVersions:
    """An ASGI application round another, which notes when a client of which version called last.

    Only calls count that were let in: a stranger's must not make `selfhost status` look ill.

    Attributes:
        seen: Version → Unix time.
        on_change: Called after another one was noted, at most once a minute for each version.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.seen: dict[str, float] = {}
        self.on_change: Callable[[], None] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _wants_auth(scope):
            await self._app(scope, receive, send)
            return

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] != 401:
                self.note(next((value for name, value in scope["headers"] if name == b"user-agent"), b""))
            await send(message)

        await self._app(scope, receive, noting)

    def note(self, agent: bytes) -> None:
        """Take note of one call by its `User-Agent`."""
        found, now = AGENT.match(agent), time.time()
        if found is None or now - self.seen.get(found[1].decode(), 0.0) < EVERY:
            return
        self.seen[found[1].decode()] = now
        if len(self.seen) > MOST:
            del self.seen[min(self.seen, key=lambda version: self.seen[version])]
        self.on_change()


def _wants_auth(scope: Scope) -> bool:
    """Whether Prefect's server asks for the auth string before it answers; a preflight of CORS needs none."""
    path = str(scope["path"])
    return path.startswith("/api/") and path not in OPEN and scope["method"] != "OPTIONS"


def write_atomically(path: Path, content: dict[str, Any], *, flushed: bool = True) -> None:
    """Replace `path` by JSON, mode 0600; a reader sees the old or the new one, never a part.

    Args:
        flushed: Have it on the disk before this returns, which takes a moment in which nobody is answered.
    """
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(content))
        if flushed:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)


def remove_own(path: Path) -> None:
    """Remove a ready file, unless a successor in the same slot has written its own."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        if json.loads(path.read_text())["pid"] == os.getpid():
            path.unlink()


class ReadyFile:
    """Says that this process accepts, since when, in which version, and which versions its clients have."""

    def __init__(self, path: Path, clients: ClientVersions) -> None:
        self._path, self._clients = path, clients
        self._content: dict[str, Any] = {}
        clients.on_change = self.renew

    def announce(self, version: str) -> None:
        """From now on callers may be sent here."""
        self._content = {"pid": os.getpid(), "version": version, "ready_at": time.time()}
        write_atomically(self._path, {**self._content, "clients": self._clients.seen})

    def renew(self) -> None:
        """Tell who has called since. Nothing is told before the announcement, or once the drain has begun."""
        if not self._content:
            return
        try:
            write_atomically(self._path, {**self._content, "clients": self._clients.seen}, flushed=False)
        except OSError as error:  # a full disk: what is there says enough, and the call must be answered
            logger.warning("the ready file could not be renewed: %s", error.strerror)

    def withdraw(self) -> None:
        """From now on nobody should come."""
        self._content = {}
        remove_own(self._path)
