"""gRPC in front of Cloud SQL Admin, for `google.cloud.sqladmin_v1`, which speaks nothing else.

Each call becomes the HTTP request that its method's rule says, is answered in process, and its JSON turned back into a
message, or its error into a status. The client's package has messages but no service descriptors, so the rules are
those of the discovery document, found by the names of service and method, and the types of messages are those in the
client's own signatures. The package takes a second to load and is loaded by the first call.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import socket
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import grpc  # type: ignore[import-untyped]
import grpc.aio  # type: ignore[import-untyped]
from google.protobuf import json_format  # type: ignore[import-untyped]
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from starlette.responses import Response

from tests.emulator.app import App
from tests.emulator.discovery import Method
from tests.emulator.incoming import Incoming
from tests.emulator.router import PLACEHOLDER

CLIENT = "google.cloud.sqladmin_v1"
HOST = "sqladmin.googleapis.com"
ERROR_INFO = error_details_pb2.ErrorInfo.DESCRIPTOR.full_name
RENAMED = {
    ("connect", "getconnectsettings"): ("connect", "get"),
    ("connect", "generateephemeralcert"): ("connect", "generateephemeral"),
    ("connect", "resolveconnectsettings"): ("connect", "resolve"),
    ("instances", "createephemeral"): ("sslcerts", "createephemeral"),
}
"""Methods that the discovery document has under another name than the service has, in lower case."""
Behaviour = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]


@dataclass(frozen=True)
class Messages:
    """The types of a method's request and response, as proto-plus has them."""

    request: Any
    response: Any


class SqlAdminGrpc(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A gRPC server on a port of its own, reserved at once and served from `start` on."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.rules = _rules(app)
        self._reserved = _reserve()
        self.address = f"127.0.0.1:{self._reserved.getsockname()[1]}"

    async def start(self) -> None:
        self._server = grpc.aio.server(handlers=[self])
        self._server.add_insecure_port(self.address)
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(grace=0.5)
        self._reserved.close()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """Who answers a path such as `/google.cloud.sql.v1.SqlUsersService/List`; None is UNIMPLEMENTED."""
        _, service, rpc = handler_call_details.method.split("/")
        rule = self.rules.get(_key(service, rpc))
        if rule is None:
            return None
        behaviour = self._behaviour(service.rpartition(".")[2], rpc, rule)
        return grpc.unary_unary_rpc_method_handler(behaviour)

    def _behaviour(self, service: str, rpc: str, rule: Method) -> Behaviour:
        async def answer(raw: bytes, context: grpc.aio.ServicerContext) -> bytes:
            messages = await asyncio.to_thread(messages_of, service, rpc)
            metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
            outcome = await self.app.answer(incoming(rule, _to_json(messages.request, raw), metadata, context.peer()))
            if outcome.cut:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
            if outcome.response.status_code >= 400:
                await context.abort(*_status(outcome.response), _details(outcome.response))
            return _to_message(messages.response, json.loads(bytes(outcome.response.body)))

        return answer


def _reserve() -> socket.socket:
    """A free port held without listening: gRPC binds the same one, as both set SO_REUSEPORT."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def _rules(app: App) -> dict[tuple[str, str], Method]:
    """The document's methods by the last part of their collection and their verb, in lower case."""
    methods = app.cloud.router.documents["sqladmin.v1"].methods
    return {(each.collection.rpartition(".")[2].lower(), each.verb.lower()): each for each in methods}


def _key(service: str, rpc: str) -> tuple[str, str]:
    """`("users", "list")` of `google.cloud.sql.v1.SqlUsersService` and `List`."""
    key = (service.rpartition(".")[2].removeprefix("Sql").removesuffix("Service").lower(), rpc.lower())
    return RENAMED.get(key, key)


@cache
def messages_of(service: str, rpc: str) -> Messages:
    """From the signature of the client's own stub. The first call loads the package."""
    client = importlib.import_module(CLIENT)
    metadata = json.loads((Path(str(client.__file__)).parent / "gapic_metadata.json").read_text())
    method = metadata["services"][service]["clients"]["grpc"]["rpcs"][rpc]["methods"][0]
    folder = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", service).lower()
    transports = importlib.import_module(f"{CLIENT}.services.{folder}.transports.grpc")
    stub = getattr(getattr(transports, f"{service}GrpcTransport"), method)
    (request,), response = typing.get_args(typing.get_type_hints(stub.fget)["return"])
    return Messages(request, response)


def incoming(rule: Method, fields: dict[str, Any], metadata: dict[str, str], peer: str) -> Incoming:
    """The HTTP request of a call: fields go into the path, the query or, the one that is in neither, the body."""
    path = PLACEHOLDER.sub(lambda found: quote(str(fields.get(found[2], "")), safe="/" if found[1] else ""), rule.path)
    in_path = {found[2] for found in PLACEHOLDER.finditer(rule.path)}
    query = {key: value for key, value in fields.items() if key in rule.parameters and key not in in_path}
    bodies = [value for key, value in fields.items() if key not in rule.parameters]
    content = json.dumps(bodies[0]).encode() if bodies else b""
    told = {name: metadata[name] for name in ("authorization", "x-goog-user-project") if name in metadata}
    headers = {"authorization": "", "content-type": "application/json"} | told
    return Incoming(rule.http, HOST, path, urlencode(_spelled(query), doseq=True), headers, content, peer)


def _spelled(query: dict[str, Any]) -> dict[str, Any]:
    """Values as a query string has them."""
    return {key: str(value).lower() if isinstance(value, bool) else value for key, value in query.items()}


def _to_json(message: Any, raw: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = message.to_dict(
        message.deserialize(raw),
        preserving_proto_field_name=False,
        use_integers_for_enums=False,
        always_print_fields_with_no_presence=False,
    )
    return fields


def _to_message(message: Any, body: dict[str, Any]) -> bytes:
    raw: bytes = message.serialize(message.from_json(json.dumps(body), ignore_unknown_fields=True))
    return raw


def _status(response: Response) -> tuple[grpc.StatusCode, str]:
    """The status and the message of an error; a page of HTML is an address that no method has."""
    if not str(response.headers.get("content-type", "")).startswith("application/json"):
        return grpc.StatusCode.UNIMPLEMENTED, "Method not found."
    error: dict[str, Any] = json.loads(bytes(response.body))["error"]
    return grpc.StatusCode.__members__.get(error["status"], grpc.StatusCode.UNKNOWN), error["message"]


def _details(response: Response) -> tuple[tuple[str, bytes], ...]:
    """Why, for programs: what of kind ErrorInfo an error has, in the trailing metadata that gRPC has for it.

    Source: https://cloud.google.com/apis/design/errors#error_details, google.api_core.exceptions.from_grpc_error.
    """
    if _status(response)[0] is grpc.StatusCode.UNIMPLEMENTED:
        return ()
    error: dict[str, Any] = json.loads(bytes(response.body))["error"]
    info = [each for each in error.get("details", ()) if each.get("@type") == f"type.googleapis.com/{ERROR_INFO}"]
    if not info:
        return ()
    told = json_format.ParseDict({"message": error["message"], "details": info}, status_pb2.Status())
    told.code = _status(response)[0].value[0]
    return (("grpc-status-details-bin", told.SerializeToString()),)
