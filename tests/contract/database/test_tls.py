"""A PostgreSQL that is to be reached by TLS alone: what we ask it, what Prefect does, and what a refusal says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import pytest

from blocks.database import Mode, Tls
from blocks.errors import Blocked
from blocks.local.proxy import LocalProxy
from blocks.postgres import sql
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Apply, visit
from blocks.services import ServerSecrets, server_files
from flows.restore import steps
from tests.contract.database.databases import PASSWORD, fill, named, promote, secrets_of, url_database
from tests.postgres import Cluster, base_environment, free_port
from tests.tls import Authority, TlsServer, authority, tls_before

LOGIN = "database-login@1"
OBSERVE = """
import asyncio, os, sys
import prefect.server.database
from prefect.context import refresh_global_settings_context
from blocks.server.schema import observe
for folder in sys.argv[1:]:
    if os.fork() == 0:  # Prefect is imported once, which takes longest
        os.chdir(folder)
        refresh_global_settings_context()
        print(os.path.basename(folder), asyncio.run(observe()), flush=True)
        os._exit(0)
for _ in sys.argv[1:]:
    os.wait()
os._exit(0)
"""


@pytest.fixture(scope="module")
def ours() -> Authority:
    return authority()


@pytest.fixture
def server(cluster: Cluster, ours: Authority, tmp_path: Path) -> Iterator[TlsServer]:
    with tls_before(cluster.port, ours.issue(tmp_path, "127.0.0.1")) as found:
        yield found
    assert found.heard_in_clear == [], "something was said before TLS"


@pytest.fixture
def database(home: Path, programs: Path, cluster: Cluster, server: TlsServer, ours: Authority) -> Iterator[UrlDatabase]:
    """A database that was given to us, marked as ours, with a login as Cloud SQL gives one."""
    app = f"app {home.name}"
    cluster.execute(f"CREATE ROLE \"{app}\" LOGIN CREATEDB CREATEROLE PASSWORD '{PASSWORD}'")
    cluster.execute(f'CREATE DATABASE "{home.name}" OWNER "{app}"')
    (home / "password").write_text(PASSWORD)
    url = f"postgresql://{quote(app)}@127.0.0.1:{server.port}/{home.name}"
    plain = url_database(home, programs, url, home / "password")
    found = replace(plain, tls=Tls("verify-full", ours.pem))
    secrets_of(found)
    visit(named(found, "database"), Apply())
    yield found
    cluster.drop_databases(home.name)
    cluster.drop_roles("selfhost_trial_%", app)


def asking(database: UrlDatabase, mode: Mode, ours: Authority) -> UrlDatabase:
    return replace(database, tls=Tls(mode, "" if mode == "require" else ours.pem))


def test_all_that_is_done_with_it_goes_by_tls(database: UrlDatabase, server: TlsServer, tmp_path: Path) -> None:
    fill(database)
    before = database.content()
    assert database.dump(tmp_path / "dump") == before
    with database.scratch("drill") as scratch:
        scratch.restore(tmp_path / "dump", jobs=2)
        assert scratch.content() == before
    with database.beside() as copy:
        copy.restore(tmp_path / "dump")
        database.swap("20261124T120000Z")
    assert database.content() == before and database.vitals().size > 0
    assert list(database.kept()) == [f"{database.login().database}-before-20261124T120000Z"]
    new = database.new_login()
    database.admit(new)
    promote(database, new)
    database.refuse_others(new)
    assert database.content() == before
    database.drop_kept(next(iter(database.kept())))
    assert server.calls > 20 and server.heard_in_clear == []


@pytest.mark.parametrize("mode", get_args(Mode))
def test_a_server_without_tls_is_one_line_and_told_nothing(
    database: UrlDatabase, server: TlsServer, ours: Authority, mode: Mode
) -> None:
    asking_for = asking(database, mode, ours)
    assert asking_for.faults() == []
    server.context = None
    (fault,) = asking_for.faults()
    assert "does not speak TLS" in fault and "ssl = on" in fault and "\n" not in fault
    with pytest.raises(Blocked, match="does not speak TLS"):
        asking_for.row_counts()


def test_a_wrong_authority_is_one_line(database: UrlDatabase) -> None:
    (fault,) = replace(database, tls=Tls("verify-ca", authority("another").pem)).faults()
    assert "is not believed" in fault and "sslrootcert" in fault and "\n" not in fault


def test_without_an_authority_those_of_this_machine_count(database: UrlDatabase) -> None:
    (fault,) = replace(database, tls=Tls("verify-full")).faults()
    assert "is not believed" in fault


def test_a_wrong_name_is_one_line_where_it_is_looked_at(
    database: UrlDatabase, server: TlsServer, ours: Authority, tmp_path: Path
) -> None:
    server.context = ours.issue(tmp_path, "db.example.org")
    (fault,) = database.faults()
    assert "for another name" in fault and 'sslmode = "verify-ca"' in fault and "\n" not in fault
    assert replace(database, tls=Tls("verify-ca", ours.pem)).faults() == []


def test_a_wrong_password_is_not_taken_for_a_fault_of_tls(database: UrlDatabase, home: Path) -> None:
    (home / "password").write_text("wrong")
    (fault,) = database.faults()
    assert "password authentication failed" in fault


def test_a_database_that_is_away_is_said_to_be(database: UrlDatabase) -> None:
    (fault,) = replace(database, url=f"postgresql://me@127.0.0.1:{free_port()}/x").faults()
    assert "does not answer" in fault


def test_a_dump_that_cannot_be_made_says_why(
    database: UrlDatabase, server: TlsServer, ours: Authority, tmp_path: Path
) -> None:
    from blocks.postgres import dump

    server.context = ours.issue(tmp_path, "db.example.org")
    with pytest.raises(Blocked, match="for another name"):
        dump.dump(database.programs, database.login(), tmp_path / "dump")


def with_login(database: UrlDatabase, text: str) -> str:
    return text.replace(f"${{secret:{LOGIN}}}", database.secret("database-login"))


def observed(databases: Mapping[str, UrlDatabase], folder: Path) -> dict[str, str]:
    """What Prefect's own engine makes of a server's configuration, for each of these."""
    for name, database in databases.items():
        here = folder / name
        here.mkdir()
        proxy = LocalProxy(home=here, listen="127.0.0.1", port=1, server_port=2, public_url="http://127.0.0.1:1")
        for file in server_files(proxy, here, database, ServerSecrets("auth-string", LOGIN, "encryption-key")):
            Path(file.path).write_text(with_login(database, file.content), "utf-8")
    argv = [sys.executable, "-P", "-c", OBSERVE, *(str(folder / each) for each in databases)]
    done = subprocess.run(argv, cwd=folder, env=base_environment(folder), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return {name: found for name, _, found in (line.partition(" ") for line in done.stdout.splitlines())}


def test_prefects_server_asks_for_the_same(
    database: UrlDatabase, server: TlsServer, cluster: Cluster, ours: Authority, tmp_path: Path
) -> None:
    fill(database)
    asked = {mode: asking(database, mode, ours) for mode in get_args(Mode)}
    asked["wrong"] = replace(database, tls=Tls("verify-ca", authority("another").pem))
    with tls_before(cluster.port, None) as without:
        url = database.url.replace(f":{server.port}/", f":{without.port}/")
        asked["without"] = replace(asked["require"], url=url)
        found = observed(asked, tmp_path)
        assert without.calls > 0 and without.heard_in_clear == [], "a plain connection was made"
    assert all("0f17b2" in found[mode] for mode in get_args(Mode)), found
    assert "certificate verify failed" in found["wrong"]
    assert "rejected SSL upgrade" in found["without"]


def test_a_restored_copy_is_migrated_by_tls(database: UrlDatabase, tmp_path: Path) -> None:
    steps._run_migration(with_login(database, database.connection_url(LOGIN)), database.tls, tmp_path)
    assert sql.query(database.login(), "SELECT count(*) > 0 FROM pg_tables WHERE tablename = 'flow_run'") == [(True,)]
