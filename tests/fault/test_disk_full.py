"""A disk that fills up while a stack is made: one clear line, and the same command finishes with more room."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.comparison import Undisturbed, require_equal
from tests.fault.runs import disturbed_call, says_one_line_with_a_hint
from tests.stack import Stack, scratch

pytestmark = pytest.mark.fault


@pytest.fixture
def small_disk() -> Iterator[Stack]:
    """A stack to be made on a file system of its own with just enough room to be begun."""
    if os.geteuid() != 0:
        pytest.skip("a file system of its own takes root to mount")
    with scratch("flt-") as stack:
        options = "size=1700m,mode=0711"
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(stack.folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if mounted.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
        try:
            yield stack
        finally:
            stack.remove_by_force()
            subprocess.run(["umount", "--lazy", str(stack.folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not a page free."""
    chunk = 1 << 30
    with (folder / "ballast").open("ab") as ballast:
        while chunk >= 4096:
            try:
                os.posix_fallocate(ballast.fileno(), ballast.seek(0, os.SEEK_END), chunk)
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
                chunk //= 2


def test_a_disk_that_fills_up_again_and_again(small_disk: Stack, undisturbed: Undisturbed) -> None:
    """Each time at a later step; the last attempt finds room."""
    for after in ("temporary server started", "temporary server ready", "stop the temporary server"):

        def fill_up(step: str, _: object, after: str = after) -> None:
            if step == after:
                fill(small_disk.folder)

        done = disturbed_call(small_disk, ("bootstrap", *small_disk.where), fill_up)
        assert done.status == 1 and says_one_line_with_a_hint(done), done.output
        (small_disk.folder / "ballast").unlink()
    subprocess.run(["mount", "-o", "remount,size=6g", str(small_disk.folder)], check=True)
    small_disk.bootstrap()
    require_equal(small_disk, undisturbed)


def test_a_disk_with_too_little_room_is_refused_before_anything_is_touched(small_disk: Stack) -> None:
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk.folder)], check=True)
    done = small_disk.call("bootstrap", *small_disk.where)
    assert done.status == 1 and "1.5 are needed: choose another --home" in done.stderr, done.output
    assert not small_disk.home.exists()
