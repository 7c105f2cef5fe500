"""What the exec wrapper is told (`Definition`), and the digests by which a change is seen. Pure."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import AgentConfig
from .spec import HostSpec, Job, Service

_SUPERVISION = ("version", "files", "health", "restart", "reload_signal", "stop_signal", "stop_timeout", "stop_level")
"""Fields which say how a service is watched and ended: a change of them needs no restart."""
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
"""Whom Debian believes."""
BUNDLES = ("REQUESTS_CA_BUNDLE", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "SSL_CERT_FILE")
"""What requests, gRPC, and OpenSSL with uv take that from."""


@dataclass(frozen=True)
class Wanted:
    """One service of the spec, with what its running process is compared by."""

    service: Service
    digest: str
    """Of all a process is started from; the content of its files too, unless it can reload them."""
    files_digest: str
    """Of the content of its files, where it can reload them; else empty."""


def wanted_services(spec: HostSpec, contents: Mapping[str, bytes]) -> dict[str, Wanted]:
    """Each service with its digests, by name. `contents` are the rendered files by path."""
    return {service.name: _wanted(service, spec, contents) for service in spec.services}


def _wanted(service: Service, spec: HostSpec, contents: Mapping[str, bytes]) -> Wanted:
    fields = dataclasses.asdict(service)
    process = {key: value for key, value in fields.items() if key not in (*_SUPERVISION, "ready_file", "after")}
    process["secrets"] = {variable: _spelled(name) for variable, name in service.secrets.items()}
    process["listening"] = [dataclasses.asdict(each) for each in spec.sockets if each.name in service.sockets]
    files = {path: hashlib.sha256(contents[path]).hexdigest() for path in service.files if path in contents}
    if service.reload_signal:
        return Wanted(service, _digest(process), _digest(files))
    return Wanted(service, _digest({**process, "files": files}), "")


def _spelled(secret: str) -> str:
    """A reference as it was written before secrets had versions: it named the first, which is no other secret now."""
    return secret.removesuffix("@1")


def service_definition(wanted: Wanted, config: AgentConfig) -> dict[str, Any]:
    """The definition that lets a service start."""
    return {
        "go": True,
        "digest": wanted.digest,
        "files_digest": wanted.files_digest,
        "sockets": list(wanted.service.sockets),
        "restart": wanted.service.restart,
        **_program(wanted.service, config),
    }


def job_definition(job: Job, config: AgentConfig) -> dict[str, Any]:
    """The definition a job runner carries out."""
    return {"run": job.run, "timeout": job.timeout, "sockets": [], **_program(job, config)}


def _program(program: Service | Job, config: AgentConfig) -> dict[str, Any]:
    return {
        "argv": list(program.argv),
        "cwd": program.cwd,
        "user": program.user,
        "env": program.env,
        "base_env": {**base_environment(config.path), **trust(config)},
        "secrets": {variable: f"{config.secrets}/{name}" for variable, name in program.secrets.items()},
    }


def base_environment(path: str) -> dict[str, str]:
    """PATH, LANG and TZ of everything the agent starts. LANG is fixed: who started the agent is no matter."""
    base = {"PATH": path, "LANG": "C.UTF-8"}
    if "TZ" in os.environ:
        base["TZ"] = os.environ["TZ"]
    return base


def trust(config: AgentConfig) -> dict[str, str]:
    """On a VM, have programs with a bundle of authorities of their own believe whom the machine believes, as the agent
    does: Google's clients bring two such bundles."""
    is_vm = config.bucket and Path(AUTHORITIES).exists()
    return dict.fromkeys(BUNDLES, AUTHORITIES) if is_vm else {}


def releases_needed(argv: tuple[str, ...], releases: str, ids: tuple[str, ...]) -> tuple[str, ...]:
    """Releases whose folder the argv points into; it must be whole before the program starts."""
    return tuple(each for each in ids if any(word.startswith(f"{releases}/{each}/") for word in argv))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
