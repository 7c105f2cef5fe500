"""The lease of a ledger: one holder, whose death is known; a home's own lock is in test_lease.py."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from blocks import lease as leases
from blocks.errors import Blocked, Conflict
from blocks.host import at_work
from blocks.host.home import Home
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore

ROOT = Path(__file__).resolve().parents[2]
MADE = "import os, sys; from pathlib import Path; from blocks.ledger import Ledger; from blocks.host.home import Home; "
MADE += "from blocks.local.object_store import LocalObjectStore; root = Path(sys.argv[1]); "
MADE += "ledger = Ledger(LocalObjectStore(folder=root / 'store'), Home(root)); "
HOLD = MADE + "lease = ledger.acquire('bootstrap'); print('held', lease.number, flush=True); sys.stdin.read()"
AWAY = HOLD.replace(", Home(root)", "")
BECOME = MADE + "lease = ledger.acquire('before'); os.environ.update(lease.over_exec()); "
BECOME += "os.execv(sys.executable, [sys.executable, '-c', sys.argv[2], sys.argv[1], str(lease.number)])"
BECAME = MADE + "lease = ledger.acquire('after'); ledger.require_lease(); "
BECAME += "print('held', lease.number == int(sys.argv[2]), os.get_inheritable(lease.descriptor), flush=True); "
BECAME += "sys.stdin.read()"
LEAVE = "import subprocess; " + MADE + "lease = ledger.acquire('restore'); "
LEAVE += "child = subprocess.Popen(['sleep', '1000'], pass_fds=(lease.descriptor,), stdin=subprocess.DEVNULL, "
LEAVE += "stdout=subprocess.DEVNULL); print('held', child.pid, flush=True); sys.stdin.read()"


class Clock:
    """A monotonic clock which goes on when somebody sleeps; `at` tells it what happens at which of its seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[float, Any]] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self.events and self.events[0][0] <= self.now:
            self.events.pop(0)[1]()


@pytest.fixture
def store(tmp_path: Path) -> LocalObjectStore:
    return LocalObjectStore(folder=tmp_path / "store")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def ledger(store: LocalObjectStore, home: Home) -> Ledger:
    return Ledger(store, home)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def watching(store: LocalObjectStore, clock: Clock) -> Ledger:
    """A ledger as somebody without a home sees it, by a clock of his own."""
    return Ledger(store, monotonic=clock.monotonic, sleep=clock.sleep)


def started(*argv: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A process of ours which has said that it holds the lease, and ends with its standard input; what else it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", *argv], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    held, *said = process.stdout.readline().split()
    assert held == "held"
    return process, said


def hold_elsewhere(store: LocalObjectStore, **more: Any) -> None:
    """The lease of a process on another machine, which does not renew it."""
    found = store.read(leases.KEY)
    claim = {"owner": "me@elsewhere", "pid": os.getpid(), "start_time": 1, "boot_id": "another", "reason": "upgrade"}
    claim |= {"since": "2026-11-30 02:00:00 UTC", **more}
    store.write(leases.KEY, json.dumps(claim).encode(), if_generation=found.generation if found else 0)


def test_says_who_and_why(ledger: Ledger) -> None:
    with ledger.held("bootstrap"):
        found = ledger.holder()
        assert (found["pid"], found["reason"]) == (os.getpid(), "bootstrap")
        assert "@" in found["owner"]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", found["since"])
    assert ledger.holder() == {} and ledger.is_free()


def test_refuses_a_second_and_says_who_holds_it(ledger: Ledger, store: LocalObjectStore) -> None:
    process, _ = started(HOLD, str(store.folder.parent))
    with process:
        for each in (ledger, Ledger(store)):  # by the home's lock, and from another home by the object alone
            with pytest.raises(Conflict) as caught:
                each.acquire("destroy")
            assert f"process {process.pid}" in caught.value.what
            assert "for: bootstrap" in caught.value.what and "since 2" in caught.value.what
            assert not each.is_free() and each.holder()["reason"] == "bootstrap"


def test_two_takers_in_one_process_are_refused_too(ledger: Ledger, store: LocalObjectStore) -> None:
    with ledger.held("first"):
        for each in (ledger, Ledger(store)):
            with pytest.raises(Conflict, match="first"):
                each.acquire("second")
        ledger.require_lease()


def test_another_may_be_waited_for(ledger: Ledger) -> None:
    first = ledger.acquire("first")
    threading.Timer(0.3, first.release).start()
    with ledger.held("second", patience=20) as second:
        assert second.number > first.number


def test_the_death_of_a_holder_here_is_known_at_once(ledger: Ledger, store: LocalObjectStore) -> None:
    process, (number,) = started(HOLD, str(store.folder.parent))
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert ledger.is_free() and ledger.holder()["pid"] == process.pid  # its text is still there, and does not count
    began = time.monotonic()
    with ledger.held("next") as lease:
        assert lease.number > int(number)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("seconds", [-86_400 * 365, 86_400 * 365])
def test_a_silent_holder_elsewhere_is_dead_after_its_time_to_live_by_the_observers_own_clock(
    store: LocalObjectStore, clock: Clock, seconds: int
) -> None:
    """Whatever the holder's clock said about its end, and though a process of its number and start runs here."""
    ends = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + seconds))
    own = leases._claim("upgrade")
    hold_elsewhere(store, expires=ends, pid=own["pid"], start_time=own["start_time"])
    ledger = watching(store, clock)
    assert not ledger.is_free()
    with ledger.held("next"):
        assert leases.TIME_TO_LIVE <= clock.now < leases.TIME_TO_LIVE + 5


def test_the_observers_own_wrong_clock_does_not_matter(
    store: LocalObjectStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_elsewhere(store)
    monkeypatch.setattr(time, "time", lambda: 4e9)
    clock.events = [(30.0, lambda: hold_elsewhere(store))]
    with pytest.raises(Conflict, match="me@elsewhere"):
        watching(store, clock).acquire("next")


def test_a_holder_elsewhere_that_renews_lives(store: LocalObjectStore, clock: Clock) -> None:
    hold_elsewhere(store)
    clock.events = [(20.0 * n, lambda: hold_elsewhere(store)) for n in range(1, 10)]
    with pytest.raises(Conflict, match="me@elsewhere"):
        watching(store, clock).acquire("next", patience=120)
    assert 120 <= clock.now < 130


def test_a_holder_elsewhere_that_dies_while_it_is_waited_for_is_followed(store: LocalObjectStore, clock: Clock) -> None:
    hold_elsewhere(store)
    clock.events = [(20.0 * n, lambda: hold_elsewhere(store)) for n in range(1, 4)]
    with watching(store, clock).held("next", patience=300):
        assert 60 + leases.TIME_TO_LIVE <= clock.now < 65 + leases.TIME_TO_LIVE


def test_a_process_of_another_boot_or_another_container_is_elsewhere(store: LocalObjectStore, clock: Clock) -> None:
    """Its number may be that of a process here, or of none: neither says anything about it."""
    for other in ({"boot_id": "another"}, {"process_numbers": "pid:[1]"}):
        for pid in (os.getpid(), 2**22 + 1):
            hold_elsewhere(store, **{**leases._claim("x"), **other, "pid": pid})
            found = Ledger(store).find()
            assert not found.is_here and not found.is_dead


def test_a_holder_renews_and_keeps_its_number(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.05)
    ledger = Ledger(store)
    with ledger.held("bootstrap") as lease:
        seen = {ledger.find().generation}
        deadline = time.monotonic() + 20
        while len(seen) < 4 and time.monotonic() < deadline:
            seen.add(ledger.find().generation)
        assert len(seen) >= 4
        assert ledger.find().number == lease.number == ledger.require_lease()


def test_renewal_has_an_end(store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.01)
    monkeypatch.setattr(leases, "MOST_RENEWALS", 3)
    with Ledger(store).held("hangs") as lease:
        lease._renewal.join(20)
        assert not lease._renewal.is_alive()


def test_a_lease_survives_becoming_another_program(ledger: Ledger, store: LocalObjectStore) -> None:
    """A process keeps its number and start over it, and so the lease its fencing number."""
    process, said = started(BECOME, str(store.folder.parent), BECAME)
    with process:
        assert said == ["True", "False"]
        with pytest.raises(Conflict, match=f"process {process.pid}"):
            ledger.acquire("destroy")
        with pytest.raises(Conflict):
            ledger.require_lease()
    ledger.acquire("next").release()


def test_a_number_that_was_inherited_by_another_process_is_no_lease(
    store: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_elsewhere(store)
    monkeypatch.setenv(leases.INHERITED, str(Ledger(store).find().number))
    clock = Clock()
    clock.events = [(20.0, lambda: hold_elsewhere(store))]
    with pytest.raises(Conflict):
        watching(store, clock).acquire("mine")
    assert leases.INHERITED not in os.environ


def test_what_a_dead_holder_left_at_work_holds_the_lease_until_it_is_broken(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    process, (child,) = started(LEAVE, str(store.folder.parent))
    log = store.folder.parent / "logs/lease.log"
    with pytest.raises(Blocked, match=f"its holder lives: .*process {process.pid}"):
        ledger.break_it("in vain", log)
    process.kill()
    process.wait()
    assert not ledger.is_free()
    with pytest.raises(Conflict, match="for: restore"):
        ledger.acquire("bootstrap")
    assert ledger.break_it("the restore\nwas killed", log) == [int(child)]
    assert ledger.is_free() and ledger.holder() == {}
    assert "broke the lease for: the restore was killed; it was held by" in log.read_text()
    assert ledger.break_it("again", log) == []


def test_a_lease_held_elsewhere_is_broken_once_it_is_silent(store: LocalObjectStore, clock: Clock) -> None:
    log = store.folder.parent / "lease.log"
    hold_elsewhere(store)
    clock.events = [(20.0, lambda: hold_elsewhere(store))]
    ledger = watching(store, clock)
    with pytest.raises(Blocked, match="its holder lives: me@elsewhere"):
        ledger.break_it("in vain", log)
    assert ledger.break_it("it burned down", log) == [] and ledger.is_free()


def test_the_release_before_takes_the_same_file(ledger: Ledger, home: Home) -> None:
    """It knows no ledger, and is at work until a stack that is carried over is in line."""
    descriptor = at_work.lock(home.lease, {"owner": "old", "pid": os.getpid(), "since": "2026", "reason": "upgrade"})
    assert not ledger.is_free() and ledger.holder()["owner"] == "old"
    with pytest.raises(Conflict, match=r"the lease is held by old .* for: upgrade"):
        ledger.acquire("backup")
    at_work.unlock(descriptor)
    with ledger.held("backup"), pytest.raises(Conflict, match="for: backup"):
        at_work.lock(home.lease, {})


def test_the_host_carries_a_lease_that_was_taken_elsewhere_and_hands_it_back(
    ledger: Ledger, store: LocalObjectStore, home: Home
) -> None:
    hold_elsewhere(store)
    number = ledger.find().number
    with ledger.carried(number, "bring, asked for by me@elsewhere") as lease:
        assert lease.number == number == ledger.require_lease()
        assert ledger.find().is_here and ledger.holder()["reason"].startswith("bring")
        assert not at_work.is_free(home.lease)
    assert ledger.holder()["owner"] == "me@elsewhere" and ledger.find().number == number
    hold_elsewhere(store)
    with pytest.raises(Conflict, match=f"the lease {number} was lost"), ledger.carried(number, "late"):
        pytest.fail("it is another lease")


def test_renewals_of_launcher_and_host_do_not_disturb_each_other(
    store: LocalObjectStore, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The launcher goes on renewing while the host carries its lease: whoever the object names stays named."""
    monkeypatch.setattr(leases, "RENEW_EVERY", 0.02)
    process, (number,) = started(
        "from blocks import lease; lease.RENEW_EVERY = 0.02; " + AWAY, str(store.folder.parent)
    )
    with process, Ledger(store, home).carried(int(number), "bring"):
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            assert Ledger(store).find().claim["pid"] == os.getpid()
    process.wait(10)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"'])
def test_a_damaged_object_is_nobodys(store: LocalObjectStore, content: bytes) -> None:
    store.write(leases.KEY, content, if_generation=0)
    ledger = Ledger(store)
    assert ledger.holder() == {} and ledger.is_free()
    ledger.acquire("next").release()


def test_to_release_what_was_removed_with_the_stack_makes_nothing_again(
    ledger: Ledger, store: LocalObjectStore
) -> None:
    lease = ledger.acquire("destroy")
    for each in sorted(store.folder.rglob("*"), reverse=True):
        each.rmdir() if each.is_dir() else each.unlink()
    store.folder.rmdir()
    lease.release()
    assert not store.folder.exists()


RACE = (
    MADE.replace(", Home(root)", "")
    + """
from blocks.errors import Conflict
print('held', flush=True)
sys.stdin.readline()
for _ in range(15):
    with ledger.held('race', patience=60):
        path = root / 'count'
        before = int(path.read_text())
        path.write_text(str(before + 1))
"""
)


def test_of_two_processes_one_holds_it_at_a_time(store: LocalObjectStore) -> None:
    count = store.folder.parent / "count"
    count.write_text("0")
    racing = [started(RACE, str(store.folder.parent))[0] for _ in range(2)]
    for each in racing:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    assert [each.wait(120) for each in racing] == [0, 0]
    assert count.read_text() == "30"


def test_a_process_ends_without_a_word_where_its_lease_cannot_be_given_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = ledger.acquire("bootstrap")

    def full(*_: object) -> None:
        raise Blocked("lease cannot be written: No space left on device", "df shows it")

    monkeypatch.setattr(lease._leases, "give_back", full)
    lease._end()
    with pytest.raises(Conflict, match="bootstrap"):
        ledger.acquire("next")
