"""An action in a process of its own, killed at any one of its boundaries.

A boundary is a moment right before the action changes something outside itself: renames or removes a file of the
stack's home, starts a program, talks SQL, or calls a server to change something. A real SIGKILL ends the process
there, so that nothing can catch it and no `finally` is carried out. Processes are forked from one that has imported
everything, so that each costs milliseconds.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")
ACTION_SECONDS = 120.0
PRELOADED = ("asyncpg", "prefect.flows", "tests.kills.restoring", "tests.kills.upgrading")
PROGRAMS = ("psql", "pg_dump", "pg_restore", "python", "python3")
READS = re.compile(r"/(filter|count|paginate|history|flow_run_counts|get_scheduled_flow_runs|logs|events|set_state)/?$")
"""Ends of paths that are posted to and change nothing of a stack."""
OF_RUNS = re.compile(r"^/api/(flows|flow_runs|task_runs|artifacts|logs|block_types|block_schemas|events)(/|$)")
"""What Prefect itself tells of the run; nothing of a stack depends on it."""
COMMITS = re.compile(
    r"os\.rename /(store/ledger/wanted|agent/spec\.json|restoring/restore\.json|restoring\.retired)$"
    r"|SQL ALTER DATABASE .* RENAME"
)
"""Boundaries after which the next run finds another stack: what is wanted, what runs on the host, its database."""


@dataclass(frozen=True)
class Ended:
    """How an action ended: at which boundaries it came by, and what it said."""

    status: int
    boundaries: Sequence[str]
    text: str

    @property
    def is_killed(self) -> bool:
        return self.status == -signal.SIGKILL


_boundaries: list[_Boundaries] = []
"""The one of this process, where it carries an action out."""
_context: ForkServerContext | None = None


def _forks() -> ForkServerContext:
    global _context
    if _context is None:
        _context = multiprocessing.get_context("forkserver")
        _context.set_forkserver_preload(list(PRELOADED))
    return _context


@dataclass(frozen=True)
class Kill:
    """Where an action is killed: right before that boundary, counted from 1.

    Attributes:
        commits_alone: Count only the boundaries that come right after a commit point.
    """

    at: int
    commits_alone: bool = False


NEVER = Kill(0)


def carried_out(action: Callable[..., None], *arguments: Any, home: Path, log: Path, kill: Kill = NEVER) -> Ended:
    """Carry an action out in another process, and kill it there."""
    log.unlink(missing_ok=True)
    process = _forks().Process(target=_main, args=(action, arguments, home, log, kill))
    process.start()
    process.join(ACTION_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{action.__name__} did not end within {ACTION_SECONDS:.0f} s:\n{log.read_text()}")
    lines = log.read_text().splitlines()
    passed = [line.removeprefix("> ") for line in lines if line.startswith("> ")]
    return Ended(process.exitcode or 0, passed, "\n".join(line for line in lines if not line.startswith("> ")))


def _main(action: Callable[..., None], arguments: Sequence[Any], home: Path, log: Path, kill: Kill) -> None:
    status = 0
    with log.open("w", buffering=1) as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        _boundaries.append(_Boundaries(home, kill))
        _boundaries[0].watch()
        try:
            action(*arguments)
        except BaseException:  # noqa: BLE001 (told to the parent, whatever it is)
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        os._exit(status)


def counted_in(work: Callable[[T], R]) -> Callable[[T], R]:
    """Work in which boundaries are counted, in the place of all that this process does."""
    (boundaries,) = _boundaries
    boundaries.is_counting = False

    def counted(argument: T) -> R:
        boundaries.is_counting = True
        try:
            return work(argument)
        finally:
            boundaries.is_counting = False

    return counted


class _Boundaries:
    """Counts them as they come, and ends this process at the one that was asked for."""

    def __init__(self, home: Path, kill: Kill) -> None:
        self._home, self._kill, self._count, self._after_commit = str(home), kill, 0, False
        self.is_counting = True

    def watch(self) -> None:
        sys.addaudithook(self._on_event)
        self._watch_calls()
        self._watch_sql()

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("os.rename", "os.remove", "shutil.rmtree"):
            paths = [str(os.fspath(each)) for each in arguments if isinstance(each, (str, os.PathLike))]
            if paths and any(each.startswith(self._home) for each in paths):
                self._pass(f"{event} {paths[-1].removeprefix(self._home)}")
        elif event == "subprocess.Popen":
            name = Path(str(arguments[0])).name
            if name in PROGRAMS:
                self._pass(f"program {name}")

    def _watch_calls(self) -> None:
        import httpx

        send = httpx.HTTPTransport.handle_request

        def passed(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            path = request.url.path
            if request.method != "GET" and not READS.search(path) and not OF_RUNS.match(path):
                self._pass(f"{request.method} {re.sub(r'[0-9a-f-]{36}', 'ID', path)}")
            return send(transport, request)

        httpx.HTTPTransport.handle_request = passed  # type: ignore[method-assign]

    def _watch_sql(self) -> None:
        import asyncpg

        for name in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
            setattr(asyncpg.Connection, name, self._watched(getattr(asyncpg.Connection, name)))

    def _watched(self, run: Callable[..., Any]) -> Callable[..., Any]:
        async def passed(connection: Any, statement: str, *arguments: Any, **options: Any) -> Any:
            if not re.match(r"\s*(SELECT|SHOW|WITH|SET|BEGIN)\b", statement, re.IGNORECASE):
                self._pass(f"SQL {' '.join(statement.split())[:60]}")
            return await run(connection, statement, *arguments, **options)

        return passed

    def _pass(self, what: str) -> None:
        self._count += self.is_counting and (self._after_commit or not self._kill.commits_alone)
        self._after_commit = bool(COMMITS.match(what))
        os.write(1, f"> {what}\n".encode())
        if self.is_counting and self._count == self._kill.at:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # the signal comes in this moment
