"""After all the other tests of this stack: its secrets are where they belong, and nowhere else."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import Bootstrapped
from tests.stack import SECRETS, WITH_USER, Stack, eventually

pytestmark = pytest.mark.e2e

HOLDERS = {
    "etc/worker-default/prefect.toml",
    "etc/worker-maintenance/prefect.toml",
    *(f"secrets/{name}" for name in SECRETS),
    *(f"secrets/{name}@1" for name in SECRETS),
}
"""Files which a secret's value is in."""
MORE_HOLDERS = {
    *(f"etc/{folder}/prefect.toml" for folder in ("server-blue", "server-green", "rehearsal")),
    *(f"secrets/{name}@{version}" for name in (*SECRETS, "auth-grace") for version in range(2, 9)),
}
"""The only others which one may be in: of a slot that was in use, of what a rotation replaced."""
CLOSED = ("secrets", "agent", "run", "logs", "postgres", "postgres/data")


@pytest.fixture(scope="module")
def values(bootstrapped: Bootstrapped) -> dict[str, bytes]:
    return {name: value.encode() for name, value in bootstrapped.stack.secret_values().items()}


def server(stack: Stack) -> str:
    """Name of the server's service: an upgrade or a rotation leaves it in the other slot."""
    return next(iter(stack.servers()))


def leaks(content: bytes, values: dict[str, bytes]) -> list[str]:
    return [name for name, value in values.items() if value in content]


def files(stack: Stack) -> list[Path]:
    """All files of the home but the database's own; releases too, as anything may be written there."""
    return [
        each for each in stack.home.rglob("*") if each.is_file() and not each.is_relative_to(stack.home / "postgres")
    ]


def content(path: Path) -> bytes:
    """Nothing for a file that has just been removed or replaced: the stack is running."""
    with suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def test_the_values_are_strong_and_all_different(values: dict[str, bytes]) -> None:
    assert len(set(values.values())) == len(values) == len(SECRETS) + len(WITH_USER)
    assert min(map(len, values.values())) >= 32


def test_no_file_but_the_listed_holds_a_secret(stack: Stack, values: dict[str, bytes]) -> None:
    # A run that is under way has its worker's auth string in a file there.
    eventually(lambda: not list(stack.home.glob("state/worker-*/tmp/prefect-workspace-*")), "the end of all runs")
    found = {
        str(each.relative_to(stack.home)): names for each in files(stack) if (names := leaks(content(each), values))
    }
    assert set(found) >= HOLDERS and set(found) <= HOLDERS | MORE_HOLDERS, found
    assert f"etc/{server(stack)}/prefect.toml" in found


def test_what_holds_a_secret_is_readable_by_its_owner_alone(stack: Stack) -> None:
    there = [path for path in HOLDERS | MORE_HOLDERS if (stack.home / path).exists()]
    modes = {path: oct(stat.S_IMODE((stack.home / path).stat().st_mode)) for path in there}
    assert set(modes.values()) == {"0o600"}, modes
    closed = {path: oct(stat.S_IMODE((stack.home / path).stat().st_mode)) for path in CLOSED}
    assert set(closed.values()) == {"0o700"}, closed


def test_nobody_else_may_write_anything_in_the_home(stack: Stack) -> None:
    """It was made under umask 0, and all calls since were under it. Files come and go meanwhile: `find` goes on."""
    argv = ["find", str(stack.home), "!", "-type", "l", "-perm", "/022"]
    assert not subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout


def test_nobody_else_may_lock_anything_in_the_home(stack: Stack) -> None:
    """Whoever may read a file may lock it."""
    locks = [
        stack.paths.lease,
        stack.paths.store / ".generations",
        *stack.home.glob("releases/.*.lock"),
        *stack.home.glob("run/*.lock"),
    ]
    assert len(locks) >= 5
    assert {oct(stat.S_IMODE(each.stat().st_mode)) for each in locks} == {"0o600"}


def test_no_command_line_ever_held_a_secret(bootstrapped: Bootstrapped, values: dict[str, bytes]) -> None:
    seen = bootstrapped.command_lines.seen
    assert any(b"blocks.server.serve" in each for each in seen), "the sampling missed the server"
    assert [each for each in seen if leaks(each, values)] == []


def test_no_call_printed_a_secret_or_a_traceback(stack: Stack, values: dict[str, bytes]) -> None:
    assert stack.transcript
    assert [each.argv for each in stack.transcript if leaks(each.output.encode(), values)] == []
    assert [each.argv for each in stack.transcript if "Traceback" in each.output] == []


def test_nothing_in_the_database_holds_a_secret(stack: Stack, values: dict[str, bytes]) -> None:
    """Parameters, artifacts, logs, blocks, events: a dump as plain text has every row of every table."""
    with stack.login.for_programs() as environment:
        dumped = subprocess.run(
            [stack.programs / "pg_dump", "--format=plain"],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            check=True,
            timeout=120,
        )
    assert b"COPY public.flow_run " in dumped.stdout and b"COPY public.log " in dumped.stdout
    assert leaks(dumped.stdout, values) == []


def test_the_environment_of_no_other_users_process_is_open(stack: Stack) -> None:
    """The encryption key is in the server's environment alone, which only its own user can read."""
    environment = Path(f"/proc/{stack.pids()[server(stack)]}/environ")
    assert stat.S_IMODE(environment.stat().st_mode) == 0o400
    holders = {
        name: secret
        for name, pid in stack.pids().items()
        for secret, value in stack.secret_values().items()
        if value.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    }
    assert holders == {server(stack): "encryption-key"}
