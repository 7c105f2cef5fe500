"""What is decided in a rotation: which strings are accepted until when, and where the server with the new one runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blocks.agent.spec import Artifact, File, HostSpec, Release, Service
from blocks.rotation import afterwards, deadline, while_rotating
from blocks.server.grace import Further, as_text, read_further
from blocks.services import ServerSecrets
from flows.rotate import place

OLDEST, OLD, NEW = "admin:oldest", "admin:old", "admin:new"
RELEASE = Release("r1", "/usr/bin/python3", "/usr/bin/uv", Artifact("lock.txt", "0" * 64))
NEXT = "auth-string-next"


def test_while_it_lasts_both_are_accepted_without_end_and_others_as_they_were() -> None:
    found = while_rotating([Further(OLDEST, 1500.0)], OLD, NEW)
    assert set(found) == {Further(OLDEST, 1500.0), Further(OLD, math.inf), Further(NEW, math.inf)}
    assert set(while_rotating(found, OLD, NEW)) == set(found), "a second run changes nothing"


def test_afterwards_all_but_the_current_one_end() -> None:
    during = [Further(OLDEST, 1500.0), Further("admin:past", 900.0), Further(OLD, math.inf), Further(NEW, math.inf)]
    found = afterwards(during, NEW, now=1000.0, until=2000.0)
    assert found == (Further(OLDEST, 1500.0), Further(OLD, 2000.0))
    assert afterwards(found, NEW, now=1100.0, until=2100.0) == found, "a second run does not lengthen it"
    assert afterwards(found, NEW, now=1100.0, until=1160.0) == (Further(OLDEST, 1160.0), Further(OLD, 1160.0))


def test_going_back_to_an_older_string_is_a_rotation_too() -> None:
    assert while_rotating([Further(OLDEST, 1500.0)], OLD, OLDEST) == (Further(OLD, math.inf), Further(OLDEST, math.inf))


def test_a_grace_is_minutes_and_at_least_what_the_run_itself_needs() -> None:
    assert deadline(1000.0, 60) == 4600.0
    assert deadline(1000.0, 0) == deadline(1000.0, 1) == 1060.0


def test_what_is_written_is_what_the_server_reads() -> None:
    entries = (Further(OLDEST, 1500.25), Further(OLD, math.inf))
    assert read_further(as_text(entries).encode()) == entries
    assert as_text(()) == "[]"
    assert "\n" not in as_text(entries)


def running(**auth_strings: str) -> HostSpec:
    """A host on which these slots run, each with the secret of that name."""
    files = [File(f"/h/etc/server-{slot}/prefect.toml", f"${{secret:{name}}}") for slot, name in auth_strings.items()]
    services = [Service(f"server-{slot}", ("/h/releases/r1/bin/python",)) for slot in auth_strings]
    return HostSpec("s", 1, releases=(RELEASE,), files=tuple(files), services=tuple(services))


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        (running(blue="auth-string"), "green"),
        (running(green="auth-string"), "blue"),
        (running(blue=NEXT), "blue"),
        (running(blue="auth-string", green=NEXT), "green"),
        (running(blue=NEXT, green="auth-string"), "blue"),
    ],
)
def test_the_new_server_is_the_one_that_has_the_new_string_else_it_gets_the_other_slot(
    now: HostSpec, slot: str
) -> None:
    assert place(now, RELEASE, "auth_string", NEXT) == (slot, ServerSecrets(NEXT))


def test_an_unfinished_rotation_of_the_other_kind_is_carried_along() -> None:
    now = running(blue="database-login-next")
    assert place(now, RELEASE, "auth_string", NEXT) == ("green", ServerSecrets(NEXT, "database-login-next"))
    both = replace(now, files=(File("/h/etc/server-blue/prefect.toml", f"${{secret:{NEXT}}} database-login-next"),))
    assert place(both, RELEASE, "database_login", "database-login-next")[0] == "green", "a name alone is no reference"
