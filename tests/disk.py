"""Small disks, and full ones: a file system in memory, mounted over a folder."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BALLAST = "ballast"


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """A disk of its own in the place of a folder; options as of mount, such as `size=64k,mode=0700`."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk")
    argv = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not a page free."""
    chunk = 1 << 30
    with (folder / BALLAST).open("ab") as ballast:
        while chunk >= 4096:
            try:
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), chunk)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                chunk //= 2


def make_room(folder: Path) -> None:
    """Take away what filled it."""
    (folder / BALLAST).unlink()
