"""Adding, removing and scaling a worker, as a change of the stack's spec; and workers in words. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from packaging.requirements import InvalidRequirement, Requirement

from blocks.errors import WrongCall
from blocks.services import WORKER_PREFIX
from blocks.spec import MAINTENANCE_POOL, StackSpec, Worker, build_spec

Action = Literal["list", "add", "remove", "scale"]


@dataclass(frozen=True)
class WorkerEdit:
    """A change of the workers, as a person fills it in. What does not apply to an action is ignored."""

    action: Action
    name: str = ""
    pool: str = ""
    """Empty for the worker's name."""
    type: str = "process"
    concurrency: int = 10
    packages: Sequence[str] = ()
    env: Sequence[str] = ()
    """Each `KEY=VALUE`."""
    git_credentials: str = ""
    """`TYPE/NAME[@HOST[:PORT]]`; empty for none."""

    @property
    def service(self) -> str:
        return WORKER_PREFIX + self.name


def planned(spec: StackSpec, edit: WorkerEdit, services: Collection[str]) -> StackSpec:
    """The spec as it is afterwards; the same one where it says so already.

    Args:
        services: Names of the services on the host: a worker whose removal was cut short may be among them alone.

    Raises:
        WrongCall: it cannot be done; nothing was touched.
    """
    if not edit.name:
        raise WrongCall(f"{edit.action} wants the name of a worker", f"there are {_names(spec)}")
    workers = {"add": _added, "remove": _removed, "scale": _scaled}[edit.action](spec, edit, services)
    return build_spec({**spec.model_dump(mode="json"), "workers": workers}, f"{edit.action} {edit.name}")


def _added(spec: StackSpec, edit: WorkerEdit, services: Collection[str]) -> list[dict[str, Any]]:
    wanted = _worker(edit)
    found = _find(spec, edit.name)
    if wanted["pool"] == MAINTENANCE_POOL:
        raise WrongCall(f"the pool {MAINTENANCE_POOL} has its worker", "selfhost workers scale gives it more runs")
    if found is not None and _plain(found) != _plain(found) | wanted:
        raise WrongCall(f"the name {edit.name!r} is taken by a worker on the pool {found.pool!r}", "choose another")
    return [_plain(each) for each in spec.workers] + ([] if found else [wanted])


def _removed(spec: StackSpec, edit: WorkerEdit, services: Collection[str]) -> list[dict[str, Any]]:
    found = _find(spec, edit.name)
    if found is None and edit.service not in services:
        raise _unknown(spec, edit.name)
    if found is not None and found.pool == MAINTENANCE_POOL:
        raise WrongCall(
            f"the worker {edit.name!r} serves the pool {MAINTENANCE_POOL}, which runs backups and upgrades: it stays",
            "selfhost workers scale changes its number of runs",
        )
    return [_plain(each) for each in spec.workers if each.name != edit.name]


def _scaled(spec: StackSpec, edit: WorkerEdit, services: Collection[str]) -> list[dict[str, Any]]:
    if _find(spec, edit.name) is None:
        raise _unknown(spec, edit.name)
    changed = {"concurrency": edit.concurrency}
    return [_plain(each) | (changed if each.name == edit.name else {}) for each in spec.workers]


def _worker(edit: WorkerEdit) -> dict[str, Any]:
    pairs = [each.partition("=") for each in edit.env]
    wrong = [key for key, sign, _ in pairs if not sign]
    for each in edit.packages:
        _require_of_the_index(each)
    if wrong:
        raise WrongCall(f"env: {wrong[0]!r} is not KEY=VALUE", "such as TZ=Europe/Berlin")
    return {
        "name": edit.name,
        "pool": edit.pool or edit.name,
        "type": edit.type,
        "concurrency": edit.concurrency,
        "packages": list(edit.packages),
        "env": {key: value for key, _, value in pairs},
        "git_credentials": edit.git_credentials or None,
    }


def _require_of_the_index(package: str) -> None:
    """Refuse what names no package: uv would fetch an address from wherever it leads, with the stack's rights."""
    try:
        found = Requirement(package)
    except InvalidRequirement as error:
        raise WrongCall(f"packages: {package!r} is no requirement", "such as pandas==2.2.3") from error
    if found.url:
        hint = "packages of your index by their names; for others, edit the stack's spec and bootstrap"
        raise WrongCall(f"packages: {package!r} leads elsewhere than to the package index", hint)


def _plain(worker: Worker) -> dict[str, Any]:
    return worker.model_dump(mode="json")


def _find(spec: StackSpec, name: str) -> Worker | None:
    return next((each for each in spec.workers if each.name == name), None)


def _unknown(spec: StackSpec, name: str) -> WrongCall:
    return WrongCall(f"there is no worker {name!r}", f"there are {_names(spec)}")


def _names(spec: StackSpec) -> str:
    return ", ".join(each.name for each in spec.workers)


def as_toml(workers: Iterable[Worker]) -> str:
    """Workers as the `[[workers]]` of a spec file; what has its default is left out."""
    return "\n".join("\n".join(["[[workers]]", *_lines(each)]) + "\n" for each in workers)


def _lines(worker: Worker) -> list[str]:
    given = worker.model_dump(mode="json", exclude_defaults=True)
    return [f"{key} = {_toml(value)}" for key, value in given.items()]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    # JSON's texts, numbers and lists are TOML's, but for one character that must be escaped there.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
