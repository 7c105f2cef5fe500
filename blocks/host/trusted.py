"""Whose files and folders are believed: ours and root's, where nobody else may write, nor to a folder above.

Whoever may write to a folder can put another file, or a link, in the place of what lies there. So a home or a spec
which somebody else has prepared is refused before anything of it is read, run or written, as git does with checkouts.
"""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from blocks.errors import Blocked

Look = Callable[[Path], os.stat_result]
"""`os.lstat`, or a test's."""

FILES = ("lease.json", "stack.json", "wanted.json", "agent/agent.pyz", "agent/config.json", "agent/spec.json")
"""Files of a home that are read, run or written: regular ones, no links."""
FOLDERS = ("agent", "bin", "etc", "logs", "releases", "run", "secrets", "state", "store")
"""Folders of a home that are ours alone. The others belong to services which run as users of their own."""
RUN_FROM = ("agent", "bin", "releases", "run")
"""Folders of a home whose content is run, or says what is run."""
MOST_LINKS = 40
"""As many as the kernel follows."""


def require_home(home: Path, look: Look = os.lstat) -> None:
    """Refuse a home which somebody else has made, or could change; one that is not there yet by the folders above it.

    Takes about a millisecond.

    Raises:
        Blocked: the hint has the command that mends it.
    """
    _require_way(home, look, is_home=True)
    for path, found in _inside(home, look):
        _require(home, path, found)
        if str(path.relative_to(home)) in FILES and not stat.S_ISREG(found.st_mode):
            raise Blocked(f"{home} is not believed: {path} is a link, or no file", f"look at it, then rm {path}")


def require_file(path: Path, look: Look = os.lstat) -> None:
    """Refuse a file which somebody else has made, or could change.

    Raises:
        Blocked: the hint has the command that mends it.
    """
    _require_way(path, look)


def _require_way(what: Path, look: Look, *, is_home: bool = False) -> None:
    """See to what a path names, and to all on the way there."""
    for each, found, is_end in _way(what, look):
        _require(what, each, found, is_home=is_home and is_end, may_be_sticky=not is_end)


def _require(
    what: Path, path: Path, found: os.stat_result, *, is_home: bool = False, may_be_sticky: bool = False
) -> None:
    """See to one path of what is to be believed. The hint changes that path alone: some of a home belongs to its
    services' users, and PostgreSQL does not start from a folder of another's. So a whole home is not taken over."""
    if found.st_uid not in (0, os.geteuid()):
        owner = _name(found.st_uid)
        own = "" if is_home else f"; or, once you trust what is in it: chown {_us()} {path}"
        raise Blocked(f"{what} is not believed: {path} belongs to {owner}, not to {_us()}", f"run it as {owner}{own}")
    # In a sticky folder nobody but its owner can replace what is ours.
    if _others_may_write(found) and not (may_be_sticky and found.st_mode & stat.S_ISVTX):
        raise Blocked(f"{what} is not believed: others may write to {path}", f"chmod go-w {path}")


def _way(path: Path, look: Look) -> Iterator[tuple[Path, os.stat_result, bool]]:
    """Every folder and link from the root to what `path` names, as the kernel goes, and whether it is that itself.

    It ends early at what is not there yet, and where we may not look.
    """
    left = list(reversed(path.absolute().parts))
    here, links = Path(left.pop()), 0
    yield here, look(here), not left
    while left:
        name = left.pop()
        if name == "..":
            here = here.parent
            continue
        try:
            found = look(here / name)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return
        is_link = stat.S_ISLNK(found.st_mode)
        yield here / name, found, not (left or is_link)
        if not is_link:
            here /= name
            continue
        links += 1
        if links > MOST_LINKS:
            raise Blocked(f"{path} cannot be followed: {os.strerror(errno.ELOOP)}", "name the folder itself")
        target = (here / name).readlink()
        here = Path(target.anchor) if target.is_absolute() else here
        left += reversed(target.parts[1:] if target.is_absolute() else target.parts)


def _inside(home: Path, look: Look) -> Iterator[tuple[Path, os.stat_result]]:
    """What is believed in a home, as far as it is there and we may look."""
    named = [home / each for each in (*FILES, *FOLDERS)]
    for path in named:
        try:
            found = look(path)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            continue
        yield path, found
        if path.name in RUN_FROM:
            yield from _content(path, look)


def _content(folder: Path, look: Look) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (its entries may vanish meanwhile)
    except PermissionError:
        return
    for name in names:
        try:
            yield folder / name, look(folder / name)
        except FileNotFoundError:
            continue  # a file that was just being replaced


def _others_may_write(found: os.stat_result) -> bool:
    """Whether anybody but its owner may: by the mode for all, or by a group that has other members."""
    if stat.S_ISLNK(found.st_mode):
        return False
    return bool(found.st_mode & stat.S_IWOTH) or (bool(found.st_mode & stat.S_IWGRP) and not _is_private(found))


def _is_private(found: os.stat_result) -> bool:
    """Whether its group is its owner's own: called like the owner, and nobody else is in it."""
    try:
        owner, group = pwd.getpwuid(found.st_uid), grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    members = {*group.gr_mem, *(each.pw_name for each in pwd.getpwall() if each.pw_gid == group.gr_gid)}
    return group.gr_name == owner.pw_name and members <= {owner.pw_name}


def _us() -> str:
    return _name(os.geteuid())


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
