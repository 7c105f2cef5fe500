"""A request as it comes in, and which service it is for."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from starlette.types import Scope

METADATA_HOSTS = ("metadata.google.internal", "169.254.169.254", "metadata")
OTHER_HOSTS = {"www": "compute", "oauth2": "token"}
"""Hosts below googleapis.com that are not called by their service. Source: `rootUrl` of older discovery documents,
`token_uri` of key files."""
OWN_SERVICES = ("metadata", "token")
"""What no discovery document describes, and nobody shows an access token to."""


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

    @property
    def arguments(self) -> list[tuple[str, str]]:
        return parse_qsl(self.query, keep_blank_values=True)

    @property
    def authorization(self) -> str:
        """The header, or what `access_token` in the query says instead.

        Source: https://cloud.google.com/apis/docs/system-parameters
        """
        token = dict(self.arguments).get("access_token", "")
        return self.headers.get("authorization", "") or (f"Bearer {token}" if token else "")


@dataclass(frozen=True)
class Addressed:
    """Which service is meant, the path behind its prefix, and what its own links begin with."""

    service: str
    path: str
    base: str


def received(scope: Scope, content: bytes) -> Incoming:
    """A request as ASGI has it."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path, host = scope["raw_path"].decode("latin-1"), headers.get("host", "")
    if path.startswith(("http://", "https://")):  # sent to a proxy: the whole URL
        parts = urlsplit(path)
        path, host = parts.path or "/", parts.netloc
    peer = scope["client"][0] if scope.get("client") else ""
    return Incoming(scope["method"], host, path, scope["query_string"].decode("latin-1"), headers, content, peer)


def addressed(incoming: Incoming, services: Collection[str]) -> Addressed:
    """By Host header (`compute.googleapis.com`, `REGION-run.googleapis.com`), else by the first segment."""
    name = incoming.host.partition(":")[0]
    if name in METADATA_HOSTS:
        return Addressed("metadata", incoming.path, f"http://{incoming.host}")
    if name.endswith(".googleapis.com"):
        service = name.removesuffix(".googleapis.com").rpartition("-")[2]
        return Addressed(OTHER_HOSTS.get(service, service), incoming.path, f"https://{name}")
    return _by_path(incoming, services)


def _by_path(incoming: Incoming, services: Collection[str]) -> Addressed:
    here = f"http://{incoming.host}"
    first, _, rest = incoming.path.lstrip("/").partition("/")
    if first in services or first in OWN_SERVICES:
        return Addressed(first, f"/{rest}", f"{here}/{first}")
    if re.fullmatch(r"[a-z]+-[a-z]+\d+-run", first):  # `/REGION-run/…`, for what has no location in its path
        return Addressed("run", f"/{rest}", f"{here}/{first}")
    if first == "computeMetadata" or (not first and "metadata-flavor" in incoming.headers):
        return Addressed("metadata", incoming.path, here)
    inner = next((each for each in services if f"/{each}/" in f"{incoming.path}/"), "storage")
    return Addressed(inner, incoming.path, here)
