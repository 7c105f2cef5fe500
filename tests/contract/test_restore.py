"""A dump arrives whole, or not at all; on a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.postgres import content, dump, sql
from blocks.postgres.connection import Login
from tests.postgres import OWNER, Cluster, query, reachable_programs
from tests.stack import eventually

ROWS = 20_000
CONTENT = f"""\
CREATE TABLE public.flow (id int primary key, name text);
INSERT INTO public.flow SELECT n, 'flow ' || n FROM generate_series(1, {ROWS}) n;
CREATE TABLE public.line (text text);
INSERT INTO public.line SELECT 'SET transaction_timeout = 0;' FROM generate_series(1, 100);
"""


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        Path(folder).chmod(0o711)
        yield reachable_programs(Path(folder))


@pytest.fixture
def login(cluster: Cluster, tmp_path: Path) -> Iterator[Login]:
    """An empty database."""
    name = f"restore-{tmp_path.name}"[:60]
    cluster.create_database(name)
    yield Login("127.0.0.1", cluster.port, OWNER, cluster.password, name)
    cluster.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def dumped(login: Login, programs: Path, tmp_path: Path) -> Path:
    """A dump of some content; its database is empty again."""
    path = tmp_path / "dump"
    query(login, CONTENT)
    dump.dump(programs, login, path)
    query(login, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return path


def rows(login: Login) -> dict[str, int]:
    with sql.session(login) as session:
        return content.row_counts(session)


def with_program(programs: Path, folder: Path, name: str, text: str) -> Path:
    """The programs, one of them replaced."""
    folder.mkdir()
    for each in programs.iterdir():
        (folder / each.name).symlink_to(each)
    (folder / name).unlink()
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder


def test_all_of_it_arrives(programs: Path, login: Login, dumped: Path) -> None:
    dump.restore(programs, login, dumped)
    assert rows(login) == {"flow": ROWS, "line": 100}


def test_pg_restore_killed_within_its_work_leaves_nothing(
    programs: Path, login: Login, dumped: Path, tmp_path: Path
) -> None:
    """It is killed while it waits for somebody who is making a table of the same name, one before having been made."""
    noting = f'#!/bin/sh\necho $$ > {tmp_path}/pid\nexec {programs}/pg_restore "$@"\n'
    bin_folder = with_program(programs, tmp_path / "bin", "pg_restore", noting)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
    with ThreadPoolExecutor(1) as beside, sql.session(login) as other:
        other.execute("BEGIN")
        other.execute("CREATE TABLE public.line (text text)")
        restoring = beside.submit(dump.restore, bin_folder, login, dumped)
        eventually(lambda: query(login, waits, login.database) == [["1"]], "a restore that waits", 20)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        with pytest.raises(Blocked, match="pg_restore failed") as caught:
            restoring.result()
        other.execute("ROLLBACK")
    assert "nothing was changed" in caught.value.hint
    assert rows(login) == {}


def test_a_dump_cut_off_within_a_table_leaves_nothing(programs: Path, login: Login, dumped: Path) -> None:
    dumped.write_bytes(dumped.read_bytes()[:-20_000])
    with pytest.raises(Blocked, match="pg_restore failed"):
        dump.restore(programs, login, dumped)
    assert rows(login) == {}


def test_a_table_in_the_way_leaves_nothing_else(programs: Path, login: Login, dumped: Path) -> None:
    query(login, "CREATE TABLE public.line (text text)")
    with pytest.raises(Blocked, match="pg_restore failed"):
        dump.restore(programs, login, dumped)
    assert rows(login) == {"line": 0}


def test_pg_restore_holds_the_lease(programs: Path, login: Login, dumped: Path, tmp_path: Path) -> None:
    said = tmp_path / "said"
    looking = with_program(programs, tmp_path / "bin", "pg_restore", f"#!/bin/sh\nls -l /proc/$$/fd > {said}\n")
    with (tmp_path / "lease.json").open("w") as lease:
        dump.restore(looking, login, dumped, (lease.fileno(),))
    assert f"-> {tmp_path}/lease.json\n" in said.read_text()
