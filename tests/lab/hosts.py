"""Names that programs of this machine find, its Docker engine among them: lines of the lab's in /etc/hosts."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.lab.engine import PREFIX

HOSTS = Path("/etc/hosts")
LOCK = Path("/run/lock/selfhost-lab-hosts")


def know(lab: str, address: str, names: Sequence[str]) -> None:
    """Have these names lead to an address, before all that was known; idempotent."""
    line = f"{address} {' '.join(names)} {_mark(lab)}"
    with _lines() as lines:
        if line not in lines:
            lines.insert(0, line)


def forget(lab: str, names: Sequence[str] = ()) -> None:
    """Take the lines of a lab away that have one of these names, or all; idempotent."""
    with _lines() as lines:
        lines[:] = [each for each in lines if not _ours(each, lab, names)]


def _ours(line: str, lab: str, names: Sequence[str]) -> bool:
    return line.endswith(_mark(lab)) and (not names or not set(names).isdisjoint(line.split()))


def _mark(lab: str) -> str:
    return f"# {PREFIX}{lab}"


@contextmanager
def _lines() -> Iterator[list[str]]:
    """The lines to change, for nobody else meanwhile; written in place, as in a container the file is mounted."""
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = HOSTS.read_text().splitlines()
        lines = list(before)
        yield lines
        if lines != before:
            HOSTS.write_text("".join(f"{each}\n" for each in lines))
