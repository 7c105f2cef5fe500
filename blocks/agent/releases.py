"""Installs releases: pinned virtual environments side by side, each from artifacts checked by sha256."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .files import make_folders, open_lock, write_atomically
from .spec import Artifact, Release

MARKER = "complete"
SMOKE = "smoke imports"
NOBODY = 65519
"""A user whom no account has: the last of those that systemd gives to services for as long as they live."""
STEP_TIMEOUT = 1800.0
"""Seconds one step may take: a download of 100 MB over a slow line, not a hung one."""

_OUTPUT_TAIL = 2000
_SMOKE = """
import sys
for each in sys.argv[1:]:
    try:
        __import__(each)
    except Exception as error:
        sys.exit(f"{each} cannot be imported: {type(error).__name__}: {error}")
"""
"""Says in one line what a traceback would say in fifty: it is read in a status."""
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*(?:==|@)")
_DROPPED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "UV_CONSTRAINT")


@dataclass(frozen=True)
class Tools:
    """What makes an environment, on the machine it is made on."""

    python: str
    """Interpreter the environment is made from (absolute path)."""
    uv: str
    """uv (absolute path)."""

    @classmethod
    def of_agent(cls, uv: Path) -> Tools:
        """The interpreter which the agent runs on, and the uv that came with it."""
        return cls(os.path.realpath(sys.executable), str(uv))


class ReleaseFailed(Exception):
    """A release could not be installed. The message says which one, in which step, and what the tool said."""


def install(release: Release, root: Path, store: Path, tools: Tools) -> bool:
    """Make `root/<id>` the virtual environment of a release. Returns whether something was done.

    A folder with a matching `complete` marker is whole and left alone; one without is made anew. Two callers
    at once take turns. The environment is readable by other users of the host.

    With more than one wheel, the wheels are taken to be all there is: no index is asked.

    Args:
        root: folder of all releases.
        store: folder with the artifacts as `sha256/<digits>`.
        tools: what makes the environment.

    Raises:
        ReleaseFailed: an artifact is missing or damaged, or a step failed; the next call starts afresh.
    """
    if is_whole(release, root):
        return False
    make_folders(root)
    with _exclusive(root / f".{release.id}.lock") as lock:
        if is_whole(release, root):
            return False
        _install(release, root, store, tools, lock)
    return True


def is_whole(release: Release, root: Path) -> bool:
    """Whether the release is installed from exactly these artifacts."""
    try:
        marker = json.loads((root / release.id / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(marker == _marker(release))


def _marker(release: Release) -> dict[str, object]:
    return {"lock": release.lock.sha256, "wheels": [each.sha256 for each in release.wheels]}


def _install(release: Release, root: Path, store: Path, tools: Tools, held: int) -> None:
    folder, staged = root / release.id, root / f".{release.id}.artifacts"
    try:
        for leftover in (folder, staged):
            shutil.rmtree(leftover, ignore_errors=True)
        staged.mkdir(mode=0o700)
        folder.mkdir(mode=0o700)  # closed while uv is at work: it makes a lock in it which anybody could write to
        lock = _stage(release, release.lock, staged, store)
        wheels = [_stage(release, each, staged, store) for each in release.wheels]
        for step, command in commands(tools, folder, staged, lock, wheels):
            _run(release, step, command, held)
        (folder / ".lock").unlink(missing_ok=True)
        folder.chmod(0o755)
        if release.smoke:
            _run(release, SMOKE, [str(folder / "bin" / "python"), "-c", _SMOKE, *release.smoke], held)
        write_atomically(folder / MARKER, json.dumps(_marker(release)).encode(), 0o644)
    except OSError as error:
        raise ReleaseFailed(f"release {release.id}: {error}") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def commands(
    tools: Tools, folder: Path, staged: Path, lock: Path, wheels: Sequence[Path]
) -> list[tuple[str, list[str]]]:
    """The steps of an installation, as (name, argv). Pure but for reading the lock.

    Nothing is built, as a build executes what a source package says. And what is locked is put in last: uv asks the
    environment's own interpreter, in which code of any of its packages might run.
    """
    python = str(folder / "bin" / "python")
    uv = [tools.uv, "--quiet"]
    into = [*uv, "pip", "install", "--python", python, "--no-deps", "--only-binary", ":all:"]
    sources = ["--find-links", str(staged)] if wheels else []
    offline = ["--no-index"] if len(wheels) > 1 else []
    locked = locked_names(lock.read_text(encoding="utf-8"))
    own = [str(each) for each in wheels if _distribution(each.name) not in locked]
    steps = [("uv venv", [*uv, "venv", "--no-project", "--python", tools.python, str(folder)])]
    if own:
        steps.append(("uv pip install of our own", [*into, "--no-index", *own]))
    if locked:
        steps.append(("uv pip install", [*into, "--require-hashes", *offline, *sources, "-r", str(lock)]))
    return steps


def locked_names(lock: str) -> frozenset[str]:
    """Normalised names of the distributions a lock has."""
    return frozenset(_normal(match.group(1)) for line in lock.splitlines() if (match := _REQUIREMENT.match(line)))


def _distribution(wheel: str) -> str:
    return _normal(wheel.partition("-")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _stage(release: Release, artifact: Artifact, staged: Path, store: Path) -> Path:
    """Give an artifact its own name beside the others, as a link into the store, once it has been checked there."""
    source, target = store / "sha256" / artifact.sha256, staged / artifact.name
    try:
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise ReleaseFailed(f"release {release.id}: {artifact.name} is not in the store ({source})") from error
    if digest != artifact.sha256:
        raise ReleaseFailed(
            f"release {release.id}: {artifact.name} is damaged: its sha256 is {digest}, "
            f"not {artifact.sha256}; put it into the store again"
        )
    target.symlink_to(source)
    return target


def _run(release: Release, step: str, command: list[str], held: int) -> None:
    """Run one step. It inherits the lock, so that a step which outlives a killed agent keeps the next away."""
    environment = {key: value for key, value in os.environ.items() if key not in _DROPPED}
    passed: tuple[int, ...] = (held,)
    user: dict[str, Any] = {}
    if release.untrusted and step == SMOKE and os.geteuid() == 0:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        environment, passed = {"PATH": os.defpath, "HOME": "/", "LANG": "C.UTF-8"}, ()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            umask=0o022,
            pass_fds=passed,
            timeout=STEP_TIMEOUT,
            check=False,
            **user,
        )
    except subprocess.TimeoutExpired as error:
        raise ReleaseFailed(f"release {release.id}: {step} took longer than {STEP_TIMEOUT:g} s") from error
    if done.returncode != 0:
        tail = done.stdout.decode(errors="replace")[-_OUTPUT_TAIL:].strip()
        raise ReleaseFailed(f"release {release.id}: {step} failed ({done.returncode}): {tail}")


@contextlib.contextmanager
def _exclusive(path: Path) -> Iterator[int]:
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
