"""The emulator as an ASGI application: from a request as it comes to a method's answer.

The order of checks: is there such a method (404), who calls (401), is the request what the schema says (400),
against whom is it counted (403, 429), is the API enabled (403), may the caller do this (403), and only then the
resource itself. No source tells the order of the third and those after it.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tests.emulator import batch, consumers, control
from tests.emulator.checks import body_of, check_answer, refuse, require_fields
from tests.emulator.cloud import Cloud
from tests.emulator.discovery import Method
from tests.emulator.errors import ApiError, not_emulated
from tests.emulator.faults import Rule
from tests.emulator.incoming import OWN_SERVICES, Addressed, Incoming, addressed, received
from tests.emulator.kind import Call, RawMatch
from tests.emulator.partial import only
from tests.emulator.router import Match, typed_parameters

Answered = Callable[[str, list[Rule]], Awaitable[Response]]
"""What answers once the caller is known, and which faults strike."""


@dataclass
class Outcome:
    """An answer, and whether a fault cuts the connection instead of sending it."""

    response: Response
    cut: bool = False


class App:
    """One port for all services."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            incoming = received(scope, await Request(scope, receive).body())
        except ClientDisconnect:  # gone before the whole request was here: nobody is left to answer
            return
        waits = "wait_for_change" in incoming.query
        outcome = await (_while_asked(self.answer(incoming), receive) if waits else self.answer(incoming))
        if outcome.cut:
            _cut(send)
            return
        # The date of an answer is the emulator's own, as the times in it are: clients reckon ages by it.
        outcome.response.headers["Date"] = format_datetime(self.cloud.world.clock.now(), usegmt=True)
        await outcome.response(scope, receive, send)

    async def answer(self, incoming: Incoming) -> Outcome:
        """Control paths, batches, paths that no document lists, and then the documents' methods."""
        self.cloud.operations.advance()
        if incoming.path.startswith("/_emulator/"):
            return Outcome(control.answer(self.cloud, incoming.http, incoming.path, incoming.content))
        if "/batch" in incoming.path and incoming.headers.get("content-type", "").startswith("multipart/mixed"):
            return Outcome(await batch.answer(self, incoming))
        at = addressed(incoming, self.cloud.router.services())
        if raw := self.cloud.raw_match(at.service, incoming.http, at.path):
            return await self._raw(incoming, at, raw)
        if match := self.cloud.router.match(at.service, incoming.http, at.path):
            return await self._method(incoming, at, match)
        self.cloud.remember("", incoming.path, "", 404)
        return Outcome(Response(NOT_FOUND_PAGE, 404, media_type="text/html; charset=UTF-8"))

    async def _raw(self, incoming: Incoming, at: Addressed, match: RawMatch) -> Outcome:
        async def answered(caller: str, _: list[Rule]) -> Response:
            call = self._call(incoming, at, None, dict(incoming.arguments) | match.groups, {}, caller)
            answer = await match.answering.answer(call)
            return answer if isinstance(answer, Response) else JSONResponse(answer)

        name = match.raw.method or f"{at.service}:{incoming.http} {incoming.path}"
        return await self._guarded(name, None, incoming, at, answered)

    async def _method(self, incoming: Incoming, at: Addressed, match: Match) -> Outcome:
        async def answered(caller: str, struck: list[Rule]) -> Response:
            with self.cloud.struck(struck, reads=match.method.http == "GET"):
                return await self._checked(incoming, at, match, caller)

        return await self._guarded(match.method.id, match.method, incoming, at, answered)

    async def _guarded(
        self, name: str, method: Method | None, incoming: Incoming, at: Addressed, answered: Answered
    ) -> Outcome:
        """One call, with the faults that strike it; whatever is raised becomes an answer."""
        caller, cut = "", False
        try:
            if at.service not in OWN_SERVICES:
                caller = self.cloud.access.caller(incoming.authorization, method)
            struck = self.cloud.faults.striking(at.service, name)
            before, cut = await _strike(struck)
            response = before or await answered(caller, struck)
        except ApiError as error:
            response = JSONResponse(error.body(at.service), error.code, headers=error.headers)
        except Exception:  # noqa: BLE001 - a handler that broke is our fault, and is told as such
            self.cloud.complaints.append(f"{name}: {traceback.format_exc()}")
            response = JSONResponse(ApiError(500, f"emulator: {name} broke").body(at.service), 500)
        self.cloud.remember(name, incoming.path, caller, response.status_code)
        return Outcome(response, cut)

    async def _checked(self, incoming: Incoming, at: Addressed, match: Match, caller: str) -> Response:
        method, document = match.method, self.cloud.router.documents[match.method.api]
        parameters, wrong = typed_parameters(document, match, incoming.arguments)
        body, wrong_body = body_of(document, match, incoming.content)
        call = self._call(incoming, at, method, parameters, body, caller)
        answering = self.cloud.handler(method)
        if answering is None:
            raise not_emulated(f"{method.api}:{method.id}")
        refuse([*wrong, *wrong_body])
        consumers.check(self.cloud, call, method)
        self.cloud.check_enabled(call, answering.kind, method)
        answering.authorize(call)
        require_fields(document, match, body)
        answer = await answering.answer(call)
        if isinstance(answer, Response):
            return answer
        check_answer(document, method, answer)
        return JSONResponse(only(answer, parameters.get("fields", "")))

    def _call(
        self,
        incoming: Incoming,
        at: Addressed,
        method: Method | None,
        parameters: dict[str, Any],
        body: dict[str, Any],
        caller: str,
    ) -> Call:
        return Call(
            self.cloud,
            method,
            parameters,
            body,
            caller,
            headers=incoming.headers,
            content=incoming.content,
            base=at.base,
            peer=incoming.peer,
        )


async def _while_asked(answering: Coroutine[Any, Any, Outcome], receive: Receive) -> Outcome:
    """The answer; an end to the work on it as soon as the client has gone, who may have asked for a long wait."""
    work, gone = asyncio.ensure_future(answering), asyncio.ensure_future(receive())
    await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if work.done():
        return work.result()
    work.cancel()
    return Outcome(Response(status_code=499))


async def _strike(struck: list[Rule]) -> tuple[Response | None, bool]:
    """Faults that come before the effect: an answer in its place, and whether the connection is cut in the end."""
    for rule in struck:
        if rule.kind == "slow":
            await asyncio.sleep(rule.seconds)
        elif rule.kind == "error":
            raise rule.error()
        elif rule.kind == "page":
            return HTMLResponse(rule.page, rule.code), False
    if any(rule.kind == "reset-before" for rule in struck):
        return Response(status_code=503), True
    return None, any(rule.kind == "reset-after" for rule in struck)


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
"""What Google's front end answers where no method is. Source: hashicorp/terraform-provider-google#10872,
"Error 404 (Not Found)!!1"."""
