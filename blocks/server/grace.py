"""Further auth strings which a running server accepts until a deadline, so that the string can be rotated.

Prefect's server knows one auth string. This layer looks at what a client brings, in the `Authorization` header of
a call and in the first message of a websocket, which no proxy can see; an accepted other string it replaces by the
server's own. Which ones are accepted stands in a file that is looked at again when it changes:

    [{"auth_string": "admin:…", "until": 1764000000.0}, {"auth_string": "admin:…", "until": null}]

`until` is a unix time in seconds, null for no end.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

logger = logging.getLogger("blocks.server.serve")

LOOK_SECONDS = 0.2
"""At most so often the file is looked at: a stat takes microseconds, but calls come by the thousand."""
POLICY_VIOLATION = 1008
"""The code Prefect's server closes a websocket with whose token it refuses."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Further:
    """One further auth string and the unix time it is refused from."""

    auth_string: str = field(repr=False)
    until: float


class Revoked(OSError):
    """A websocket's auth string is no longer accepted; Starlette takes an OSError on sending for a lost client."""


class Grace:
    """The further auth strings of the file at `path`, as they are now.

    Args:
        clock: Unix time in seconds.
        monotonic: Seconds, which say when the file is looked at again.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._clock, self._monotonic = path, clock, monotonic
        self._further: tuple[Further, ...] = ()
        self._seen: tuple[int, int, int] | None = None
        self._looked = -math.inf

    def accepts(self, given: str) -> bool:
        """Whether this is a further auth string whose deadline has not passed; takes as long for any of them."""
        self._look()
        now, accepted = self._clock(), False
        for each in self._further:
            accepted |= _is_same(given, each.auth_string) and now < each.until
        return accepted

    def _look(self) -> None:
        if self._monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._monotonic()
        seen = _trace(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._further = read_further(self._path.read_bytes())
        except (OSError, ValueError) as error:
            logger.error("%s is damaged, what it held before is still in force: %s", self._path, error)


def _trace(path: Path) -> tuple[int, int, int] | None:
    """What tells a file from the one seen before; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_further(content: bytes) -> tuple[Further, ...]:
    """The further auth strings out of a file's content.

    Raises:
        ValueError: it is not what it should be; no secret is in the message.
    """
    try:
        entries = json.loads(content)
    except ValueError:
        raise ValueError("it is not JSON") from None  # the decoder's error carries the whole content
    if not isinstance(entries, list):
        raise ValueError("it is not a list")
    return tuple(_entry(index, each) for index, each in enumerate(entries))


def _entry(index: int, entry: object) -> Further:
    if not isinstance(entry, dict) or entry.keys() != {"auth_string", "until"}:
        raise ValueError(f"entry {index} is not an object with auth_string and until")
    auth_string, until = entry["auth_string"], entry["until"]
    if not isinstance(auth_string, str) or not auth_string:
        raise ValueError(f"auth_string of entry {index} is not a text")
    if until is None:
        return Further(auth_string, math.inf)
    if isinstance(until, bool) or not isinstance(until, int | float):
        raise ValueError(f"until of entry {index} is neither a unix time nor null")
    return Further(auth_string, float(until))


def as_text(further: Iterable[Further]) -> str:
    """What `read_further` reads."""
    entries = ({"auth_string": each.auth_string, "until": each.until} for each in further)
    return json.dumps([{**each, "until": None} if each["until"] == math.inf else each for each in entries])


def _is_same(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), known.encode())


class GraceLayer:
    """An ASGI application round Prefect's: what it lets in as the server's `own`, Prefect's own checks then see."""

    def __init__(self, app: ASGIApp, own: str, grace: Grace) -> None:
        self._app, self._own, self._grace = app, own, grace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._app({**scope, "headers": [self._header(*each) for each in scope["headers"]]}, receive, send)
        elif scope["type"] == "websocket":
            socket = _Websocket(self._own, self._grace, receive, send)
            await self._app(scope, socket.receive, socket.send)
        else:
            await self._app(scope, receive, send)

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        given = _basic(value) if name.lower() == b"authorization" else None
        if given is not None and not given.isascii():
            return name, b""  # a 401: Prefect cannot compare it, and would answer 500
        if given is None or not self._grace.accepts(given):
            return name, value
        return name, b"Basic " + base64.b64encode(self._own.encode())


def _basic(value: bytes) -> str | None:
    """What `Basic …` carries, read as Prefect's server reads it; None where it is something else."""
    try:
        scheme, credentials = value.decode("latin-1").split()
        return base64.b64decode(credentials).decode() if scheme == "Basic" else None
    except ValueError:  # not two words, not base64, not UTF-8
        return None


class _Websocket:
    """One websocket: its first message is looked at, and it ends once what it brought is refused."""

    def __init__(self, own: str, grace: Grace, receive: Receive, send: Send) -> None:
        self._own, self._grace, self._receive, self._send = own, grace, receive, send
        self._begun = self._ended = False
        self._brought: str | None = None
        """The further auth string it came in with; None for one which is nothing to us."""

    async def receive(self) -> Message:
        if self._is_revoked():
            return await self._end()
        message = await self._receive()
        if message["type"] != "websocket.receive":
            return message
        if not self._begun:
            self._begun = True
            return self._first(message)
        return await self._end() if self._is_revoked() else message

    async def send(self, message: Message) -> None:
        if message["type"] == "websocket.send" and self._is_revoked():
            await self._end()
            raise Revoked("its auth string is no longer accepted")
        if not self._ended:
            await self._send(message)

    def _first(self, message: Message) -> Message:
        token = _token(message.get("text"))
        if token is None or not self._grace.accepts(token):
            return message
        self._brought = token
        return {**message, "text": json.dumps({"type": "auth", "token": self._own})}

    def _is_revoked(self) -> bool:
        return self._brought is not None and not self._grace.accepts(self._brought)

    async def _end(self) -> Message:
        """Close it, once; what the application is told then."""
        if not self._ended:
            self._ended = True
            await self._send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "Invalid token"})
        return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}


def _token(text: str | None) -> str | None:
    """The token of `{"type": "auth", "token": …}`; None for any other message."""
    try:
        message = json.loads(text or "")
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("type") != "auth":
        return None
    token = message.get("token")
    return token if isinstance(token, str) else None
