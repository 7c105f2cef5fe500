"""Releases that nothing refers to any more, and what of the store only they were made from.

A release counts as used while somebody lists it, or while any process runs from it or has it open: a worker that goes
on with its flows, a flow of an upgrade that waits for a person.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from blocks.agent.releases import MARKER
from blocks.agent.spec import Release

OFFERED = "offered-wheel"
"""File in the store with the sha256 of the wheel which `selfhost upgrade --self` brought last."""
PART = ".part"
"""Ending of what is just being stored."""
REMOVED = ".removed"
"""How the folder of a release ends that is being removed: half of one must not pass for a whole."""


@dataclass(frozen=True)
class Disused:
    """What can go."""

    releases: tuple[Path, ...]
    artifacts: tuple[Path, ...]
    """Locks and wheels in the store."""

    def __bool__(self) -> bool:
        return bool(self.releases or self.artifacts)

    def size(self) -> int:
        """Bytes on the disk that become free: a file which uv's cache, or another release, has as well does not."""
        links: dict[tuple[int, int], int] = {}
        held: dict[tuple[int, int], tuple[int, int]] = {}
        for each in _files((*self.releases, *self.artifacts)):
            found = each.lstat()
            key = found.st_dev, found.st_ino
            links[key] = links.get(key, 0) + 1
            held[key] = found.st_nlink, found.st_blocks * 512
        return sum(size for key, (count, size) in held.items() if count <= links[key])

    def __str__(self) -> str:
        names = ", ".join(each.name.removeprefix(".").removesuffix(REMOVED) for each in self.releases)
        stored = f"{len(self.artifacts)} of the store's locks and wheels"
        return f"{names or 'no release'}, {stored}: {self.size() / 1e6:.0f} MB"

    def remove(self) -> None:
        """Remove it; idempotent, and finished by the next one where it is interrupted."""
        for folder in self.releases:
            leaving = folder if folder.name.endswith(REMOVED) else folder.with_name(f".{folder.name}{REMOVED}")
            if leaving != folder:
                folder.rename(leaving)
            shutil.rmtree(leaving)
        for each in self.artifacts:
            each.unlink(missing_ok=True)


def find(root: Path, store: Path, listed: Collection[Release]) -> Disused:
    """Releases and artifacts of the store that are not needed.

    They may be removed under the lease alone, as else another release might be prepared meanwhile.

    Args:
        root: folder of all releases.
        store: folder with `sha256/` and `locks/`.
        listed: releases of the wanted stack, and of the spec that the host was given.
    """
    used = {each.id for each in listed} | in_use(root)
    folders = [each for each in sorted(root.iterdir()) if each.is_dir() and not each.is_symlink()]
    leaving = [each for each in folders if each.name.endswith(REMOVED) or not (_is_hidden(each) or each.name in used)]
    needed = {each.sha256 for release in listed for each in (release.lock, *release.wheels)}
    needed |= {digest for each in folders if each not in leaving for digest in _made_from(each)}
    with contextlib.suppress(FileNotFoundError):
        needed.add((store / OFFERED).read_text("utf-8"))
    artifacts = [each for each in _plain(store / "sha256") if each.name not in needed]
    artifacts += [each for each in _plain(store / "locks") if _digest(each) not in needed]
    return Disused(tuple(leaving), tuple(artifacts))


@contextmanager
def held(root: Path, ids: Iterable[str]) -> Iterator[None]:
    """Keep installed releases from being removed while the context lasts, or until this process ends."""
    held = [os.open(root / each, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for each in ids]
    try:
        yield
    finally:
        for each in held:
            os.close(each)


def in_use(root: Path) -> set[str]:
    """Ids of the releases which a process of this machine runs from, or has open; as far as we may look."""
    name = re.compile(re.escape(f"{root}/") + r"([^/\0\n]+)")
    return {found for process in Path("/proc").iterdir() if process.name.isdigit() for found in _named(process, name)}


def _named(process: Path, name: re.Pattern[str]) -> set[str]:
    """What a process says of itself by that pattern: its arguments, what it has mapped, and what it has open."""
    texts = []
    for each in ("cmdline", "maps"):
        with contextlib.suppress(OSError):
            texts.append((process / each).read_bytes().decode(errors="surrogateescape"))
    with contextlib.suppress(OSError):
        texts += [_target(each) for each in (process / "exe", process / "cwd", *(process / "fd").iterdir())]
    return {found for text in texts for found in name.findall(text)}


def _target(link: Path) -> str:
    """Where a link leads; nowhere once its process has closed it, or is gone."""
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _made_from(folder: Path) -> list[str]:
    """Digests of the lock and the wheels of an installed release; none of one that is not whole."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        return [marker["lock"], *marker["wheels"]]
    except (OSError, ValueError, KeyError):
        return []


def _is_hidden(path: Path) -> bool:
    """Whether it is no release: a lock of one, or the artifacts of an installation under way."""
    return path.name.startswith(".")


def _plain(folder: Path) -> list[Path]:
    """Files of a folder, but for those that are just being written."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    return [each for each in there if not (_is_hidden(each) or each.suffix == PART)]


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        else:
            yield path
