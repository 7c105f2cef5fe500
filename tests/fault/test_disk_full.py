"""A disk that fills up while a stack is made: one clear line, and the same command finishes with more room."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.comparison import require_equal
from tests.stack import CALL_SECONDS, Result, Stack, scratch

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


def bootstrap_and_fill(stack: Stack, after: str) -> Result:
    argv = ("bootstrap", *stack.where)
    lines = []
    process = stack.start(*argv)
    assert process.stdout is not None and process.stderr is not None
    for line in process.stdout:
        lines.append(line)
        if f"✓ {after}" in line:
            fill(stack.folder)
    stderr = process.stderr.read()
    process.wait(timeout=CALL_SECONDS)
    return stack.ended(process, argv, "".join(lines), stderr)


@pytest.mark.parametrize("after", ["temporary server started", "temporary server ready", "stop the temporary server"])
def test_the_disk_fills_up(small_disk: Stack, undisturbed: Stack, after: str) -> None:
    done = bootstrap_and_fill(small_disk, after)
    assert done.status == 1, done.output
    assert [each.partition(":")[0] for each in done.stderr.splitlines()] == ["error", "hint"], done.output
    assert "Traceback" not in done.output
    subprocess.run(["mount", "-o", "remount,size=6g", str(small_disk.folder)], check=True)
    small_disk.bootstrap()
    require_equal(small_disk, undisturbed)


def test_a_disk_with_too_little_room_is_refused_before_anything_is_touched(small_disk: Stack) -> None:
    subprocess.run(["mount", "-o", "remount,size=300m", str(small_disk.folder)], check=True)
    done = small_disk.call("bootstrap", *small_disk.where)
    assert done.status == 1 and "1.5 are needed: choose another --home" in done.stderr, done.output
    assert not small_disk.home.exists()
