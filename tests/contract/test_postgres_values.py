"""Values in SQL are values, whatever is in them, on a real PostgreSQL whose superuser asks."""

from __future__ import annotations

import pytest

from blocks.postgres import sql
from blocks.postgres.connection import Login
from tests.postgres import OWNER, Cluster

VALUES = [
    "x\nCREATE ROLE planted SUPERUSER;",
    "x\\nCREATE ROLE planted;",
    "x\n\\! touch planted\n",
    "x\r\n\\echo planted",
    "'; CREATE ROLE planted; --",
    '"; CREATE ROLE planted; --',
    "it's \\ \"quoted\" :'other' :other $HOME ${HOME} $$ `id` %s \t",
    "\\",
    "'",
    "",
    " ",
    "ünïcødé ✓",
]
TOLD = "SELECT encode(convert_to($1, 'UTF8'), 'hex'), $2::text"


@pytest.fixture(scope="module")
def login(cluster: Cluster) -> Login:
    return Login("127.0.0.1", cluster.port, OWNER, cluster.password, "postgres")


@pytest.mark.parametrize("value", VALUES)
def test_a_value_reaches_the_server_as_it_is(cluster: Cluster, login: Login, value: str) -> None:
    ((found, other),) = sql.query(login, TOLD, value, "plain")
    assert (bytes.fromhex(found).decode(), other) == (value, "plain")
    with sql.session(login) as session:
        session.command("CREATE TEMPORARY TABLE quoted AS SELECT %L::text AS value, %s AS plain", value, "1")
        assert session.query("SELECT value FROM quoted") == [(value,)]
        if value:  # no name is empty
            session.command("ALTER TABLE quoted RENAME COLUMN plain TO %I", value)
            (name,) = session.query(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'quoted'::regclass AND attnum = 2"
            )
            assert name == (value.encode()[:63].decode(),)
    assert cluster.execute("SELECT FROM pg_roles WHERE rolname = 'planted'") == []
