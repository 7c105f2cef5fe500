"""One stack with a fake host for all kills; each of them leaves it as a stack that stands."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from blocks.agent.files import write_atomically
from blocks.host.secret_files import DATABASE_ADMIN_PASSWORD
from blocks.postgres.programs import DATABASE, OWNER
from tests.fake_agent import Behaviour, behave
from tests.kills.killing import NEVER, Ended, Kill, carried_out
from tests.kills.verbs import require_in_line
from tests.kills.world import REVISION, World, bring, inside
from tests.postgres import Cluster, running_cluster
from tests.prefect_server import running_server

VERSION = "3.8.8"
FEWEST = 2
"""Boundaries that any action has."""
MOST = 200
"""More than any action has boundaries: one that never comes to its end must not be killed for ever."""
REHEARSAL = """/bin/sh -c 'echo "{\\"old_serves\\": true}"'"""
"""Stands for the rehearsal: the old server lives on the new schema."""
SCHEMA = (
    "CREATE TABLE alembic_version (version_num text NOT NULL)",
    "CREATE TABLE variable (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text)",
    "CREATE TABLE block_document (id uuid, name text, created timestamptz, updated timestamptz, data jsonb)",
)
"""As much of Prefect's as a backup and a restore look at: dumps of it take a tenth of a second."""


@dataclass(frozen=True)
class Trials:
    """A stack on which actions are carried out in processes of their own, and killed."""

    world: World
    cluster: Cluster
    log: Path

    def do(self, action: Callable[..., None], *arguments: Any, kill: Kill = NEVER) -> Ended:
        return carried_out(inside, action, self.world, *arguments, home=self.world.home, log=self.log, kill=kill)

    def require(self, action: Callable[..., None], *arguments: Any) -> Ended:
        done = self.do(action, *arguments)
        assert done.status == 0, done.text
        return done

    def behave(self, **more: Any) -> None:
        """Have the host behave from now on; `more` of `Behaviour` where not all goes well."""
        url = self.cluster.url(DATABASE).replace("+asyncpg", "")
        migration = f"{sys.executable} {Path(__file__).with_name('stand_in_migration.py')} {url}"
        jobs = {"migrate": migration, "rehearse": REHEARSAL, **more.pop("jobs", {})}
        behave(self.world.home, Behaviour(jobs=jobs, **more))

    def other_slot(self) -> str:
        """The service in the slot where no server runs."""
        spec = json.loads((self.world.home / "agent/spec.json").read_text())
        running = {each["name"] for each in spec["services"]}
        return next(each for each in ("server-blue", "server-green") if each not in running)

    def drop_older_backups(self) -> None:
        """All but the newest: each adds boundaries to the next attempt, which would never come to its end."""
        for each in sorted((self.world.home / "store/backups").iterdir())[:-1]:
            shutil.rmtree(each)

    def sql(self, statement: str, database: str = DATABASE) -> list[list[Any]]:
        return [list(row) for row in self.cluster.execute(statement, database)]


@dataclass(frozen=True)
class Killed:
    """Carries an action out, killed before its first boundary, then before its second, until it comes to its end.

    After each kill the test goes on from there, and puts all back for the next one. An argument that can be called is
    asked with the kill's number.
    """

    trials: Trials
    commits_alone: bool

    def __call__(self, action: Callable[..., None], *arguments: Any) -> Iterator[Ended]:
        for number in range(1, MOST):
            asked = [each(number) if callable(each) else each for each in arguments]
            done = self.trials.do(action, *asked, kill=Kill(number, self.commits_alone))
            if not done.is_killed:
                assert done.status == 0, done.text
                assert number >= FEWEST, "hardly anything was watched"
                return
            print(f"killed before {done.boundaries[-1]}")
            yield done
        raise AssertionError(f"{action.__name__} does not come to its end")


@pytest.fixture(
    params=[
        pytest.param(True, id="after each commit point"),
        pytest.param(False, id="at every boundary", marks=pytest.mark.rare),
    ]
)
def killed(trials: Trials, request: pytest.FixtureRequest) -> Killed:
    """All kills of an action; CI has those at its commit points."""
    return Killed(trials, request.param)


@pytest.fixture(scope="package")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """A stack that stands."""
    log = tmp_path_factory.mktemp("kills") / "log"
    with tempfile.TemporaryDirectory(prefix="kil-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        home = Path(folder) / "h"
        for each in (home, home / "postgres", home / "releases", home / "secrets"):
            each.mkdir(mode=0o711)
        Path(folder).chmod(0o711)
        (home / "releases/tools-1").symlink_to(sys.prefix)
        with (
            running_cluster("postgres", home / "postgres") as cluster,
            _server(cluster, tmp_path_factory.mktemp("server")) as server,
        ):
            write_atomically(home / "secrets" / DATABASE_ADMIN_PASSWORD, cluster.password.encode())
            made = Trials(World(home, f"kil-{secrets.token_hex(4)}", server, cluster.port), cluster, log)
            try:
                made.require(bring, VERSION)
                made.behave()
                for table in SCHEMA:
                    made.sql(table)
                    made.sql(f"ALTER TABLE {table.split()[2]} OWNER TO {OWNER}")
                made.sql(f"INSERT INTO alembic_version VALUES ('{REVISION}')")
                yield made
            finally:
                if (home / "agent/agent.pyz").exists():
                    subprocess.run([sys.executable, home / "agent/agent.pyz", "stop", "--home", home], check=True)


def _server(cluster: Cluster, folder: Path) -> AbstractContextManager[str]:
    """A server; or the one of SELFHOST_TEST_SERVER, started before, to develop tests."""
    url = os.environ.get("SELFHOST_TEST_SERVER")
    return nullcontext(url) if url else running_server(cluster, folder)


@pytest.fixture(autouse=True)
def left_in_line(trials: Trials) -> Iterator[None]:
    yield
    trials.require(require_in_line)
