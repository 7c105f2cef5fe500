"""Every change of a stack, killed at its boundaries: the next run finishes it, or all is as it was."""

from __future__ import annotations

import pytest

from tests.kills import verbs
from tests.kills.conftest import Killed, Trials

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
    trials.behave("worker-ours")
    for _ in killed(verbs.remove_worker_in_vain):
        trials.behave()
        trials.require(verbs.finish, verbs.workers, "remove")
        trials.require(verbs.workers, "add")
        trials.behave("worker-ours")
    trials.behave()
    trials.require(verbs.workers, "remove")
