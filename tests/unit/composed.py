"""Stacks put together from a spec, for tests of what follows from one."""

from __future__ import annotations

import tomllib
from typing import Any

from blocks import catalog
from blocks.agent.spec import Artifact, HostSpec, Release, Service
from blocks.host.home import Home
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import Stack

SECRETS = {
    "auth-string": "admin:open-sesame-1",
    "auth-grace": '[{"auth_string": "admin:open-sesame-5", "until": null}]',
    "encryption-key": "open-sesame-2",
    "database-login": "prefect_a:open-sesame-3",
    "database-admin-password": "open-sesame-4",
}


def release(name: str) -> Release:
    return Release(f"{name}-0123456789ab", Artifact("lock.txt", "0" * 64))


def stack_of(home: Home, **data: Any) -> Stack:
    spec = build_spec({"home": str(home.root), **data}, "test")
    own = {worker.name: release(worker.name) for worker in spec.workers if worker.packages}
    return catalog.compose(spec, {SERVER: release("3.8.8"), TOOLS: release("tools"), **own}, here(spec), {})


def stack_with_secrets(home: Home) -> Stack:
    """A stack in its default form, whose secrets are there."""
    home.secrets.mkdir(parents=True)
    for name, value in SECRETS.items():
        (home.secrets / name).write_text(value)
    return stack_of(home)


def service(spec: HostSpec, name: str) -> Service:
    return next(each for each in spec.services if each.name == name)


def rendered(spec: HostSpec, ending: str) -> dict[str, Any]:
    (file,) = [each for each in spec.files if each.path.endswith(ending)]
    return tomllib.loads(file.content)
