"""Calls of Google's APIs as the VM's own service account, by the standard library.

Sources: https://cloud.google.com/compute/docs/access/authenticate-workloads (tokens of the metadata server),
https://cloud.google.com/storage/docs/retry-strategy (what may be tried again).
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from typing import TypeVar

T = TypeVar("T")

METADATA = "169.254.169.254"
METADATA_VARIABLE = "GCE_METADATA_HOST"
"""Environment variable by which Google's own libraries, too, are led to another metadata server."""
TIMEOUT = 15.0
"""Seconds without a byte until a call counts as lost."""
PAUSES = (0.5, 1.0, 2.0)
"""Seconds before a second, third and fourth attempt, 3.5 in all; whoever called tries again later."""
TEMPORARY = frozenset({401, 408, 429, 500, 502, 503, 504})
"""Answers after which the same call may succeed; 401: the token had expired, and another one is fetched."""
RENEWED_BEFORE = 225.0
"""Seconds before its end that a token is replaced: the metadata server has a new one from 4 minutes before on."""
LONGEST_TOLD = 300


class GoogleFailed(Exception):
    """A call did not succeed. The message is one line: what was tried, and what was answered."""


class Unavailable(GoogleFailed):
    """Nobody answers, or not now: to be tried again."""


class Refused(GoogleFailed):
    """Google says no."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status; 0 where it is not Google that refuses what came."""


@dataclass(frozen=True)
class Answer:
    status: int
    """200 to 206, or 304 where nothing is new."""
    content: bytes
    headers: Message


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """None of these services redirects, and whoever did would be sent our token."""

    def redirect_request(self, *_: object) -> None:
        return None


class Client:
    """Calls from any thread."""

    def __init__(self, metadata: str = "", sleep: Callable[[float], None] = time.sleep) -> None:
        """`metadata` is the host of the metadata server, with a path in front of its own for an emulated one."""
        self._metadata = metadata or os.environ.get(METADATA_VARIABLE) or METADATA
        self._sleep = sleep
        self._token = ""
        self._good_until = float("-inf")

    def call(self, doing: str, method: str, address: str, body: bytes | None = None, media: str = "") -> Answer:
        """One call, tried again where nobody answers: only what may be done twice is to be called so.

        Args:
            doing: What is tried, such as `reading ledger/inbox`.
            media: Type of the body.

        Raises:
            Unavailable: nobody has answered.
            Refused: Google says no.
        """

        def attempt() -> Answer:
            with self.opened(doing, method, address, body, media) as answer:
                return Answer(answer.status, answer.read(), answer.headers)

        return self.retried(attempt)

    def retried(self, attempt: Callable[[], T]) -> T:
        """What an attempt gives that may be made several times."""
        for pause in PAUSES:
            try:
                return attempt()
            except Unavailable:
                self._sleep(pause)
        return attempt()

    @contextmanager
    def opened(
        self, doing: str, method: str, address: str, body: bytes | None = None, media: str = ""
    ) -> Iterator[http.client.HTTPResponse]:
        """The answer to a call made once, to be read while the context lasts; faults of the reading are told, too."""
        headers = {"User-Agent": "prefect-selfhost", "Authorization": f"Bearer {self._fresh_token()}"}
        if media:
            headers["Content-Type"] = media
        request = urllib.request.Request(address, body, headers, method=method)
        with self._told(doing), self._open(request) as answer:
            yield answer

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except urllib.error.HTTPError as error:
            with error:
                message = f"{doing}: {error.code} {_said(error)}".rstrip()
            if error.code == 401:
                self._good_until = float("-inf")
            raise Unavailable(message) if error.code in TEMPORARY else Refused(message, error.code) from error
        except urllib.error.URLError as error:
            raise Unavailable(f"{doing}: Google does not answer: {error.reason}") from error
        except (http.client.HTTPException, OSError) as error:
            raise Unavailable(f"{doing}: Google does not answer: {error or type(error).__name__}") from error

    @contextmanager
    def _open(self, request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
        try:
            answer = _opener().open(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != 304:
                raise
            answer = error
        with answer:
            yield answer

    def _fresh_token(self) -> str:
        if time.monotonic() >= self._good_until:
            path = "computeMetadata/v1/instance/service-accounts/default/token"
            asked = urllib.request.Request(f"http://{self._metadata}/{path}", headers={"Metadata-Flavor": "Google"})
            began = time.monotonic()
            with self._told("asking the metadata server for a token"), self._open(asked) as answer:
                said = _token_in(answer.read())
            self._token, self._good_until = said[0], began + said[1] - RENEWED_BEFORE
        return self._token


@functools.cache
def _opener() -> urllib.request.OpenerDirector:
    """By no proxy, as Google's addresses are reached within its network; TLS as the system believes, which takes 30 ms
    to read."""
    https = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect(), https)


def _token_in(content: bytes) -> tuple[str, float]:
    try:
        said = json.loads(content)
        return str(said["access_token"]), float(said["expires_in"])
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"the metadata server's answer is no token: {type(error).__name__}") from error


def _said(error: urllib.error.HTTPError) -> str:
    """What an answer says for people, in one line: Google's services in JSON, the metadata server in plain text."""
    try:
        text = error.read(65536).decode(errors="replace")
    except (http.client.HTTPException, OSError):
        return ""
    try:
        text = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = "" if text.lstrip().startswith("<") else text
    return " ".join(str(text).split())[:LONGEST_TOLD]
