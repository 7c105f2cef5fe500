"""What a home's stack is wanted to be: the spec and the releases of the last bootstrap, kept in the home.

Verbs other than bootstrap find the stack's ports and releases here.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocks.agent.files import write_atomically
from blocks.agent.spec import InvalidSpec, Release, from_json
from blocks.errors import Blocked
from blocks.host.home import Home

FILE = "wanted.json"


@dataclass(frozen=True)
class Wanted:
    """The spec as plain data, release by `server` or worker's name, and version by secret's name."""

    spec: Mapping[str, Any]
    releases: Mapping[str, Release]
    secrets: Mapping[str, int] = field(default_factory=dict)
    """The promoted version of each secret; of one that is not named, the first."""


def exists(home: Home) -> bool:
    """Whether something was kept there; False also below a folder that is closed to us."""
    return os.path.exists(home.root / FILE)  # noqa: PTH110 (Path.exists raises where it may not look)


def write(home: Home, wanted: Wanted) -> None:
    """Keep it; whole or not at all."""
    releases = {name: dataclasses.asdict(each) for name, each in wanted.releases.items()}
    text = json.dumps({"spec": wanted.spec, "releases": releases, "secrets": wanted.secrets}, indent=1, sort_keys=True)
    write_atomically(home.root / FILE, text.encode(), 0o600)  # workers' environments are in it


def read(home: Home) -> Wanted:
    """Read it back.

    Raises:
        Blocked: there is none, or it is damaged.
    """
    path = home.root / FILE
    try:
        data = json.loads(path.read_text("utf-8"))
        releases = {name: from_json(Release, json.dumps(each)) for name, each in data["releases"].items()}
        versions = {str(name): int(version) for name, version in data.get("secrets", {}).items()}
        return Wanted(dict(data["spec"]), _marked(releases, data["spec"].get("workers", ())), versions)
    except FileNotFoundError as error:
        raise Blocked(f"no stack has been bootstrapped in {home.root}", "selfhost bootstrap makes one") from error
    except PermissionError as error:
        raise Blocked(f"{path} cannot be read: {error.strerror}", "run as the user who made the stack") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidSpec) as error:
        raise Blocked(
            f"{path} is damaged: {error}", "bootstrap writes it anew when it is given the stack's spec file by --spec"
        ) from error


def _marked(releases: Mapping[str, Release], workers: Sequence[Mapping[str, Any]]) -> dict[str, Release]:
    """The releases, those of workers with packages marked as untrusted, which stacks made before do not say."""
    packaged = {each["name"] for each in workers if each.get("packages")}
    return {
        name: dataclasses.replace(each, untrusted=each.untrusted or name in packaged) for name, each in releases.items()
    }


def find(home: Home) -> Wanted | None:
    """The same for a bootstrap, which is given the spec: None where nothing was kept, or where it is damaged."""
    try:
        return read(home)
    except Blocked:
        return None
