"""What is decided in a rotation: strings and their ends, the version that comes next, where its server runs."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from blocks import catalog, ledgers
from blocks.agent.spec import Artifact, File, HostSpec, Release, Service
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.rotation import afterwards, deadline, while_rotating
from blocks.server.grace import Further, as_text, read_further
from blocks.services import ServerSecrets
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import Stack
from flows import change
from flows.rotate import forget, server_with, version_to_promote

OLDEST, OLD, NEW = "admin:oldest", "admin:old", "admin:new"
RELEASE = Release("r1", Artifact("lock.txt", "0" * 64))
PROMOTED = ServerSecrets("auth-string@6", "database-login@1", "encryption-key@1")


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


def running(**auth_strings: int) -> HostSpec:
    """A host on which these slots run, each with that version of the auth string."""
    files = [
        File(f"/h/etc/server-{slot}/prefect.toml", f"${{secret:auth-string@{version}}}")
        for slot, version in auth_strings.items()
    ]
    services = [Service(f"server-{slot}", ("/h/releases/r1/bin/python",)) for slot in auth_strings]
    return HostSpec("s", 1, releases=(RELEASE,), files=tuple(files), services=tuple(services))


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        (running(blue=6), "green"),
        (running(green=6), "blue"),
        (running(blue=7), "blue"),
        (running(blue=6, green=7), "green"),
        (running(blue=7, green=6), "blue"),
    ],
)
def test_the_new_server_is_the_one_that_has_the_new_string_else_it_gets_the_other_slot(
    now: HostSpec, slot: str
) -> None:
    expected = replace(PROMOTED, auth_string="auth-string@7")
    assert server_with(now, RELEASE, PROMOTED, "auth_string", "auth-string@7") == (slot, expected)


def test_an_unfinished_rotation_of_the_other_kind_is_carried_along() -> None:
    text = "${secret:auth-string@6} ${secret:database-login@2}"
    now = replace(running(blue=6), files=(File("/h/etc/server-blue/prefect.toml", text),))
    slot, secrets = server_with(now, RELEASE, PROMOTED, "auth_string", "auth-string@7")
    assert (slot, secrets.database_login) == ("green", "database-login@2")
    name = replace(now, files=(File("/h/etc/server-blue/prefect.toml", "database-login@2"),))
    slot, _ = server_with(name, RELEASE, PROMOTED, "database_login", "database-login@2")
    assert slot == "green", "that is no reference"


@pytest.fixture
def stack(home: Home) -> Stack:
    spec = build_spec({"home": str(home.root)}, "test")
    return catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {"auth-string": 1})


def not_made() -> str:
    pytest.fail("another value was made")


def test_an_interrupted_rotation_is_gone_on_with_until_older_versions_are_gone(stack: Stack) -> None:
    assert stack.secrets.ensure("auth-string", lambda: OLD) == 1
    assert version_to_promote(stack, "auth-string", lambda: NEW) == 2
    assert version_to_promote(stack, "auth-string", not_made) == 2, "the first run was killed"
    promoted = change.promote(stack, "auth-string", 2)
    assert version_to_promote(promoted, "auth-string", not_made) == 2, "killed after promotion"
    forget(promoted, "auth-string")
    assert version_to_promote(promoted, "auth-string", lambda: "admin:newest") == 3
    assert stack.secrets.versions("auth-string") == (2, 3)


def test_where_older_versions_stay_the_next_is_made_once_one_is_promoted(stack: Stack) -> None:
    assert stack.secrets.ensure("auth-string", lambda: OLD) == 1
    assert version_to_promote(stack, "auth-string", lambda: NEW, older_stay=True) == 2
    assert version_to_promote(stack, "auth-string", not_made, older_stay=True) == 2
    promoted = change.promote(stack, "auth-string", 2)
    assert version_to_promote(promoted, "auth-string", lambda: "admin:newest", older_stay=True) == 3


def test_a_promoted_version_is_wanted_and_found_by_its_name(stack: Stack, home: Home) -> None:
    stack.secrets.ensure("auth-string", lambda: OLD)
    version = stack.secrets.add_version("auth-string", NEW)
    assert (stack.secret("auth-string"), secret_files.read(home.secrets, "auth-string")) == (OLD, OLD)
    promoted = change.promote(stack, "auth-string", version)
    assert (promoted.secret("auth-string"), secret_files.read(home.secrets, "auth-string")) == (NEW, NEW)
    assert ledgers.of(home).wanted().secrets == {"auth-string": 2}
