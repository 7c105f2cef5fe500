"""Databases to test: one of our own, and some that were given to us."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from blocks.database import Database, Tls
from blocks.host.home import Home, claim
from blocks.local.database import ClusterDatabase
from blocks.local.secret_store import LocalSecretStore
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase
from blocks.resource import Apply, Resource, visit
from tests.postgres import SYSTEM_USER, query

PASSWORD = "a password/@:%"
CONTENT = """\
CREATE TABLE public.alembic_version (version_num text);
INSERT INTO public.alembic_version VALUES ('0f17b2');
CREATE TABLE public.flow (id int primary key, name text);
INSERT INTO public.flow SELECT n, 'flow ' || n FROM generate_series(1, 1000) n;
CREATE TABLE public."Odd ""name" (x int);
"""


def secrets_of(database: PostgresDatabase) -> None:
    for name, make in database.secrets().items():
        database.store.ensure(name, make)


def promote(database: PostgresDatabase, value: str) -> None:
    """Make this the login's promoted version."""
    assert isinstance(database.versions, dict)
    database.versions["database-login"] = database.store.add_version("database-login", value)


def own_database(home: Path, programs: Path, port: int) -> ClusterDatabase:
    user = SYSTEM_USER if os.geteuid() == 0 else ""
    store = LocalSecretStore(folder=home / "secrets")
    return ClusterDatabase(stack="trial", home=home, store=store, versions={}, programs=programs, port=port, user=user)


def url_database(home: Path, programs: Path, url: str, password_file: Path) -> UrlDatabase:
    store = LocalSecretStore(folder=home / "secrets")
    return UrlDatabase(
        stack="trial", home=home, store=store, versions={}, programs=programs, url=url, password_file=password_file
    )


def taken_over(
    home: Path, programs: Path, server: str, user: str, password: str, tls: Tls | None = None
) -> UrlDatabase:
    """A database that was given to us with this login, and marked as ours.

    Args:
        server: Its host and port.
    """
    claim(Home(home), "trial")
    (home / "password").write_text(password + "\n")
    url = f"postgresql://{user}@{server}/{home.name}"
    database = replace(url_database(home, programs, url, home / "password"), tls=tls)
    secrets_of(database)
    visit(named(database, "database"), Apply())
    return database


def named(database: Database, name: str) -> Resource:
    return next(each for each in database.on_host() if each.name == name)


def fill(database: PostgresDatabase) -> None:
    query(database.login(), CONTENT)
