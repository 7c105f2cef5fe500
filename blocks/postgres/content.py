"""What a database holds: its schema, its rows, checksums over them, and what a migration should know beforehand."""

from __future__ import annotations

from collections.abc import Mapping

from blocks.database import SAMPLED_BLOCKS, Content, Vitals
from blocks.postgres.sql import Session

SAMPLE = 10_000
"""Rows of a table that a checksum looks at, about: all of them would take 6 s for 1.6 GB."""
LARGEST = 8
"""Tables a report names."""
LONG_SECONDS = 60
"""The report before a migration names transactions that have been open for so long: the migration would wait for them.
"""

_BLOCKS = """
WITH block AS (SELECT id, created, updated, data #>> '{}' AS stored FROM block_document
               WHERE jsonb_typeof(data) = 'string')
(SELECT id, stored FROM block ORDER BY created LIMIT $1)
UNION (SELECT id, stored FROM block ORDER BY updated DESC LIMIT $1)
"""
_COUNTS = """
SELECT format('SELECT %L, count(*) FROM public.%I', tablename, tablename)
FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename
"""
_SIZES = """
SELECT relname, pg_total_relation_size(oid) AS size FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY size DESC LIMIT $1
"""
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid ORDER BY 1"
_OPEN = """
SELECT format('process %s of %s, %s, open for %s s', pid, usename, state, round(extract(epoch FROM age)))
FROM (SELECT *, now() - xact_start AS age FROM pg_stat_activity) AS seen
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
AND age > make_interval(secs => $1) ORDER BY xact_start
"""
_TABLES = """
SELECT tablename, quote_literal(tablename), quote_ident(tablename), EXISTS (
    SELECT FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = tablename AND column_name = 'id' AND data_type = 'uuid'
) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename
"""
_CLOSED_SCHEMAS = """
SELECT nspname FROM pg_namespace AS schema
WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema') AND (
    NOT has_schema_privilege(oid, 'USAGE') OR EXISTS (
        SELECT FROM pg_class WHERE relnamespace = schema.oid AND relkind = ANY('{r,p,m,S}')
        AND NOT has_table_privilege(oid, 'SELECT')))
ORDER BY nspname
"""


def schema_revision(session: Session) -> str | None:
    """Alembic revision of the schema; None while there is none."""
    if session.value("SELECT to_regclass('public.alembic_version') IS NULL"):
        return None
    found: str | None = session.value("SELECT version_num FROM public.alembic_version")
    return found


def closed_schemas(session: Session) -> tuple[str, ...]:
    """Schemas beside ours which the session's role may not read as a whole: `pg_dump` would stop at them."""
    return tuple(name for (name,) in session.query(_CLOSED_SCHEMAS))


def row_counts(session: Session) -> dict[str, int]:
    """Exact number of rows of every table in schema `public`."""
    each = [select for (select,) in session.query(_COUNTS)]
    return dict(session.query(" UNION ALL ".join(each))) if each else {}


def content(session: Session, expected: Mapping[str, int] | None = None) -> Content:
    """Exact rows of each table, and a checksum over a sample of them; the same in any copy.

    About `SAMPLE` rows of a table are looked at, chosen by their ids, so that order and place do not matter.

    Args:
        expected: Number of rows by table, as exactly as it is known: it says how thin the sample is, so checksums
            are comparable only where the same was expected. Left out, they are counted first.
    """
    counts = row_counts(session) if expected is None else expected
    tables = session.query(_TABLES)
    each = (
        _content(text, quoted, counts.get(name, 0) // SAMPLE if has_id else 1) for name, text, quoted, has_id in tables
    )
    found = session.query(" UNION ALL ".join(each)) if tables else []
    rows = {name: count for name, count, _ in found}
    return Content(schema_revision(session), rows, {name: digest for name, _, digest in found})


def _content(text: str, quoted: str, thin: int) -> str:
    """What counts and sums up one table.

    Args:
        text: The table's name as a text of SQL.
        quoted: The same as an identifier.
        thin: One row in so many is summed up.
    """
    sampled = f"FILTER (WHERE uuid_hash_extended(id, 0) % {thin} = 0)" if thin > 1 else ""
    summed = f"coalesce(sum(hashtextextended(t::text, 0)::numeric) {sampled}, 0)::text"
    return f"SELECT {text}, count(*), {summed} FROM public.{quoted} t"


def encrypted_blocks(session: Session) -> list[str]:
    """What is stored of the oldest blocks, and of those that changed last."""
    return [stored for _, stored in session.query(_BLOCKS, SAMPLED_BLOCKS)]


def vitals(session: Session) -> Vitals:
    """What a change of the schema should know beforehand; of transactions, no text of their queries.

    Args:
        session: One that acts as its login itself, or it does not see what the others of that login do.
    """
    return Vitals(
        size=size(session),
        tables=dict(session.query(_SIZES, LARGEST)),
        invalid_indexes=tuple(name for (name,) in session.query(_INVALID)),
        long_transactions=tuple(text for (text,) in session.query(_OPEN, LONG_SECONDS)),
    )


def size(session: Session) -> int:
    """Bytes of the database."""
    return int(session.value("SELECT pg_database_size(current_database())"))
