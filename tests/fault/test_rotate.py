"""A rotation whose process is killed at every step boundary: another run goes on, and every client is answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from blocks.errors import NotReady
from blocks.host import database_login, postgres
from tests.fault.runs import answers, begun, ended, has_task
from tests.postgres import base_environment
from tests.stack import CALL_SECONDS, Stack, bootstrapped, eventually
from tests.traffic import Traffic, clients, headers

pytestmark = pytest.mark.fault

DRIVER = """
import json, os, signal, sys
from contextlib import contextmanager
from flows import rotate
what, passed = sys.argv[1], json.loads(sys.argv[2])
as_task, step = rotate.as_task, rotate.step
def boundary(name):
    sys.stdout.write(name + "\\n")
    sys.stdout.flush()
    if name not in passed:
        os.kill(os.getpid(), signal.SIGKILL)
def counted_task(name, work):
    result = as_task(name, work)
    boundary(name)
    return result
@contextmanager
def counted_step(name):
    with step(name) as detail:
        yield detail
    if name.endswith(" ready"):
        boundary("both servers")
rotate.as_task, rotate.step = counted_task, counted_step
rotate.rotate(what, 600)
"""
"""The real flow as a process of its own, which ends by SIGKILL at the first boundary it has not passed before."""
LAST = "forget"
"""After it nothing is left to finish: what runs then is another rotation."""
MOST_ATTEMPTS = 20


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with bootstrapped("flt-") as made:
        yield made


def attempt(stack: Stack, what: str, passed: list[str]) -> list[str]:
    """Run the flow where a worker's runs are; the boundaries it came to, the last of which killed it if it is new."""
    environment = base_environment(stack.home / "state/worker-maintenance") | {"SELFHOST_STACK": stack.name}
    done = subprocess.run(
        [sys.executable, "-P", "-c", DRIVER, what, json.dumps([*passed, LAST])],
        cwd=stack.home / "etc/client",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=CALL_SECONDS,
    )
    came_to = [line for line in done.stdout.splitlines() if line in BOUNDARIES[what] or line == LAST]
    assert done.returncode == (0 if came_to[-1:] == [LAST] else -signal.SIGKILL), done.stdout + done.stderr[-3000:]
    return came_to


BOUNDARIES = {
    "auth": [
        "make the new one",
        "accept both",
        "both servers",
        "switch servers",
        "promote",
        "hand out to workers",
        "end the old one",
        "settle",
        "verify",
    ],
    "database": [
        "make the new one",
        "accept both",
        "both servers",
        "switch servers",
        "promote",
        "settle",
        "end the old one",
    ],
}
CONVERGED = ("both servers", "promote")
"""Boundaries at which somebody brings the stack in line before the rotation goes on."""


def kill_at_every_boundary(stack: Stack, what: str, open_clients: ExitStack) -> list[Traffic]:
    """Until an attempt comes to its end; what clients saw with the old string and, once it is accepted, the new one."""
    seen = [open_clients.enter_context(clients(2, stack.url, stack.secret("auth-string")))]
    passed: list[str] = []
    for _ in range(MOST_ATTEMPTS):
        came_to = attempt(stack, what, passed)
        if came_to[-1] == LAST:
            break
        passed.append(came_to[-1])
        if passed[-1] == "accept both" and what == "auth":
            seen.append(open_clients.enter_context(clients(2, stack.url, stack.secret("auth-string-next"))))
        if passed[-1] in CONVERGED:
            stack.bootstrap()
    assert passed == BOUNDARIES[what], "each boundary kills once"
    return seen


def require_well(stack: Stack) -> None:
    assert stack.plan() == []
    assert len(stack.servers()) == 1
    assert [each.name for each in (stack.home / "secrets").iterdir() if "next" in each.name] == []
    assert [each for each in stack.transcript if "Traceback" in each.output] == []


def require_no_failure(seen: list[Traffic]) -> None:
    for traffic in seen:
        assert traffic.failed() == []
        assert len(traffic.calls) > 100


def test_the_auth_string_whose_rotation_is_killed_at_every_boundary(stack: Stack) -> None:
    old = stack.secret("auth-string")
    with ExitStack() as open_clients:
        seen = kill_at_every_boundary(stack, "auth", open_clients)
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


def test_the_database_login_whose_rotation_is_killed_at_every_boundary(stack: Stack) -> None:
    user, password = database_login.parts(stack.secret("database-login"))
    with ExitStack() as open_clients:
        seen = kill_at_every_boundary(stack, "database", open_clients)
        seen[0].wait_for(20)
    require_no_failure(seen)
    with pytest.raises(NotReady):
        old = postgres.Login("127.0.0.1", stack.port + 2, user, password)
        postgres.query(stack.programs, old, "SELECT 1")
    require_well(stack)


@pytest.mark.parametrize(("what", "part"), [("auth", "server"), ("database", "postgres")])
def test_the_server_or_its_database_dies_under_it(stack: Stack, what: str, part: str) -> None:
    """It goes on by itself, or the same command finishes it."""
    old = stack.secret("auth-string")
    run = begun(stack, "rotate/rotate", what=what)
    eventually(lambda: has_task("accept both")(stack, run), "both accepted", CALL_SECONDS)
    (pid,) = [pid for name, pid in stack.pids().items() if name.startswith(part)]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: answers(stack, old), "the service again", CALL_SECONDS)
    if not ended(stack, run, CALL_SECONDS).state.is_completed():  # type: ignore[union-attr]
        stack.run("rotate", what)
    assert answers(stack, old) and answers(stack)
    require_well(stack)
