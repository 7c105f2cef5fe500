"""Every change of a stack, killed at its boundaries: the next run finishes it, or all is as it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.kills import restoring, upgrading, verbs
from tests.kills.conftest import Killed, Trials
from tests.kills.world import REVISION

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("what", ["auth", "database"])
def test_a_rotation(trials: Trials, killed: Killed, what: str) -> None:
    for _ in killed(verbs.rotate, what):
        trials.require(verbs.finish, verbs.rotate, what)
        assert len(trials.sql("SELECT FROM pg_roles WHERE rolcanlogin AND NOT rolsuper")) == 1


def test_an_addition_of_a_worker(trials: Trials, killed: Killed) -> None:
    for _ in killed(verbs.workers, "add"):
        trials.require(verbs.finish, verbs.workers, "add")
        trials.require(verbs.workers, "remove")
    trials.require(verbs.workers, "remove")


def test_a_removal_of_a_worker(trials: Trials, killed: Killed) -> None:
    trials.require(verbs.workers, "add")
    for _ in killed(verbs.workers, "remove"):
        trials.require(verbs.finish, verbs.remove_worker)
        trials.require(verbs.workers, "add")


def test_a_removal_of_a_worker_that_goes_on(trials: Trials, killed: Killed) -> None:
    """A flow runs on it for longer than is waited: all is as it was, and once it has ended the worker goes."""
    trials.require(verbs.workers, "add")
    trials.behave(busy=("worker-ours",))
    for _ in killed(verbs.remove_worker_in_vain):
        trials.behave()
        trials.require(verbs.finish, verbs.workers, "remove")
        trials.require(verbs.workers, "add")
        trials.behave(busy=("worker-ours",))
    trials.behave()
    trials.require(verbs.workers, "remove")


SERIES = itertools.count(1)


@pytest.fixture
def version() -> Callable[[int], str]:
    """Another version for each kill, and each test: there is no way back by an upgrade."""
    series = next(SERIES)
    return lambda number: f"3.8.{series}{number:03}"


def revision(trials: Trials) -> str:
    return str(trials.sql("SELECT version_num FROM alembic_version")[0][0])


@pytest.fixture(autouse=True)
def schema_of_the_release(trials: Trials) -> Iterator[None]:
    """The schema as it was, in which the next test finds it."""
    yield
    bring_schema_back(trials)


def bring_schema_back(trials: Trials) -> None:
    trials.sql(f"UPDATE alembic_version SET version_num = '{REVISION}'")


def test_an_upgrade(trials: Trials, killed: Killed, version: Callable[[int], str]) -> None:
    """From its preflight on."""
    for number, _ in enumerate(killed(upgrading.whole, version), 1):
        trials.require(verbs.finish, upgrading.whole, version(number))
        assert revision(trials) == "head"
        assert trials.sql("SELECT FROM pg_database WHERE datname ~ '^drill-'") == []
        bring_schema_back(trials)
        trials.drop_older_backups()


def test_a_switch_of_one_server_after_the_other(trials: Trials, killed: Killed, version: Callable[[int], str]) -> None:
    for number, _ in enumerate(killed(upgrading.switched, version, False), 1):
        trials.require(verbs.finish, upgrading.switched, version(number), False)
        assert revision(trials) == "head"
        bring_schema_back(trials)


@pytest.mark.parametrize("rolling", [True, False], ids=["both at one time", "one after the other"])
def test_a_rollback(trials: Trials, killed: Killed, version: Callable[[int], str], rolling: bool) -> None:
    """All was switched and did not work: the next upgrade passes, wherever the way back had come to."""
    for number, _ in enumerate(killed(upgrading.rolled_back, version, rolling), 1):
        trials.require(verbs.finish, upgrading.switched, version(number), rolling)
        assert revision(trials) == "head"
        bring_schema_back(trials)
    assert revision(trials) == REVISION


FAULTS: dict[str, tuple[Callable[[str], dict[str, Any]], str]] = {
    "a migration that fails": (lambda _: {"jobs": {"migrate": "/bin/false"}}, "migrate failed with exit status 1"),
    "a server that does not start": (lambda slot: {"fails": {slot: "its socket is taken"}}, "its socket is taken"),
    "a server of another version": (lambda slot: {"versions": {slot: "3.8.4"}}, "says it is Prefect 3.8.4, not"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_switch_that_fails_is_rolled_back(trials: Trials, version: Callable[[int], str], fault: str) -> None:
    behaviour, why = FAULTS[fault]
    slot = trials.other_slot()
    trials.behave(**behaviour(slot))
    trials.require(verbs.finish, upgrading.failing, version(1), why)
    assert (trials.other_slot(), revision(trials)) == (slot, REVISION), "the server that ran goes on"
    trials.behave()
    trials.require(verbs.finish, upgrading.switched, version(1), True)


def test_a_restore(trials: Trials, killed: Killed) -> None:
    trials.sql("INSERT INTO variable (name) VALUES ('in the backup')")
    trials.require(restoring.back_up)
    trials.sql("INSERT INTO variable (name) VALUES ('after it')")
    for _ in killed(restoring.restore, True):
        assert names(trials) in (["after it", "in the backup"], ["in the backup"]), "a database is always in its place"
        trials.require(verbs.finish, restoring.restore, True)
        require_restored(trials)
        trials.sql("INSERT INTO variable (name) VALUES ('after it')")
    require_restored(trials)


def names(trials: Trials) -> list[str]:
    return [name for (name,) in trials.sql("SELECT name FROM variable ORDER BY name")]


def require_restored(trials: Trials) -> None:
    assert names(trials) == ["in the backup"]
    assert trials.sql("SELECT FROM pg_database WHERE datname ~ '-restoring$|^drill-'") == []
    trials.require(restoring.drop_kept)
