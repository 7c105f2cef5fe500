"""Files the agent writes: beside, synced, renamed; the mode is set before the content."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from . import secret_value
from .spec import File, Folder

_SECRET_REFERENCE = re.compile(r"\$\{secret:([A-Za-z0-9._@-]+)\}")
_AS_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
Trace = tuple[int, int, int, int, int]
"""What tells a file from the one we left there, without reading it."""


def write_atomically(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> None:
    """Replace a file so that a reader, or a crash, sees the old content or the new, never a part.

    `owner` is (uid, gid), None for the calling user. Parent folders must exist.

    Raises:
        OSError: the folder is missing or not writable, or the disk is full; the old file is untouched.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o600)
    except FileExistsError:
        # Left by a killed process which had our numbers.
        beside.unlink()
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if owner is not None:
                os.fchown(file.fileno(), *owner)
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def read_at_most(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file which may be an unprivileged user's: no link is followed, no pipe waited for.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        return file.read(count)


def sync_folder(folder: Path) -> None:
    """Flush which names a folder has: after a power failure a file that was renamed into it is still there."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_log(path: Path) -> BinaryIO:
    """Open a log to write on at its end, closed to other users even where its folder lets them pass.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    return os.fdopen(_open_closed(path, os.O_WRONLY | os.O_APPEND), "ab")


def open_lock(path: Path) -> int:
    """A descriptor of a file to lock. It is closed to other users: whoever may read a file may lock it, too.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    return _open_closed(path, os.O_RDWR)


def _open_closed(path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    os.fchmod(descriptor, 0o600)  # one that is there already may be open to all
    return descriptor


def ensure_file(path: Path, data: bytes, mode: int = 0o600, owner: tuple[int, int] | None = None) -> bool:
    """Write the file only where type, content, mode or owner differ. Returns whether it was written."""
    if _is_as_wanted(path, data, mode, owner):
        return False
    write_atomically(path, data, mode, owner)
    return True


def _is_as_wanted(path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> bool:
    """Its user may have put anything there, of any size: no more is read than the file should have."""
    try:
        found = path.lstat()
        same_owner = owner is None or (found.st_uid, found.st_gid) == owner
        same_size = stat.S_ISREG(found.st_mode) and found.st_size == len(data)
        same_mode = stat.S_IMODE(found.st_mode) == mode
        return same_mode and same_owner and same_size and read_at_most(path, len(data) + 1) == data
    except FileNotFoundError:
        return False


def folder_trace(path: Path) -> Trace | None:
    """The same for a folder, which is another one once its owner or mode is; what is in it does not matter."""
    found = trace(path)
    return found and (found[0], 0, 0, *found[3:])


def trace(path: Path) -> Trace | None:
    """The trace of a file as it is; None where it is gone or out of reach."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid


def substitute(content: str, secret: Callable[[str], str]) -> str:
    """Replace each `${secret:NAME@7}` by `secret("NAME@7")`; one without a version by `secret("NAME")`."""
    return _SECRET_REFERENCE.sub(lambda match: secret(match.group(1)), content)


def secrets_in(content: str) -> frozenset[str]:
    """The secrets which a content refers to."""
    return frozenset(_SECRET_REFERENCE.findall(content))


def ensure_rendered(file: File, secrets: Path) -> tuple[bool, bytes]:
    """Render one `File` of the spec and make it so on the disk. Returns (written, content).

    Raises:
        UnusableSecret: its content names a secret which is not there, empty, or no text.
        OSError: it cannot be written.
        KeyError: its user does not exist.
    """
    data = substitute(file.content, lambda name: secret_value.read(f"{secrets}/{name}")).encode()
    path = Path(file.path)
    make_folders(path.parent)
    return ensure_file(path, data, file.mode, owner_of(file.user)), data


def ensure_folder(folder: Folder) -> None:
    """Make one `Folder` of the spec so. No link is followed at its place or below it: what lies in a folder of an
    unprivileged user may lead anywhere.

    Raises:
        OSError: it cannot be made, or something else is in its place.
        KeyError: its user does not exist.
    """
    path, owner = Path(folder.path), owner_of(folder.user)
    make_folders(path.parent)
    parent = os.open(path.parent, _AS_FOLDER)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, folder.mode & 0o700, dir_fd=parent)
        descriptor = os.open(path.name, _AS_FOLDER, dir_fd=parent)
    finally:
        os.close(parent)
    try:
        found = os.fstat(descriptor)
        if owner is not None and (found.st_uid, found.st_gid) != owner:
            _give(descriptor, owner)
        if stat.S_IMODE(found.st_mode) != folder.mode:
            os.fchmod(descriptor, folder.mode)
    finally:
        os.close(descriptor)


def _give(folder: int, owner: tuple[int, int]) -> None:
    """Make all in a folder another user's, the folder itself last: what was interrupted is done again.

    A file with a second name is left, as that may be anywhere.
    """
    for _, folders, files, place in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        single = [each for each in files if os.stat(each, dir_fd=place, follow_symlinks=False).st_nlink == 1]
        for name in (*folders, *single):
            os.chown(name, *owner, dir_fd=place, follow_symlinks=False)
    os.fchown(folder, *owner)


def make_folders(folder: Path) -> None:
    """Make a folder and its parents, open to look into (0755): what is secret is closed by its own mode."""
    if folder.is_dir():
        return
    make_folders(folder.parent)
    with contextlib.suppress(FileExistsError):  # another's: its mode is left, and a link is not followed
        folder.mkdir()
        descriptor = os.open(folder, _AS_FOLDER)
        try:
            os.fchmod(descriptor, 0o755)
        finally:
            os.close(descriptor)


def owner_of(user: str) -> tuple[int, int] | None:
    """(uid, gid) of a user by name; None for the empty name."""
    if not user:
        return None
    import pwd

    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid
