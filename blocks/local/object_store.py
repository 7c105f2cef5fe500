"""Objects as files below one folder.

An object's generation is its file's time of modification in nanoseconds, which is set before the file gets its name:
content and generation change in one moment, and a file that somebody has edited is another generation. Which was the
last one of the whole store, whatever the clock says, is the time of modification of the store's lock.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from blocks.agent.files import open_lock, sync_folder
from blocks.errors import Blocked, Conflict, WrongCall
from blocks.host.disused import PART
from blocks.local.folder import Folder
from blocks.object_store import ObjectStore, Versioned
from blocks.resource import Resource

LOCK = ".generations"
"""File which whoever gives an object its name holds a lock on; no object."""
STEPS = (0, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)
"""Nanoseconds: file systems keep times as coarsely as two seconds (FAT)."""


@dataclass(frozen=True)
class LocalObjectStore(ObjectStore):
    """A folder on the stack's machine; a key is a path below it."""

    folder: Path
    """Folder of the objects on the stack's machine."""
    outlives: bool = field(default=False, compare=False)
    """Whether it lies outside the home, and is kept with its backups when the stack is destroyed."""

    def on_host(self) -> list[Resource]:
        kept = Kept if self.outlives else Folder
        return [kept("object store", self.folder, 0o711)]

    def address(self) -> str:
        return str(self.folder)

    def put(self, key: str, source: Path) -> None:
        target = self._path(key)
        _remove_parts_of_the_dead(self.folder)
        with source.open("rb") as reading:
            self._store(target, lambda writing: shutil.copyfileobj(reading, writing, 1 << 20))

    def get(self, key: str, target: Path) -> None:
        path = self._path(key)
        if not path.is_file():
            raise Blocked(f"there is no object {key!r} in {self.folder}")
        with (
            path.open("rb") as reading,
            _whole(target, lambda part: shutil.copyfileobj(reading, part, 1 << 20)) as part,
        ):
            part.replace(target)

    def read(self, key: str) -> Versioned | None:
        try:
            with self._path(key).open("rb") as file:
                written = os.fstat(file.fileno()).st_mtime_ns
                return Versioned(file.read(), written, max(0.0, (time.time_ns() - written) / 1e9))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except PermissionError as error:
            what = f"{self.folder / key} cannot be read: {error.strerror}"
            raise Blocked(what, "run as the user who made the stack") from error

    def write(self, key: str, content: bytes, *, if_generation: int) -> int:
        target = self._path(key)
        if if_generation and not target.exists():
            raise Conflict(f"{key} is gone: it was removed meanwhile", "run the same command again")
        return self._store(target, lambda writing: writing.write(content), key, if_generation)

    def listing(self, prefix: str = "") -> list[str]:
        found = (each.relative_to(self.folder).as_posix() for each in self.folder.rglob("*") if each.is_file())
        return sorted(key for key in found if key.startswith(prefix) and not key.endswith(PART) and key != LOCK)

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        path = (self.folder / key).resolve()
        if not key or not path.is_relative_to(self.folder.resolve()) or key.endswith((PART, "/")) or key == LOCK:
            raise WrongCall(f"{key!r} is not a key of an object", "keys are relative paths inside the store")
        return path

    def _store(
        self, target: Path, fill: Callable[[BinaryIO], object], key: str = "", if_generation: int | None = None
    ) -> int:
        """Give an object new content, on that condition where there is one; its generation."""
        with _whole(target, fill) as part, self._locked() as lock:
            if if_generation is not None and _generation(target) != if_generation:
                raise Conflict(f"{key} was changed by somebody else meanwhile", "run the same command again")
            return _name(part, target, lock)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """A descriptor of the store's lock, held. Within it nothing waits, so that others do for milliseconds."""
        lock = open_lock(self.folder / LOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)


class Kept(Folder):
    """A folder that outlives its stack. A person removes it once nobody wants the backups in it any more."""

    def delete(self) -> None:
        """Leave it: the identity in it is taken up by the next bootstrap with it."""


def _generation(path: Path) -> int:
    """Of the object that is there; 0 where none is."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _name(part: Path, target: Path, lock: int) -> int:
    """Stamp the part with the store's next generation, and put it in its place."""
    last = max(os.fstat(lock).st_mtime_ns, _generation(target))
    generation = _stamp(part, max(time.time_ns(), last + 1), above=last)
    os.utime(lock, ns=(generation, generation))
    part.replace(target)
    return generation


def _stamp(part: Path, time_ns: int, *, above: int) -> int:
    """Set a file's time so that it is above another one, also where the file system rounds it down; what it became."""
    for step in STEPS:
        os.utime(part, ns=(time_ns + step, time_ns + step))
        stamped = part.stat().st_mtime_ns
        if stamped > above:
            break
    return stamped


def _remove_parts_of_the_dead(folder: Path) -> None:
    """What a process was writing when it was killed."""
    for each in folder.rglob(f"*{PART}"):
        if not Path("/proc", each.name.split(".")[-2].partition("-")[0]).exists():
            each.unlink(missing_ok=True)


@contextmanager
def _whole(target: Path, fill: Callable[[BinaryIO], object]) -> Iterator[Path]:
    """A part beside `target`, filled and flushed, to be renamed by the caller: a reader sees the old bytes or the new.

    Its name, `dump.PID-RANDOM.part`, says which process stores it.
    Beside it, as any folder of the store may be a disk of its own. Nothing is left of a part that got no name.
    """
    part = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        _ensure_folder(target.parent)
        part.touch(mode=0o600)
        with part.open("wb") as writing:
            fill(writing)
            writing.flush()
            os.fsync(writing.fileno())
        yield part
        sync_folder(target.parent)
    except OSError as error:
        what = f"{target} cannot be written: {error.strerror}"
        raise Blocked(what, "the disk may be full: df shows it") from error
    finally:
        part.unlink(missing_ok=True)


def _ensure_folder(folder: Path) -> None:
    """Make a folder and its parents so that they outlast a power failure, as what is put into them must."""
    if not folder.is_dir():
        _ensure_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)
