"""Rehearses an upgrade on a restored copy of the database, as a job on the host.

`python -P -m blocks.server.rehearse --run-dir DIR --old-python PATH --old-version V --new-version V
[--revision-before R]`, by the new release's Python, in a folder whose `prefect.toml` names the copy and the auth
string, with the encryption key in the environment. It migrates the copy and measures that, boots the new server on it
and then the old one, each alone and without background services, smoke-tests both, and migrates back to R.

Its last line on standard output is JSON, see `rehearse`. Exit status: 0 the upgrade would work, 1 it would not and
the last line on standard error says why, 2 wrong call or configuration. The old server not living on the new schema
is no failure, nor is a way back that does not work: the report says so, and the upgrade goes another way.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.server import child, private_server, smoke

MIGRATION_SECONDS = 3600.0
MOST_STEPS = 12
"""Steps of a migration that are reported: of a job's output 4 KiB are kept, and the report is its last line."""
NICE = 5
"""Added to our niceness: on a small machine a rehearsal must not take the processor from the server in use."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    run_dir: Path
    old_python: str
    old_version: str
    new_version: str
    revision_before: str
    migration_timeout: float


@dataclass(frozen=True)
class Migrated:
    """How a migration ended: what it printed, or why it failed."""

    report: Mapping[str, Any]
    problem: str = ""


def read_options(argv: Sequence[str] | None = None) -> Options:
    """Parse the command line; a wrong one ends with status 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m blocks.server.rehearse", description=__doc__)
    parser.add_argument("--run-dir", required=True, type=Path, help="folder of its own for sockets, logs and state")
    parser.add_argument("--old-python", required=True, help="Python of the release that serves now")
    parser.add_argument("--old-version", required=True, help="its Prefect version")
    parser.add_argument("--new-version", required=True, help="Prefect version of the release this runs with")
    parser.add_argument("--revision-before", default="", help="schema revision to go back to, to rehearse a rollback")
    parser.add_argument("--migration-timeout", type=float, default=MIGRATION_SECONDS, help="seconds, each way")
    return Options(**vars(parser.parse_args(argv)))


def judge_migration(status: int, output: str, errors: str) -> Migrated:
    """How a migration ended, from its exit status and what it printed."""
    if status:
        return Migrated({}, private_server.reason(errors).removeprefix("migrate: "))
    try:
        return Migrated(json.loads(output.splitlines()[-1]))
    except (ValueError, IndexError):
        return Migrated({}, "it printed no report")


def downgrade_wanted(revision_before: str, revision: str) -> bool:
    """Whether there is a way back to rehearse: where the schema has not moved there is none."""
    return bool(revision_before) and revision_before != revision


def rehearse(options: Options, auth_string: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Carry the rehearsal out. Returns what is printed; all times are seconds.

    {"from": revision, "to": revision, "migration_seconds": s, "steps": [{"what": …, "seconds": s}, …],
    "new": {"ready_seconds": s, "checks": [{"name": …, "found": …, "seconds": s}, …]},
    "old_serves": true, "old_reason": "", "old_ready_seconds": s or null,
    "downgrade_seconds": s or null, "downgrade_reason": ""}

    Raises:
        Blocked: the copy does not migrate, or the new server does not serve it.
    """
    up = migrate(options, "head", variables)
    if up.problem:
        raise Blocked(f"the copy does not migrate: {up.problem}")
    report = {
        "from": up.report["from"],
        "to": up.report["to"],
        "migration_seconds": up.report["seconds"],
        "steps": up.report["steps"][:MOST_STEPS],
        "new": try_new(options, auth_string, variables),
        **try_old(options, auth_string, variables),
    }
    return report | try_downgrade(options, up.report["to"], variables)


def try_new(options: Options, auth_string: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Boot the new server on the copy and smoke-test it.

    Raises:
        Blocked: it does not start or fails a check.
    """
    try:
        return try_server(sys.executable, options.new_version, "new", options, auth_string, variables)
    except (SelfhostError, smoke.CheckFailed) as error:
        raise Blocked(f"the new server (Prefect {options.new_version}) does not serve the copy: {error}") from error


def try_old(options: Options, auth_string: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """The same with the old server, which may fail: then it is drained before the new one starts."""
    try:
        tried = try_server(options.old_python, options.old_version, "old", options, auth_string, variables)
    except (SelfhostError, smoke.CheckFailed, OSError) as error:
        return {"old_serves": False, "old_reason": str(error)[: 2 * private_server.LONGEST_REASON]}
    return {"old_serves": True, "old_reason": "", "old_ready_seconds": tried["ready_seconds"]}


def try_server(
    python: str, version: str, slot: str, options: Options, auth_string: str, variables: Mapping[str, str]
) -> dict[str, Any]:
    with (
        private_server.booted(python, slot, options.run_dir, variables) as server,
        smoke.client(server.url, auth_string) as http,
    ):
        return {"ready_seconds": server.ready_seconds, "checks": smoke.run(http, smoke.checks(version))}


def try_downgrade(options: Options, revision: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """Migrate the copy back, which a rollback of the upgrade would do."""
    if not downgrade_wanted(options.revision_before, revision):
        return {"downgrade_seconds": None, "downgrade_reason": ""}
    down = migrate(options, options.revision_before, variables)
    return {"downgrade_seconds": down.report.get("seconds"), "downgrade_reason": down.problem}


def migrate(options: Options, to: str, variables: Mapping[str, str]) -> Migrated:
    """Run the migration job of this release on the copy."""
    argv = [sys.executable, "-P", "-m", "blocks.server.migrate", "--to", to, "--alone"]
    try:
        done = subprocess.run(
            child.command(argv, bound=True),
            env=dict(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=options.migration_timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Migrated({}, f"it took longer than {options.migration_timeout:g} s")
    return judge_migration(done.returncode, done.stdout, done.stderr)


def configured_auth_string() -> str:
    """The auth string of the settings; empty where the server asks for none.

    Raises:
        blocks.server.serve.WrongCall: the settings are not valid.
    """
    from blocks.server.serve import current_settings, require_postgresql

    settings = current_settings()
    require_postgresql(settings)
    given = settings.server.api.auth_string
    return given.get_secret_value() if given else ""


def end_with_parent() -> None:
    """Be told to end when whoever started this dies; what runs below this process then ends with it."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(child.PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)


def _leave(signum: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(f"rehearse: told to end by {signal.Signals(signum).name}")


def main(argv: Sequence[str] | None = None) -> int:
    from blocks.server import serve

    options, began = read_options(argv), time.monotonic()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _leave)
    end_with_parent()
    os.nice(NICE)
    try:
        options.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        auth_string = configured_auth_string()
        report = rehearse(options, auth_string, private_server.environment(os.environ, options.run_dir))
    except serve.WrongCall as error:
        sys.stderr.write(f"rehearse: {error}\n")
        return 2
    except (Blocked, NotReady, OSError) as error:
        sys.stderr.write(f"rehearse: {error}\n")
        return 1
    sys.stdout.write(json.dumps(report | {"seconds": round(time.monotonic() - began, 2)}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
