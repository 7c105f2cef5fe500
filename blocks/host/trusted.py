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
from dataclasses import dataclass
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
    mend = Mend(home, f"chown -R {_us()} {home}", f"chmod -R go-w {home}")
    _require_way(mend, look)
    for path, found in _inside(home, look):
        _require(path, found, mend)
        if str(path.relative_to(home)) in FILES and not stat.S_ISREG(found.st_mode):
            raise Blocked(f"{home} is not believed: {path} is a link, or no file", f"look at it, then rm {path}")


def require_file(path: Path, look: Look = os.lstat) -> None:
    """Refuse a file which somebody else has made, or could change.

    Raises:
        Blocked: the hint has the command that mends it.
    """
    _require_way(Mend(path, f"chown {_us()} {path}", f"chmod go-w {path}"), look)


@dataclass(frozen=True)
class Mend:
    """What is to be believed, and the commands that make it ours and close it to others."""

    what: Path
    own: str
    close: str


def _require_way(mend: Mend, look: Look) -> None:
    """See to what a path names, and to all on the way there."""
    for each, found, is_end in _way(mend.what, look):
        above = Mend(mend.what, f"chown {_us()} {each}", f"chmod go-w {each}")
        _require(each, found, mend if is_end else above, may_be_sticky=not is_end)


def _require(path: Path, found: os.stat_result, mend: Mend, *, may_be_sticky: bool = False) -> None:
    if found.st_uid not in (0, os.geteuid()):
        owner = _name(found.st_uid)
        raise Blocked(
            f"{mend.what} is not believed: {path} belongs to {owner}, not to {_us()}",
            f"run it as {owner}; or, once you trust what is in it: {mend.own}",
        )
    # In a sticky folder nobody but its owner can replace what is ours.
    if _others_may_write(found) and not (may_be_sticky and found.st_mode & stat.S_ISVTX):
        raise Blocked(f"{mend.what} is not believed: others may write to {path}", mend.close)


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
