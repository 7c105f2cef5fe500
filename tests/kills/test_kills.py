"""A rotation killed at each of its boundaries: the next run finishes it."""

from __future__ import annotations

import pytest

from tests.kills import verbs
from tests.kills.conftest import Trials

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("what", ["auth", "database"])
def test_a_rotation(trials: Trials, what: str) -> None:
    for _ in trials.killed(verbs.rotate, what):
        trials.require(verbs.finish, verbs.rotate, what)
        assert len(trials.sql("SELECT FROM pg_roles WHERE rolcanlogin AND NOT rolsuper")) == 1
