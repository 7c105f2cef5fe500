"""Cloud SQL's roles, as statements for its own superuser.

Sources: https://cloud.google.com/sql/docs/postgres/users ("The postgres user is part of the cloudsqlsuperuser role, and
has the following attributes: CREATEROLE, CREATEDB, and LOGIN"; users made by the API are like it),
https://cloud.google.com/sql/docs/postgres/create-manage-databases.
"""

from __future__ import annotations

ADMIN = "cloudsqladmin"
"""Google's own superuser, whom nobody else can be."""
GROUP = "cloudsqlsuperuser"
"""What callers are members of; no superuser, for all its name."""
FIRST = (
    f"CREATE ROLE {GROUP} LOGIN CREATEDB CREATEROLE",
    f"GRANT pg_monitor, pg_signal_backend TO {GROUP}",
    f"CREATE DATABASE {ADMIN}",
    f"REVOKE ALL ON DATABASE {ADMIN} FROM PUBLIC",
    *(f"ALTER DATABASE {each} OWNER TO {GROUP}" for each in ("postgres", "template1")),
)
"""What makes a new cluster one of Cloud SQL's."""
DATABASES = f"SELECT datname FROM pg_database WHERE NOT datistemplate AND datname != '{ADMIN}'"
"""Those that the API shows, a row each."""
USERS = f"""
SELECT rolname FROM pg_roles JOIN pg_auth_members ON member = pg_roles.oid
WHERE roleid = '{GROUP}'::regrole AND grantor = '{ADMIN}'::regrole
"""
"""Those that the API has made."""


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def create_user(name: str) -> str:
    return f"CREATE ROLE {identifier(name)} LOGIN CREATEDB CREATEROLE IN ROLE {GROUP}"


def set_password(name: str, password: str) -> str:
    """Without one nobody can log in by password."""
    return f"ALTER ROLE {identifier(name)} PASSWORD {literal(password) if password else 'NULL'}"


def drop_user(name: str) -> str:
    return f"DROP ROLE {identifier(name)}"


def create_database(name: str) -> str:
    return f"CREATE DATABASE {identifier(name)} OWNER {GROUP}"


def drop_database(name: str) -> str:
    return f"DROP DATABASE {identifier(name)}"


def has_user(name: str) -> str:
    return f"SELECT count(*) FROM pg_roles WHERE rolname = {literal(name)}"


def sessions(database: str) -> str:
    return f"SELECT count(*) FROM pg_stat_activity WHERE datname = {literal(database)}"


def owned(user: str) -> str:
    """Rows `count|database` of what belongs to a user; a database that does counts as one in itself."""
    return f"""
SELECT count(*), datname FROM pg_shdepend JOIN pg_database ON
pg_database.oid = CASE WHEN classid = 'pg_database'::regclass THEN objid ELSE dbid END
WHERE deptype = 'o' AND refclassid = 'pg_authid'::regclass
AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = {literal(user)}) GROUP BY datname
"""
