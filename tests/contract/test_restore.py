"""A dump arrives whole in an older server too, or not at all; on a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.postgres import programs as postgres
from blocks.postgres.programs import Login
from blocks.waiting import wait_until
from tests.postgres import OWNER, SYSTEM_USER, Cluster, free_port, reachable_programs

OLDER = next((each for each in Path("/usr/lib/postgresql").glob("1[3-6]/bin") if (each / "postgres").exists()), None)
"""Programs of the system's own PostgreSQL."""
ROWS = 20_000
CONTENT = f"""\
CREATE TABLE public.flow (id int primary key, name text);
INSERT INTO public.flow SELECT n, 'flow ' || n FROM generate_series(1, {ROWS}) n;
CREATE TABLE public.line (text text);
INSERT INTO public.line SELECT 'SET transaction_timeout = 0;' FROM generate_series(1, 100);
"""
BEGINS_AND_DIES = """\
#!/bin/sh
printf 'CREATE TABLE public.flow (id int);\\nCOPY public.flow FROM stdin;\\n1\\n2\\n'
kill -9 $$
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
def dump(login: Login, programs: Path, tmp_path: Path) -> Path:
    """A dump of some content; its database is empty again."""
    path = tmp_path / "dump"
    postgres.query(programs, login, CONTENT)
    postgres.dump(programs, login, path)
    postgres.query(programs, login, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    return path


def with_program(programs: Path, folder: Path, name: str, text: str) -> Path:
    """The programs, one of them replaced."""
    folder.mkdir()
    for each in programs.iterdir():
        (folder / each.name).symlink_to(each)
    (folder / name).unlink()
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return folder


def test_a_script_brings_all_of_it(programs: Path, login: Login, dump: Path) -> None:
    postgres.restore_as_script(programs, login, dump)
    assert postgres.row_counts(programs, login) == {"flow": ROWS, "line": 100}
    assert [each.name for each in dump.parent.iterdir()] == ["dump"]


def test_pg_restore_killed_within_a_table_leaves_nothing(
    programs: Path, login: Login, dump: Path, tmp_path: Path
) -> None:
    dying = with_program(programs, tmp_path / "bin", "pg_restore", BEGINS_AND_DIES)
    with pytest.raises(Blocked, match="pg_restore failed") as caught:
        postgres.restore_as_script(dying, login, dump)
    assert "nothing was changed" in caught.value.hint
    assert postgres.row_counts(programs, login) == {}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bin", "dump"]


def test_a_dump_cut_off_within_a_table_leaves_nothing(programs: Path, login: Login, dump: Path) -> None:
    dump.write_bytes(dump.read_bytes()[:-20_000])
    with pytest.raises(Blocked, match="pg_restore failed"):
        postgres.restore_as_script(programs, login, dump)
    assert postgres.row_counts(programs, login) == {}


def test_a_table_in_the_way_leaves_nothing_else(programs: Path, login: Login, dump: Path) -> None:
    postgres.query(programs, login, "CREATE TABLE public.line (text text)")
    with pytest.raises(Blocked, match="psql failed"):
        postgres.restore_as_script(programs, login, dump)
    assert postgres.row_counts(programs, login) == {"line": 0}


def test_the_script_is_ours_alone_and_psql_holds_the_lease(
    programs: Path, login: Login, dump: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    look = f'#!/bin/sh\nfor script; do :; done\n{{ stat -c "mode %a" "$script"; ls -l /proc/$$/fd; }} > {said}\n'
    looking = with_program(programs, tmp_path / "bin", "psql", look)
    with (tmp_path / "lease.json").open("w") as lease:
        postgres.restore_as_script(looking, login, dump, (lease.fileno(),))
    assert said.read_text().startswith("mode 600\n")
    assert f"-> {tmp_path}/lease.json\n" in said.read_text()


@pytest.mark.skipif(OLDER is None, reason="there is no PostgreSQL before 17 in /usr/lib/postgresql")
def test_a_server_before_17_takes_it(programs: Path, login: Login, dump: Path) -> None:
    assert OLDER is not None
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        Path(folder).chmod(0o711)
        cluster = postgres.Cluster(OLDER, Path(folder) / "pg", free_port(), SYSTEM_USER if os.geteuid() == 0 else "")
        cluster.initialise(login.password)
        process = cluster.start(Path(folder) / "log")
        try:
            older = Login("127.0.0.1", cluster.port, postgres.ADMIN, login.password, "postgres")
            wait_until(lambda: postgres.query(programs, older, "SELECT 1"), "its start", timeout=60, every=0.1)
            postgres.restore(programs, older, dump)
            assert postgres.row_counts(programs, older) == {"flow": ROWS, "line": 100}
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
