"""A disk that fills up while a stack is made or changed: one clear line, and with room the same command finishes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import prefect
import pytest

from tests import disk
from tests.contract.conftest import OLDER
from tests.fault.comparison import Undisturbed, require_equal
from tests.fault.runs import answers, disturbed_call, says_one_line_with_a_hint
from tests.stack import CALL_SECONDS, Result, Stack, eventually, scratch

pytestmark = pytest.mark.fault
FULL_SECONDS = 20.0


@contextmanager
def on_a_disk_of(size: str) -> Iterator[Stack]:
    """A stack to be made on a file system of its own."""
    with scratch("flt-") as stack, disk.mounted(stack.folder, f"size={size},mode=0711"):
        try:
            yield stack
        finally:
            stack.remove_by_force()


@pytest.fixture
def small_disk() -> Iterator[Stack]:
    """With just enough room to be begun."""
    with on_a_disk_of("1700m") as stack:
        yield stack


@pytest.fixture(scope="module")
def changing() -> Iterator[Stack]:
    """One that runs the oldest Prefect there may be, with a backup."""
    with on_a_disk_of("6g") as stack:
        stack.home.with_name("old.toml").write_text(f'prefect_version = "{OLDER}"\n')
        stack.bootstrap("--spec", str(stack.home.with_name("old.toml")))
        stack.run("backup")
        yield stack


@pytest.mark.rare
def test_a_disk_that_fills_up_again_and_again(small_disk: Stack, undisturbed: Undisturbed) -> None:
    """Each time at a later step; the last attempt finds room."""
    for after in ("temporary server started", "temporary server ready", "stop the temporary server"):

        def fill_up(step: str, _: object, after: str = after) -> None:
            if step == after:
                disk.fill(small_disk.folder)

        done = disturbed_call(small_disk, ("bootstrap", *small_disk.where), fill_up)
        assert done.status == 1 and says_one_line_with_a_hint(done), done.output
        disk.make_room(small_disk.folder)
    disk.resize(small_disk.folder, "6g")
    small_disk.bootstrap()
    require_equal(small_disk, undisturbed)


def test_a_disk_with_too_little_room_is_refused_before_anything_is_touched(small_disk: Stack) -> None:
    disk.resize(small_disk.folder, "300m")
    done = small_disk.call("bootstrap", *small_disk.where)
    assert done.status == 1 and "1.5 are needed: choose another --home" in done.stderr, done.output
    assert not small_disk.home.exists()


def filled_after(stack: Stack, step: str, *argv: str) -> Result:
    """Make a call during which the disk is full for a while, from when a step has ended."""
    was_full = False

    def fill_up(ended: str, _: object) -> None:
        nonlocal was_full
        if ended == step:
            disk.fill(stack.folder)
            time.sleep(FULL_SECONDS)
            disk.make_room(stack.folder)
            was_full = True

    done = disturbed_call(stack, argv, fill_up)
    assert was_full, done.output
    eventually(lambda: answers(stack), "the service again", CALL_SECONDS)
    return done


def require_well(stack: Stack) -> None:
    eventually(lambda: {each["state"] for each in stack.host_status()["services"]} == {"ready"}, "all services", 120)
    assert stack.plan() == []
    assert [each for each in stack.transcript if "Traceback" in each.output] == []


@pytest.mark.rare
@pytest.mark.parametrize(
    ("step", "argv"),
    [
        ("temporary server ready", ("restore", "latest", "--yes")),
        ("install", ("workers", "add", "ours", "--packages", "iniconfig")),
        ("both accepted", ("rotate", "auth")),
        ("drill and rehearsal", ("upgrade", "--to", prefect.__version__)),
    ],
)
def test_a_change_under_which_the_disk_fills_up(changing: Stack, step: str, argv: tuple[str, ...]) -> None:
    """What was there goes on once there is room, whatever came of the change; then the same command does it."""
    argv = (*argv, *changing.where)
    done = filled_after(changing, step, *argv)
    assert done.status in (0, 1) and (done.status == 0 or says_one_line_with_a_hint(done)), done.output
    require_well(changing)
    # What had begun may still go on, now that it can.
    eventually(lambda: changing.call(*argv).status == 0, "the change", CALL_SECONDS)
    require_well(changing)
