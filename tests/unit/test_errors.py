from __future__ import annotations

import pytest

from blocks.errors import Blocked, Conflict, NotReady, SelfhostError, WrongCall


@pytest.mark.parametrize("kind", [Blocked, Conflict, NotReady, WrongCall])
def test_keeps_what_and_hint_apart(kind: type[SelfhostError]) -> None:
    error = kind("the port 4200 is taken", "choose another")
    assert isinstance(error, SelfhostError)
    assert (error.what, error.hint) == ("the port 4200 is taken", "choose another")
    assert str(error) == "the port 4200 is taken (choose another)"


def test_without_a_hint_says_just_what() -> None:
    assert str(Blocked("no more")) == "no more"


def test_a_wrong_call_is_for_a_person_to_mend() -> None:
    assert issubclass(WrongCall, Blocked)
    assert not issubclass(NotReady, Blocked)
