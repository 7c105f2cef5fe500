"""Migrations between two real releases on a real PostgreSQL, after kills, behind readers and beside each other.

Revisions are those of Prefect 3.8.8. A build is held at a known point by an open transaction, which it waits for.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL, temporary_settings

from blocks.errors import Blocked, WrongCall
from blocks.server.migrate import Journal, main, read_options, run
from blocks.server.schema import installed_lineage
from blocks.waiting import wait_until
from tests.postgres import Cluster, base_environment, connected

pytestmark = pytest.mark.fault

BEFORE_THE_INDEXES = "7218aad17905"
"""The next migration makes an index IF NOT EXISTS, without a look at whether one that exists is valid."""
FIRST_INDEX = "ix_event_resources__occurred"
BEFORE_THE_CHECK = "09a9e091e578"
"""The next migration alters the table `block_document_reference`, for which it must be had alone."""
ALTERED = "block_document_reference"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
BUILDERS = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database()"
HOLDS_A_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ"


class Database:
    """One database, and the program run on it: in a process of its own, or here."""

    def __init__(self, cluster: Cluster, name: str, home: Path) -> None:
        self.name, self.home, self.url, self._cluster = name, home, cluster.url(name), cluster

    def execute(self, statement: str) -> list[Any]:
        return self._cluster.execute(statement, self.name)

    def revision(self) -> str:
        return str(self.execute("SELECT version_num FROM alembic_version")[0][0])

    @contextmanager
    def configured(self) -> Iterator[None]:
        chosen = temporary_settings({PREFECT_SERVER_DATABASE_CONNECTION_URL: self.url})
        with chosen, pytest.MonkeyPatch.context() as once:
            for each in MODELS_DEPENDENCIES:  # Prefect keeps the first database of a process
                once.setitem(MODELS_DEPENDENCIES, each, None)
            yield

    def migrate(self, *argv: str) -> dict[str, Any]:
        with self.configured():
            return run(read_options(argv), Journal())

    def start(self, *argv: str, python: str | Path = sys.executable) -> subprocess.Popen[str]:
        """Start a program with this database configured."""
        variables = base_environment(self.home) | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": self.url}
        return subprocess.Popen(
            [python, *argv], env=variables, cwd=self.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def start_migration(self, *argv: str, python: str | Path = sys.executable) -> subprocess.Popen[str]:
        return self.start("-P", "-m", "blocks.server.migrate", *argv, python=python)

    def builder(self, other_than: int = 0) -> int:
        """Wait for an index build; returns its database process."""
        seen = wait_until(
            lambda: [row[0] for row in self.execute(BUILDERS) if row[0] != other_than],
            "an index build",
            timeout=60,
            every=0.05,
        )
        return int(seen[0])


@pytest.fixture
def database(cluster: Cluster, older_database: str, tmp_path: Path) -> Iterator[Database]:
    """A database at the older release's schema."""
    name = f"migrate-{tmp_path.name}"[:60]
    cluster.create_database(name, older_database)
    yield Database(cluster, name, tmp_path)
    cluster.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def indexless(database: Database) -> Database:
    """One whose next migration builds the first of the indexes."""
    database.migrate("--to", BEFORE_THE_INDEXES)
    return database


def said(report: dict[str, Any]) -> str:
    return "; ".join(each["what"] for each in report["steps"])


def test_up_as_a_program_and_its_last_line_is_the_report(database: Database) -> None:
    before = database.revision()
    output, errors = (program := database.start_migration()).communicate(timeout=60)
    assert program.returncode == 0, errors
    report = json.loads(output)
    head = installed_lineage().head
    assert (report["from"], report["to"], database.revision()) == (before, head, head)
    assert said(report) == f"migrated up from {before} to {head}"
    assert 0 < report["steps"][0]["seconds"] <= report["seconds"]


def test_nothing_to_do_is_said_and_quick(database: Database) -> None:
    database.migrate()
    report = database.migrate()
    assert "nothing to do" in said(report)
    assert report["from"] == report["to"] == installed_lineage().head
    assert report["seconds"] < 1


def test_down_and_up_again(database: Database) -> None:
    before = database.revision()
    assert database.migrate()["to"] == installed_lineage().head
    assert f"migrated down from {installed_lineage().head} to {before}" in said(database.migrate("--to", before))
    assert database.revision() == before
    assert database.migrate()["from"] == before


def test_an_empty_database_gets_the_whole_schema(cluster: Cluster, tmp_path: Path) -> None:
    cluster.create_database("from-nothing")
    report = Database(cluster, "from-nothing", tmp_path).migrate()
    assert (report["from"], report["to"]) == ("", installed_lineage().head)


def test_a_schema_newer_than_the_release_is_refused(database: Database) -> None:
    database.execute("UPDATE alembic_version SET version_num = 'of-a-newer-one'")
    with pytest.raises(Blocked, match="stands at revision of-a-newer-one, which this release does not know"):
        database.migrate()
    assert database.revision() == "of-a-newer-one"


def test_a_revision_nobody_knows_is_a_wrong_call(database: Database) -> None:
    with pytest.raises(WrongCall, match="knows no schema revision 'nonsense'"):
        database.migrate("--to", "nonsense")


def test_a_database_that_is_not_there_is_said_in_one_line(
    cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Database(cluster, "not-there", tmp_path).configured():
        assert main([]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", 'migrate: database "not-there" does not exist\n')


def test_a_build_of_a_killed_prefect_is_ended_and_done_again_however_long_it_waits(indexless: Database) -> None:
    with connected(indexless.url, "a-dump") as dump:
        dump(HOLDS_A_SNAPSHOT)
        dump("SELECT 1")
        upgrade = indexless.start("-m", "prefect", "server", "database", "upgrade", "--yes")
        leftover = indexless.builder()
        upgrade.kill()
        upgrade.communicate()
        assert indexless.execute(BUILDERS)[0][0] == leftover, "PostgreSQL goes on building"
        program = indexless.start_migration("--lock-timeout", "0.2")
        indexless.builder(other_than=leftover)
        time.sleep(0.6)  # three times what it would wait for a lock that others queue behind
        assert program.poll() is None
        dump("COMMIT")
    report = json.loads(program.communicate(timeout=60)[0])
    assert "ended a leftover index build on event_resources" in said(report)
    assert f"dropped the invalid index {FIRST_INDEX}" in said(report)
    assert "attempt" not in said(report)
    assert_whole(indexless)


@pytest.mark.fault
def test_killed_itself_it_leaves_no_build_and_the_next_one_mends_the_index(indexless: Database) -> None:
    with connected(indexless.url, "a-dump") as dump:
        dump(HOLDS_A_SNAPSHOT)
        dump("SELECT 1")
        program = indexless.start_migration()
        indexless.builder()
        program.kill()
        program.communicate()
        wait_until(lambda: not indexless.execute(BUILDERS), "the build's end", timeout=10, every=0.05)
    assert indexless.execute(INVALID)[0][0] == 1
    assert f"dropped the invalid index {FIRST_INDEX}" in said(indexless.migrate())
    assert_whole(indexless)


def assert_whole(database: Database) -> None:
    assert database.revision() == installed_lineage().head
    assert database.execute(INVALID)[0][0] == 0
    assert database.execute(f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{FIRST_INDEX}'::regclass")[0][0]


def test_an_invalid_index_which_no_migration_makes_again_is_rebuilt(database: Database) -> None:
    database.migrate()
    database.execute(f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{FIRST_INDEX}'::regclass")
    assert said(database.migrate()).startswith(f"rebuilt the invalid index {FIRST_INDEX}")
    assert_whole(database)


def test_behind_a_long_reader_others_wait_a_moment_and_it_comes_through(database: Database) -> None:
    read = f"SELECT count(*) FROM {ALTERED}"
    with connected(database.url, "a-long-reader") as reader, connected(database.url, "others") as others:
        reader("BEGIN")
        reader(read)
        program = Background(lambda: database.migrate("--to", BEFORE_THE_CHECK, "--lock-timeout", "0.5"))
        waited = []
        while program.is_running() and sum(waited) < 60:
            began = time.monotonic()
            others(read)
            waited.append(time.monotonic() - began)
            if sum(each > 0.2 for each in waited) == 2:
                reader("COMMIT")
    report = program.result()
    assert "attempt 1 gave up: no lock in time; the oldest transaction is a-long-reader" in said(report)
    assert database.revision() == BEFORE_THE_CHECK
    assert 0.2 < max(waited) < 1.5, "the lock timeout, and some for a busy machine"


def test_a_reader_who_never_ends_is_named_after_the_last_attempt(database: Database) -> None:
    before = database.revision()
    with connected(database.url, "a-stuck-reader") as reader:
        reader("BEGIN")
        reader(f"SELECT count(*) FROM {ALTERED}")
        with pytest.raises(Blocked, match=r"stopped at attempt 2: .*a-stuck-reader .*idle in transaction") as caught:
            database.migrate("--to", BEFORE_THE_CHECK, "--lock-timeout", "0.2", "--attempts", "2")
    assert len(str(caught.value).splitlines()) == 1
    assert database.revision() == BEFORE_THE_INDEXES != before, "what was recorded before it stays"


def test_of_two_at_once_the_second_waits_and_says_for_whom(indexless: Database) -> None:
    with connected(indexless.url, "a-dump") as dump:
        dump(HOLDS_A_SNAPSHOT)
        dump("SELECT 1")
        first = indexless.start_migration()
        indexless.builder()
        second = indexless.start_migration()
        assert second.stderr is not None
        assert f"waiting for selfhost migrate, process {first.pid}" in second.stderr.readline()
        dump("COMMIT")
    assert "migrated up" in said(json.loads(first.communicate(timeout=60)[0]))
    report = json.loads(second.communicate(timeout=60)[0])
    assert f"waited for selfhost migrate, process {first.pid}" in said(report)
    assert "nothing to do" in said(report)
    assert_whole(indexless)


def test_told_that_it_is_a_copy_it_refuses_a_database_in_use(database: Database) -> None:
    before = database.revision()
    with connected(database.url, "the-real-server"), pytest.raises(Blocked, match="in use by the-real-server"):
        database.migrate("--alone")
    assert database.revision() == before
    assert database.migrate("--alone")["from"] == before


class Background:
    """A call in a thread, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call, self._ended = call, list[Any]()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._ended.append(self._call())

    def is_running(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> Any:
        self._thread.join(60)
        return self._ended[0]
