"""Objects as files below one folder."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from blocks.agent.files import sync_folder
from blocks.errors import Blocked, WrongCall
from blocks.local.folder import Folder
from blocks.object_store import ObjectStore
from blocks.resource import Resource

PART = ".part"
"""Ending of what is just being stored; before it stands the process that does: `dump.PID-RANDOM.part`."""


@dataclass(frozen=True)
class LocalObjectStore(ObjectStore):
    """A folder on the stack's machine; a key is a path below it."""

    folder: Path
    """Folder of the objects on the stack's machine."""

    def resources(self) -> list[Resource]:
        return [Folder("object store", self.folder, 0o711)]

    def address(self) -> str:
        return str(self.folder)

    def put(self, key: str, source: Path) -> None:
        _remove_parts_of_the_dead(self.folder)
        _copy_whole(source, self._path(key))

    def get(self, key: str, target: Path) -> None:
        path = self._path(key)
        if not path.is_file():
            raise Blocked(f"there is no object {key!r} in {self.folder}")
        _copy_whole(path, target)

    def listing(self, prefix: str = "") -> list[str]:
        found = (each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file())
        return sorted(key for key in found if key.startswith(prefix) and not key.endswith(PART))

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if not key or not path.is_relative_to(self.folder.resolve()) or key.endswith((PART, "/")):
            raise WrongCall(f"{key!r} is not a key of an object", "keys are relative paths inside the store")
        return path


def _remove_parts_of_the_dead(folder: Path) -> None:
    """What a process was writing when it was killed."""
    for each in folder.rglob(f"*{PART}"):
        if not Path("/proc", each.name.split(".")[-2].partition("-")[0]).exists():
            each.unlink(missing_ok=True)


def _copy_whole(source: Path, target: Path) -> None:
    """Copy to a part beside it, flush, rename, flush the name: a reader sees the old bytes or the new, never a part.

    Beside it, as any folder of the store may be a disk of its own.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    with source.open("rb") as reading:
        try:
            _ensure_folder(target.parent)
            part.touch(mode=0o600)
            with part.open("wb") as writing:
                shutil.copyfileobj(reading, writing, 1 << 20)
                writing.flush()
                os.fsync(writing.fileno())
            part.replace(target)
            sync_folder(target.parent)
        except OSError as error:
            part.unlink(missing_ok=True)
            what = f"{target} cannot be written: {error.strerror}"
            raise Blocked(what, "the disk may be full: df shows it") from error


def _ensure_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlast a power failure, as what is put into them must."""
    if not folder.is_dir():
        _ensure_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
