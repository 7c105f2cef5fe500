"""A rotation whose process is killed at every step boundary: another run goes on, and every client is answered."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from uuid import UUID

import httpx
import pytest
from prefect.client.schemas.objects import StateType

from blocks.errors import NotReady
from blocks.postgres import login as database_login
from blocks.postgres import sql
from blocks.postgres.encryption import is_readable
from tests.fault.runs import Boundary, answers, begun, ended, has_task, kill_at, kill_flow, nothing_lost
from tests.stack import CALL_SECONDS, Stack, bootstrapped, eventually
from tests.traffic import UNHURRIED, Traffic, clients, headers

pytestmark = pytest.mark.fault


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with bootstrapped("flt-") as made:
        yield made


@pytest.fixture(autouse=True)
def all_recorded_is_kept(stack: Stack) -> Iterator[None]:
    """Whatever a test does, nothing that was recorded before is lost."""
    with nothing_lost(stack):
        yield


def has_both(stack: Stack, _: UUID) -> bool:
    return len(stack.servers()) == 2


def is_promoted(secret: str) -> Boundary:
    """The new version is wanted, the old one still there. Looked for on the disk: the rest is faster than a call."""

    def promoted(stack: Stack, _: UUID) -> bool:
        there = stack.versions(secret)
        return len(there) > 1 and there[-1] == stack.promoted(secret)

    return promoted


def has_no_server(stack: Stack, _: UUID) -> bool:
    """The host was told to run no server; the one that ran may still be on its way out."""
    return not any(each["name"].startswith("server-") for each in stack.host_spec()["services"])


BOUNDARIES: dict[str, dict[str, Boundary]] = {
    "auth": {"both servers": has_both, "switch servers": is_promoted("auth-string")},
    "database": {"both servers": has_both, "switch servers": is_promoted("database-login")},
}
"""On either side of which the stack is another one: runs are killed there. `tests/kills` has all other boundaries."""
ROTATED = ("auth-string", "auth-grace", "database-login")


def kill_at_boundaries(stack: Stack, what: str, open_clients: ExitStack) -> list[Traffic]:
    """One run at each, after which somebody brings the stack in line, and then a run comes to its end.

    Returns what clients saw with the old string and, once it is accepted, the new one.
    """
    seen = [open_clients.enter_context(clients(2, stack.url, stack.secret("auth-string"), UNHURRIED))]
    for name, reached in BOUNDARIES[what].items():
        run = begun(stack, "rotate/rotate", what=what, grace_minutes=600)
        kill_at(stack, run, name, reached, CALL_SECONDS)
        assert ended(stack, run, CALL_SECONDS).state_type == StateType.CRASHED
        if name == "both servers" and what == "auth":
            seen.append(
                open_clients.enter_context(
                    clients(2, stack.url, stack.secret(f"auth-string@{stack.versions('auth-string')[-1]}"), UNHURRIED)
                )
            )
        stack.bootstrap()
    stack.run("rotate", what, "--grace-minutes", "600")
    return seen


def require_well(stack: Stack) -> None:
    assert stack.plan() == []
    assert len(stack.servers()) == 1
    assert [stack.versions(each) for each in ROTATED] == [[stack.promoted(each)] for each in ROTATED]
    assert [each for each in stack.transcript if "Traceback" in each.output] == []


def require_no_failure(seen: list[Traffic]) -> None:
    for traffic in seen:
        assert traffic.failed() == []
        assert len(traffic.calls) > 100


def test_the_auth_string_whose_rotation_is_killed(stack: Stack) -> None:
    old = stack.secret("auth-string")
    with ExitStack() as open_clients:
        seen = kill_at_boundaries(stack, "auth", open_clients)
        for traffic in seen:
            traffic.wait_for(20)
    require_no_failure(seen)
    assert len(seen) == 2
    answers = [
        httpx.get(f"{stack.url}/api/admin/version", headers=headers(each), timeout=10).status_code
        for each in (old, stack.secret("auth-string"))
    ]
    assert answers == [200, 200] and old != stack.secret("auth-string")
    require_well(stack)


def test_the_database_login_whose_rotation_is_killed(stack: Stack) -> None:
    user, password = database_login.parts(stack.secret("database-login"))
    with ExitStack() as open_clients:
        seen = kill_at_boundaries(stack, "database", open_clients)
        seen[0].wait_for(20)
    require_no_failure(seen)
    with pytest.raises(NotReady):
        old = replace(stack.login, user=user, password=password)
        sql.query(old, "SELECT 1")
    require_well(stack)


def test_the_encryption_key_whose_rotation_is_killed_while_no_server_runs(stack: Stack) -> None:
    """Callers wait until somebody brings the stack in line; then the same command comes to its end."""
    old = stack.secret("encryption-key")
    with clients(2, stack.url, stack.secret("auth-string"), UNHURRIED) as seen:
        run = begun(stack, "rotate/rotate", what="encryption-key")
        eventually(lambda: has_no_server(stack, run) and kill_flow(stack, run), "no server", CALL_SECONDS, every=0.02)
        refused = stack.call("rotate", "encryption-key", *stack.where)
        assert refused.status == 1 and "selfhost bootstrap goes on with it" in refused.output, refused.output
        stack.bootstrap()
        assert ended(stack, run, CALL_SECONDS).state_type == StateType.CRASHED
        stack.run("rotate", "encryption-key")
        seen.wait_for(20)
    require_no_failure([seen])
    new, stored = stack.secret("encryption-key"), stack.query("SELECT data #>> '{}' FROM block_document")
    assert new != old and stored
    assert all(is_readable(each, [new]) and not is_readable(each, [old]) for (each,) in stored)
    require_well(stack)


@pytest.mark.rare
def test_the_second_of_two_at_once_is_told_who_changes_the_stack(stack: Stack) -> None:
    run = begun(stack, "rotate/rotate", what="database")
    eventually(lambda: has_both(stack, run), "the rotation under way", CALL_SECONDS)
    done = stack.call("rotate", "auth", *stack.where)
    assert done.status == 1 and "the lease is held by" in done.output and "rotate database" in done.output
    assert ended(stack, run, CALL_SECONDS).state_type == StateType.COMPLETED
    require_well(stack)


@pytest.mark.parametrize(
    ("what", "part"),
    [
        pytest.param("auth", "server", marks=pytest.mark.rare),
        ("database", "server"),
        pytest.param("database", "postgres", marks=pytest.mark.rare),
    ],
)
def test_the_server_or_its_database_dies_under_it(stack: Stack, what: str, part: str) -> None:
    """It goes on by itself, or the same command finishes it."""
    old = stack.secret("auth-string")
    (pid,) = [pid for name, pid in stack.pids().items() if name.startswith(part)]
    run = begun(stack, "rotate/rotate", what=what)
    eventually(lambda: has_task("accept both")(stack, run), "both accepted", CALL_SECONDS)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: answers(stack, old), "the service again", CALL_SECONDS)
    if not ended(stack, run, CALL_SECONDS).state.is_completed():  # type: ignore[union-attr]
        stack.run("rotate", what)
    assert answers(stack, old) and answers(stack)
    require_well(stack)
