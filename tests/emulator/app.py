"""The emulator as an ASGI application: from a request as it comes to a method's answer.

The order of checks: is there such a method (404), who calls (401), is the request what the schema says (400), is the
API enabled (403), may the caller do this (403), and only then the resource itself. No source tells the order of the
third and the fourth.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.emulator import batch, control
from tests.emulator.cloud import Cloud
from tests.emulator.errors import OLDER_SHAPE, ApiError, bad_request, invalid, not_emulated
from tests.emulator.faults import Rule
from tests.emulator.kind import Call, Handle, Handler, Kind, Raw
from tests.emulator.numbers import ENUM_NUMBERS
from tests.emulator.partial import only
from tests.emulator.router import Match, typed_parameters
from tests.emulator.schema import integer_enums, missing, violations, without_nulls

METADATA_HOSTS = ("metadata.google.internal", "169.254.169.254", "metadata")


@dataclass(frozen=True)
class Incoming:
    """A request, or one part of a batch: the path is still percent-encoded, names of headers are lower case."""

    http: str
    host: str
    path: str
    query: str
    headers: dict[str, str]
    content: bytes
    peer: str = ""


@dataclass(frozen=True)
class Addressed:
    """Which service is meant, the path behind its prefix, and what its own links begin with."""

    service: str
    path: str
    base: str


@dataclass
class Outcome:
    """An answer, and what faults do to the connection."""

    response: Response
    cut: bool = False
    log: tuple[str, str] = field(default=("", ""))


class App:
    """One port for all services."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        content = await Request(scope, receive).body()
        incoming = _incoming(scope, content)
        waits = "wait_for_change" in incoming.query
        outcome = await (_while_asked(self.answer(incoming), receive) if waits else self.answer(incoming))
        if outcome.cut:
            _cut(send)
            return
        await outcome.response(scope, receive, send)

    async def answer(self, incoming: Incoming) -> Outcome:
        """Control paths, batches, paths that no document lists, and then the documents' methods."""
        self.cloud.operations.advance()
        if incoming.path.startswith("/_emulator/"):
            return Outcome(control.answer(self.cloud, incoming.http, incoming.path, incoming.content))
        if "/batch" in incoming.path and incoming.headers.get("content-type", "").startswith("multipart/mixed"):
            return Outcome(await batch.answer(self, incoming))
        addressed = self.addressed(incoming)
        for pattern, raw, function, kind in self.cloud.raws:
            found = (
                pattern.fullmatch(addressed.path)
                if (raw.service, raw.http) == (addressed.service, incoming.http)
                else None
            )
            if found:
                return await self._raw(incoming, addressed, found.groupdict(), function, kind, raw)
        match = self.cloud.router.match(addressed.service, incoming.http, addressed.path)
        if match is None:
            self.cloud.remember("", incoming.path, "", 404)
            return Outcome(Response(NOT_FOUND_PAGE, 404, media_type="text/html; charset=UTF-8"))
        return await self._method(incoming, addressed, match)

    def addressed(self, incoming: Incoming) -> Addressed:
        """By Host header (`compute.googleapis.com`, `REGION-run.googleapis.com`), else by the first segment."""
        services = self.cloud.router.services()
        name = incoming.host.partition(":")[0]
        if name in METADATA_HOSTS:
            return Addressed("metadata", incoming.path, f"http://{incoming.host}")
        if name.endswith(".googleapis.com"):
            service = name.removesuffix(".googleapis.com").rpartition("-")[2]
            return Addressed(
                {"www": "compute", "oauth2": "token"}.get(service, service), incoming.path, f"https://{name}"
            )
        first, _, rest = incoming.path.lstrip("/").partition("/")
        if first in services or first in ("metadata", "token"):
            return Addressed(first, f"/{rest}", f"http://{incoming.host}/{first}")
        if re.fullmatch(r"[a-z]+-[a-z]+\d+-run", first):  # `/REGION-run/…`, for what has no location in its path
            return Addressed("run", f"/{rest}", f"http://{incoming.host}/{first}")
        if first == "computeMetadata" or (not first and "metadata-flavor" in incoming.headers):
            return Addressed("metadata", incoming.path, f"http://{incoming.host}")
        inner = next((each for each in services if f"/{each}/" in f"{incoming.path}/"), "storage")
        return Addressed(inner, incoming.path, f"http://{incoming.host}")

    async def _raw(
        self, incoming: Incoming, at: Addressed, groups: dict[str, Any], function: Handle, kind: Kind, raw: Raw
    ) -> Outcome:
        name = raw.method or f"{at.service}:{incoming.http} {incoming.path}"
        parameters = dict(parse_qsl(incoming.query, keep_blank_values=True)) | {
            k: v for k, v in groups.items() if v is not None
        }
        caller, cut = "", False
        try:
            if at.service not in ("metadata", "token"):
                caller = self.cloud.access.caller(incoming.headers.get("authorization", ""))
            call = Call(self.cloud, None, parameters, {}, caller, _told(incoming), incoming.content, at.base)
            before, cut = await _strike(self.cloud.faults.striking(at.service, name))
            answer = before or await self.cloud.perform(kind, function, call)
            response = answer if isinstance(answer, Response) else JSONResponse(answer)
        except ApiError as error:
            response = JSONResponse(error.body(at.service), error.code, headers=error.headers)
        except Exception:  # noqa: BLE001 - a handler that broke is our fault, and is told as such
            self.cloud.complaints.append(f"{name}: {traceback.format_exc()}")
            response = JSONResponse(ApiError(500, f"emulator: {name} broke").body(at.service), 500)
        self.cloud.remember(name, incoming.path, caller, response.status_code)
        return Outcome(response, cut)

    async def _method(self, incoming: Incoming, at: Addressed, match: Match) -> Outcome:
        """One call of a method, with the faults that strike it."""
        method = match.method
        caller, cut = "", False
        try:
            authorization = incoming.headers.get("authorization", "") or _query_token(incoming)
            caller = self.cloud.access.caller(authorization, method)
            struck = self.cloud.faults.striking(at.service, method.id)
            before, cut = await _strike(struck)
            response = before or await self._with_faults(struck, incoming, at, match, caller)
        except ApiError as error:
            response = JSONResponse(error.body(at.service), error.code, headers=error.headers)
        except Exception:  # noqa: BLE001 - a handler that broke is our fault, and is told as such
            self.cloud.complaints.append(f"{method.id}: {traceback.format_exc()}")
            response = JSONResponse(ApiError(500, f"emulator: {method.id} broke").body(at.service), 500)
        self.cloud.remember(method.id, incoming.path, caller, response.status_code)
        return Outcome(response, cut)

    async def _with_faults(
        self, struck: list[Rule], incoming: Incoming, at: Addressed, match: Match, caller: str
    ) -> Response:
        world, operations = self.cloud.world, self.cloud.operations
        reads = match.method.http == "GET"
        if self.cloud.faults.may_go_stale() and not reads:
            world.before = self.cloud.snapshot()
        operations.next_outcome = [_operation_end(rule) for rule in struck if rule.kind.startswith("operation-")]
        now = world.records
        if reads and any(rule.kind == "stale" for rule in struck):
            world.records = world.before
        try:
            return await self._checked(incoming, at, match, caller)
        finally:
            operations.next_outcome = []
            if reads:
                world.records = now

    async def _checked(self, incoming: Incoming, at: Addressed, match: Match, caller: str) -> Response:
        method, document = match.method, self.cloud.router.documents[match.method.api]
        query = parse_qsl(incoming.query, keep_blank_values=True)
        parameters, wrong = typed_parameters(document, match, query)
        body, wrong_body = self._body(incoming, match)
        call = Call(self.cloud, method, parameters, body, caller, _told(incoming), incoming.content, at.base)
        answering = self.cloud.handler(method)
        if answering is None:
            raise not_emulated(f"{method.api}:{method.id}")
        kind, function, handler = answering
        _refuse([*wrong, *wrong_body])
        self.cloud.check_enabled(call, kind, method)
        self._authorize(kind, handler, call)
        _require(missing(document, method, body) if not match.upload else [], at.service)
        answer = await self.cloud.perform(kind, function, call)
        if isinstance(answer, Response):
            return answer
        self._check_own(match, answer)
        return JSONResponse(only(answer, parameters.get("fields", "")))

    def _body(self, incoming: Incoming, match: Match) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """The JSON body, enums turned from numbers into names, and what is wrong with it. Uploads parse their own."""
        method, document = match.method, self.cloud.router.documents[match.method.api]
        if match.upload or not incoming.content:
            return {}, []
        if method.request is None:
            return {}, []
        try:
            body = json.loads(incoming.content)
        except ValueError as error:
            return {}, [("", f"Invalid JSON payload received. {error}")]
        if not isinstance(body, dict):
            return {}, [("", 'Invalid JSON payload received. Unknown name "": Root element must be a message.')]
        if method.service not in OLDER_SHAPE:
            body = _without_nulls(body)
        body = integer_enums(document, method.request, body, ENUM_NUMBERS)
        wrong = [(each.where, each.message) for each in violations(document, method.request, body)]
        return body if method.http == "PATCH" or wrong else without_nulls(body), wrong

    def _authorize(self, kind: Kind, handler: Handler, call: Call) -> None:
        last = kind.collection.rpartition(".")[2]
        permission = handler.permission.format(collection=kind.collection, kind=last)
        guards = kind.guards(call)
        if permission and not self.cloud.access.may(call.caller, permission, guards):
            raise kind.refused(call, permission, guards[0])

    def _check_own(self, match: Match, answer: dict[str, Any]) -> None:
        """Our own answer by the same rules; breaking one is an error of ours, and is not sent."""
        method, document = match.method, self.cloud.router.documents[match.method.api]
        found = violations(document, method.response or {"type": "object"}, answer)
        if found:
            raise AssertionError(f"our answer breaks the schema: {[(each.where, each.message) for each in found]}")


async def _while_asked(answering: Coroutine[Any, Any, Outcome], receive: Receive) -> Outcome:
    """The answer; an end to the work on it as soon as the client has gone, who may have asked for a long wait."""
    work, gone = asyncio.ensure_future(answering), asyncio.ensure_future(receive())
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if work.done():
        return work.result()
    work.cancel()
    return Outcome(Response(status_code=499))


def _without_nulls(value: Any) -> Any:
    """A null is as if it were not sent. Source: https://protobuf.dev/programming-guides/json/ ("accepted value for all
    field types and treated as the default value"); Compute Engine and its like tell the two apart in a patch."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _incoming(scope: Scope, content: bytes) -> Incoming:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path, host = scope["raw_path"].decode("latin-1"), headers.get("host", "")
    if path.startswith(("http://", "https://")):  # sent to a proxy: the whole URL
        parts = urlsplit(path)
        path, host = parts.path or "/", parts.netloc
    peer = scope["client"][0] if scope.get("client") else ""
    return Incoming(scope["method"], host, path, scope["query_string"].decode("latin-1"), headers, content, peer)


def _told(incoming: Incoming) -> dict[str, str]:
    """Headers, with the peer's address under a name no header has: the metadata server knows its VM by it."""
    return incoming.headers | {":peer": incoming.peer}


def _query_token(incoming: Incoming) -> str:
    token = dict(parse_qsl(incoming.query)).get("access_token", "")
    return f"Bearer {token}" if token else ""


async def _strike(struck: list[Rule]) -> tuple[Response | None, bool]:
    """Faults that come before the effect: an answer in its place, and whether the connection is cut in the end."""
    for rule in struck:
        if rule.kind == "slow":
            await asyncio.sleep(rule.seconds)
        elif rule.kind == "error":
            raise rule.error()
    if any(rule.kind == "reset-before" for rule in struck):
        return Response(status_code=503), True
    return None, any(rule.kind == "reset-after" for rule in struck)


def _operation_end(rule: Rule) -> ApiError | None:
    return rule.error() if rule.kind == "operation-error" else None


def _require(names: list[str], service: str) -> None:
    """Source: https://cloud.google.com/compute/docs/reference/rest/v1/errors, "Required field … not specified", and
    https://cloud.google.com/storage/docs/json_api/v1/status-codes#400-bad-request (`required`, "Required")."""
    if names:
        words = "Required" if service == "storage" else f"Required field 'resource.{names[0]}' not specified"
        raise invalid(words, reason="required")


def _refuse(wrong: list[tuple[str, str]]) -> None:
    if wrong:
        raise ApiError(400, "\n".join(message for _, message in wrong), details=[bad_request(wrong)])


def _cut(send: Send) -> None:
    """Reset the connection without an answer. `send` is uvicorn's own bound method, which knows the transport."""
    transport = send.__self__.transport  # type: ignore[attr-defined]
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


NOT_FOUND_PAGE = (
    "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>\n"
    "  <p><b>404.</b> <ins>That’s an error.</ins>\n  <p>The requested URL was not found on this server.\n"
)
"""What Google's front end answers where no method is. Source: seen in public issues, for instance
googleapis/google-api-python-client, as "Error 404 (Not Found)!!1"."""
