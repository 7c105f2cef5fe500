"""The metadata server over HTTP.

Sources: https://cloud.google.com/compute/docs/metadata/querying-metadata (header, listings, wait_for_change),
https://cloud.google.com/compute/docs/metadata/manage-guest-attributes (PUT, DELETE),
https://cloud.google.com/compute/docs/access/authenticate-workloads (tokens).

Who asks is told by the address it calls from: the `networkIP` of one instance. From loopback an instance is named by
the header `X-Emulated-Instance: projects/P/zones/Z/instances/I`, or by a path in front, for clients that can be given
a host and no header: `GCE_METADATA_HOST=127.0.0.1:8085/metadata/projects/P/zones/Z/instances/I`.
"""

from __future__ import annotations

import asyncio
import inspect
import ipaddress
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from tests.emulator import accounts
from tests.emulator.access import TOKEN_LIFE
from tests.emulator.errors import ApiError
from tests.emulator.kind import Call, Handle, Kind, raw
from tests.emulator.services.compute import guest_attributes
from tests.emulator.services.compute.instance_kind import UP
from tests.emulator.services.metadata import tree
from tests.emulator.services.metadata.identity import identity_token
from tests.emulator.world import Record

HEADERS = {
    "Metadata-Flavor": "Google",
    "Server": "Metadata Server for VM",
    "X-XSS-Protection": "0",
    "X-Frame-Options": "SAMEORIGIN",
}
"""On every answer. No source found but what curl shows."""
NAMED = r"(?:/(?P<instance>projects/[^/]+/zones/[^/]+/instances/[^/]+))?"
V1 = rf"{NAMED}/computeMetadata/v1"
ACCOUNT = rf"{V1}/(?P<path>instance/service-accounts/[^/]+)"
GUEST = rf"{V1}/instance/guest-attributes/(?P<path>.*)"
LOOK = 0.05
"""Seconds of real time between two looks at what a caller waits for."""

Reply = Callable[[Any, Call], Response | Awaitable[Response]]


class Refused(Exception):
    """An answer that ends a request: status and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.response = _answer(f"{text}\n", "text/html; charset=UTF-8", status)


def question(http: str, path: str) -> Callable[[Reply], Handle]:
    """`raw` for the metadata server: whoever is no instance, or asks without the header, gets no further.

    Source of the words: notes in public repositories print "Missing Metadata-Flavor:Google header." (no issue found);
    X-Forwarded-For is refused by the documents, no source for the words.
    """

    def mark(function: Reply) -> Handle:
        async def reply(kind: MetadataServer, call: Call) -> Response:
            try:
                if "x-forwarded-for" in call.headers:
                    raise Refused(403, "Requests with an X-Forwarded-For header are not accepted.")
                if call.headers.get("metadata-flavor") != "Google":
                    raise Refused(403, "Missing Metadata-Flavor:Google header.")
                answer = function(kind, call)
                return await answer if inspect.isawaitable(answer) else answer
            except Refused as refused:
                return refused.response

        return raw("metadata", http, path)(reply)

    return mark


class MetadataServer(Kind):
    """Reads of the tree, tokens, guest attributes. Every path is one of its own, as no document lists them."""

    collection = "metadata.server"
    owns_records = False

    @question("GET", rf"{NAMED}/?")
    def root(self, call: Call) -> Response:
        """What clients call to see whether they are on an instance."""
        self.instance(call)
        return _answer("0.1/\ncomputeMetadata/\n")

    @question("GET", rf"{NAMED}/computeMetadata/?")
    def versions(self, call: Call) -> Response:
        self.instance(call)
        return _answer("v1/\n")

    @question("GET", rf"{ACCOUNT}/token")
    def token(self, call: Call) -> Response:
        """An access token of the account. It has the instance's scopes, whatever is asked for.

        Source: google.auth.compute_engine ("On Compute Engine the metadata server ignores requested scopes"). The
        server at Google gives the same token out again until shortly before it ends; here each is a new one.
        """
        about = self.node(call, unquote(call["path"]))
        account = self.account(about["email"])
        scopes = about["scopes"].items or ("none",)  # an empty list would stand for all of them
        token = self.cloud.access.mint(f"serviceAccount:{account.body['email']}", scopes=scopes)
        life = int(TOKEN_LIFE.total_seconds()) - 1
        answer = {"access_token": token, "expires_in": life, "token_type": "Bearer"}
        return _answer(json.dumps(answer), "application/json")

    @question("GET", rf"{ACCOUNT}/identity")
    def identity(self, call: Call) -> Response:
        """An identity token. Source of the words without an audience: public clients that look for them."""
        account = self.account(self.node(call, unquote(call["path"]))["email"])
        if not call.get("audience"):
            raise Refused(400, "non-empty audience parameter required")
        full = call.get("format", "standard") == "full"
        return _answer(identity_token(self.cloud, self.instance(call), account, call["audience"], full=full))

    @question("GET", rf"{V1}(?P<path>(?:/.*)?)")
    async def get(self, call: Call) -> Response:
        """A value or a directory, at once or when it has changed."""
        path = unquote(call["path"])
        if f"{path}/".startswith("/instance/guest-attributes/"):
            self.writable(call)
        if call.get("wait_for_change", "").lower() == "true":
            await self.changed(call, path)
        node = self.node(call, path)
        if tree.is_directory(node) and not path.endswith("/"):
            query = "&".join(
                f"{name}={value}" for name, value in call.parameters.items() if name not in ("path", "instance")
            )
            named = f"/{call['instance']}" if call.get("instance") else ""
            return _answer(
                "", headers={"Location": f"{call.base}{named}/computeMetadata/v1{path}/?{query}"}, status=301
            )
        return shown(call, node)

    async def changed(self, call: Call, path: str) -> None:
        """Return when what is at a path is not what the caller has seen, or `timeout_sec` are over.

        Time is the emulator's: on a virtual clock the timeout comes when somebody moves it.
        """
        clock, seconds = self.cloud.world.clock, call.get("timeout_sec", "")
        limit = clock.now() + timedelta(seconds=int(seconds)) if seconds.isdigit() else None
        seen = call.get("last_etag") or tree.etag(self.node(call, path))
        while tree.etag(self.node(call, path)) == seen and (limit is None or clock.now() < limit):
            await asyncio.sleep(LOOK)
            self.cloud.operations.advance()

    @question("PUT", GUEST)
    def put(self, call: Call) -> Response:
        """Set a guest attribute. No source for how a wrong one is refused."""
        record = self.writable(call)
        try:
            guest_attributes.put(record, unquote(call["path"]), call.content.decode())
        except ApiError as error:
            raise Refused(error.code, error.message) from None
        except UnicodeDecodeError:
            raise Refused(400, "Guest attributes are text.") from None
        return _answer("")

    @question("DELETE", GUEST)
    def delete(self, call: Call) -> Response:
        if guest_attributes.attributes_of(self.writable(call)).pop(unquote(call["path"]), None) is None:
            raise Refused(404, NOT_FOUND)
        return _answer("")

    # -- who asks, and what for --------------------------------------------------------------------------------------

    def instance(self, call: Call) -> Record:
        """The running instance that asks; 404 for anybody else, without the header that a client would believe."""
        peer = call.peer
        if ipaddress.ip_address(peer or "::").is_loopback:
            name = call.get("instance") or call.headers.get("x-emulated-instance", "")
            found = [each] if (each := self.cloud.world.find(f"compute/{name}")) else []
        else:
            found = [each for each in self.cloud.world.of("compute.instances") if _has(each, peer)]
        running = [each for each in found if each.body.get("status") in UP]
        if len(running) != 1:
            raise Stranger(peer, len(running))
        return running[0]

    def node(self, call: Call, path: str) -> tree.Node:
        """What is at a path for the instance that asks. Source of the 404: Google's page of HTML."""
        found = tree.find(tree.told(self.cloud, self.instance(call)), path)
        if found is None:
            raise Refused(404, NOT_FOUND)
        return found

    def account(self, email: str) -> Record:
        """The account of an instance, which may be gone or disabled. No source for the words."""
        found = accounts.account(self.cloud.world, email)
        if found is None or found.body.get("disabled"):
            raise Refused(404, f"The service account {email} was not found or is disabled.")
        return found

    def writable(self, call: Call) -> Record:
        """The instance, where guest attributes are enabled. Source of the words: public dumps of the tree."""
        record = self.instance(call)
        if not guest_attributes.enabled(self.cloud, record):
            raise Refused(403, "Guest attributes endpoint access is disabled.")
        return record


class Stranger(Refused):
    """Whoever asks is no instance, or could be several."""

    def __init__(self, peer: str, several: int) -> None:
        how = "several running instances have" if several else "no running instance has"
        super().__init__(404, f"emulator: {how} the address {peer}; see X-Emulated-Instance.")
        del self.response.headers["Metadata-Flavor"]


def shown(call: Call, node: tree.Node) -> Response:
    """A node as asked for: `recursive`, and `alt` as json or text. No source for JSON of a listing."""
    recursive = call.get("recursive", "").lower() == "true"
    as_json = call.get("alt", "json" if recursive else "text") == "json"
    headers = {"ETag": tree.etag(node)}
    if as_json:
        listed = tree.is_directory(node) and not recursive
        value = tree.listing(node) if listed else tree.as_json(node)
        return _answer(json.dumps(value), "application/json", headers=headers)
    if recursive and tree.is_directory(node):
        return _answer("".join(f"{line}\n" for line in tree.as_lines(node)), headers=headers)
    return _answer(tree.as_text(node), headers=headers)


def _has(record: Record, address: str) -> bool:
    return any(each.get("networkIP") == address for each in record.body["networkInterfaces"])


def _answer(
    text: str, media: str = "application/text", status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    return Response(text, status, headers=HEADERS | (headers or {}), media_type=media)


NOT_FOUND = "<!DOCTYPE html>\n<html lang=en>\n  <title>Error 404 (Not Found)!!1</title>"

KINDS = (MetadataServer,)
