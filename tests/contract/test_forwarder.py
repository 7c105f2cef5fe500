"""pg_dump and pg_restore, which know no TLS, against a PostgreSQL that speaks it."""

from __future__ import annotations

import asyncio
import gc
import os
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.database import Mode, Tls
from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.postgres import forwarder, tls
from tests.postgres import OWNER, Cluster, free_port, reachable_programs
from tests.tls import Authority, TlsServer, authority, tls_before


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reachable_programs(tmp_path_factory.mktemp("programs"))


@pytest.fixture
def server(cluster: Cluster, ours: Authority, tmp_path: Path) -> Iterator[TlsServer]:
    with tls_before(cluster.port, ours.issue(tmp_path, "127.0.0.1")) as found:
        yield found


def environment(cluster: Cluster, host: str, port: int, database: str) -> dict[str, str]:
    return {
        "PGHOST": host,
        "PGPORT": str(port),
        "PGUSER": OWNER,
        "PGPASSWORD": cluster.password,
        "PGDATABASE": database,
        "PGCONNECT_TIMEOUT": "5",
    }


def run(programs: Path, argv: list[str], variables: dict[str, str]) -> bytes:
    done = subprocess.run([programs / argv[0], *argv[1:]], env=variables, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(cluster: Cluster, name: str, rows: int) -> None:
    cluster.create_database(name)
    cluster.execute(f"CREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, {rows}) n", name)


DUMP = ["pg_dump", "--format=plain", "--restrict-key=a"]
"""Without the random word that a plain dump has otherwise."""


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_dump_by_tls_is_the_same(
    cluster: Cluster,
    server: TlsServer,
    ours: Authority,
    programs: Path,
    mode: Mode,
) -> None:
    name = f"by-{mode}"
    content(cluster, name, 50_000)
    plain = run(programs, DUMP, environment(cluster, "127.0.0.1", cluster.port, name))
    with forwarder.forwarded("127.0.0.1", server.port, Tls(mode, "" if mode == "require" else ours.pem)) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert run(programs, DUMP, environment(cluster, str(folder), forwarder.PORT, name)) == plain
    assert not folder.exists()
    assert server.calls >= 1 and server.heard_in_clear == []


def test_a_restore_with_two_jobs_comes_through(
    cluster: Cluster, server: TlsServer, ours: Authority, programs: Path, tmp_path: Path
) -> None:
    content(cluster, "first", 100_000)
    cluster.execute("CREATE TABLE u AS SELECT * FROM t", "first")
    cluster.create_database("second")
    with forwarder.forwarded("127.0.0.1", server.port, Tls("verify-full", ours.pem)) as folder:
        where = environment(cluster, str(folder), forwarder.PORT, "first")
        run(programs, ["pg_dump", "--format=custom", "--file", str(tmp_path / "dump")], where)
        run(programs, ["pg_restore", "--jobs=2", "--dbname=second", str(tmp_path / "dump")], where)
    assert cluster.execute("SELECT count(*) FROM u", "second")[0][0] == 100_000
    assert server.calls >= 4 and server.heard_in_clear == []


def refusal(port: int, wanted: Tls, programs: Path, cluster: Cluster, host: str = "127.0.0.1") -> SelfhostError:
    """What comes of a dump that must not be made."""
    with pytest.raises(SelfhostError) as caught, forwarder.forwarded(host, port, wanted) as folder:
        where = environment(cluster, str(folder), forwarder.PORT, "postgres")
        done = subprocess.run([programs / "pg_dump"], env=where, capture_output=True, check=False, timeout=60)
        assert done.returncode != 0
    assert "\n" not in caught.value.what
    return caught.value


def test_a_wrong_authority_is_refused(cluster: Cluster, server: TlsServer, programs: Path) -> None:
    found = refusal(server.port, Tls("verify-ca", authority("another").pem), programs, cluster)
    assert isinstance(found, Blocked) and "is not believed" in found.what and "sslrootcert" in found.hint
    assert server.heard_in_clear == []


def test_a_wrong_name_is_refused_where_it_is_looked_at(
    cluster: Cluster, server: TlsServer, ours: Authority, programs: Path, tmp_path: Path
) -> None:
    server.context = ours.issue(tmp_path, "db.example.org")
    found = refusal(server.port, Tls("verify-full", ours.pem), programs, cluster)
    assert isinstance(found, Blocked) and "for another name" in found.what and "verify-ca" in found.hint
    with forwarder.forwarded("127.0.0.1", server.port, Tls("verify-ca", ours.pem)) as folder:
        run(programs, DUMP, environment(cluster, str(folder), forwarder.PORT, "postgres"))
    assert server.heard_in_clear == []


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_server_without_tls_is_refused_and_told_nothing(
    cluster: Cluster,
    server: TlsServer,
    ours: Authority,
    programs: Path,
    mode: Mode,
) -> None:
    server.context = None
    found = refusal(server.port, Tls(mode, "" if mode == "require" else ours.pem), programs, cluster)
    assert isinstance(found, Blocked) and "does not speak TLS" in found.what and found.hint
    assert server.calls >= 1 and server.heard_in_clear == []


def test_a_server_that_is_away_is_waited_for(cluster: Cluster, ours: Authority, programs: Path) -> None:
    found = refusal(free_port(), Tls("verify-full", ours.pem), programs, cluster)
    assert isinstance(found, NotReady) and "does not answer" in found.what


def test_what_comes_along_with_the_answer_is_not_believed(cluster: Cluster, ours: Authority, programs: Path) -> None:
    """Somebody in between says yes and, unencrypted, what the database might say."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            call, _ = listening.accept()
            with call:
                call.recv(8)
                call.sendall(b"S" + b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I")
                call.recv(1 << 16)

        threading.Thread(target=answer, daemon=True).start()
        found = refusal(listening.getsockname()[1], Tls("require"), programs, cluster)
    assert isinstance(found, Blocked) and "no common TLS" in found.what


def test_an_authority_that_is_none_is_named() -> None:
    with pytest.raises(Blocked, match="sslrootcert holds no certificate"):
        tls.context(Tls("verify-ca", "-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n"))
    with pytest.raises(Blocked, match="sslrootcert holds no certificate"):
        tls.context(Tls("verify-ca", "none"))


def test_the_look_alone_says_the_same(server: TlsServer, ours: Authority) -> None:
    asyncio.run(tls.require("127.0.0.1", server.port, Tls("verify-full", ours.pem)))
    with pytest.raises(Blocked, match="is not believed"):
        asyncio.run(tls.require("127.0.0.1", server.port, Tls("verify-full", authority().pem)))


def test_nothing_stays_of_it(server: TlsServer, ours: Authority) -> None:
    gc.collect()  # what tests before have left open is none of ours
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with forwarder.forwarded("127.0.0.1", server.port, Tls("verify-full", ours.pem)):
            pass
    assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= files  # noqa: PTH208  (less where a connection of theirs ends meanwhile)
