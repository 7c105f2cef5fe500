"""Dumps, scratch copies and drills of every database, on a real PostgreSQL: a copy holds what was dumped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from blocks.backups import Manifest, drilled, lacking
from blocks.database import SAMPLED_BLOCKS
from blocks.errors import Blocked, NotReady
from blocks.postgres import content, sql
from blocks.postgres import dump as dumps
from blocks.postgres.database import PostgresDatabase
from blocks.postgres.url_database import UrlDatabase
from blocks.signature import key_mark
from tests.contract.database.databases import fill
from tests.postgres import Cluster, query

BLOCKS = """
CREATE TABLE public.block_document (id uuid PRIMARY KEY, created timestamptz, updated timestamptz, data jsonb)
"""


def add_block(database: PostgresDatabase, stored: str, created: int, updated: int) -> None:
    """A row as Prefect stores a block: one encrypted string; the moments are days from now."""
    moments = f"now() + interval '{created} days', now() + interval '{updated} days'"
    row = f"INSERT INTO block_document VALUES (gen_random_uuid(), {moments}, to_jsonb('{stored}'::text))"
    query(database.login(), row)


def test_a_dump_says_what_it_holds_and_a_scratch_copy_holds_the_same(database: PostgresDatabase, home: Path) -> None:
    fill(database)
    said = database.dump(home / "dump")
    assert said == database.content()
    with database.scratch("drill-1") as scratch:
        assert scratch.content().rows == {}
        scratch.restore(home / "dump")
        assert scratch.content() == scratch.content(said.rows) == said
        query(scratch.login(), "UPDATE flow SET name = 'other' WHERE id = 7")
        changed = scratch.content()
        assert (changed.rows, changed.digests == said.digests) == (said.rows, False)
    assert database.content() == said


def test_what_others_keep_in_a_given_database_and_we_may_not_read_is_left_out_of_a_dump(
    cloud: UrlDatabase, cluster: Cluster, home: Path
) -> None:
    fill(cloud)
    for statement in (
        'CREATE SCHEMA "the.*irs""s"',
        'CREATE TABLE "the.*irs""s".secret (id int)',
        "CREATE SCHEMA shared",
        "CREATE TABLE shared.half (id int)",
        "CREATE SCHEMA theirs",  # which the first one's name would fit as a pattern
        "CREATE TABLE theirs.open (id int)",
        "GRANT USAGE ON SCHEMA shared, theirs TO PUBLIC",
        "GRANT SELECT ON theirs.open TO PUBLIC",
    ):
        cluster.execute(statement, home.name)
    said = cloud.dump(home / "dump")
    assert said.without == ("shared", 'the.*irs"s')
    with cloud.scratch("drill-5") as scratch:
        scratch.restore(home / "dump")
        assert scratch.content() == said, "what is ours is whole"
        others = "SELECT nspname FROM pg_namespace WHERE nspname IN ('shared', 'the.*irs\"s', 'theirs')"
        assert query(scratch.login(), others) == [["theirs"]]


def test_a_scratch_database_is_gone_afterwards_and_a_left_one_goes_when_the_next_is_made(
    database: PostgresDatabase,
) -> None:
    def there() -> set[str]:
        names = "SELECT datname FROM pg_database WHERE datname ~ '^drill-2'"
        return {row[0] for row in query(database.login(), names)}

    with pytest.raises(KeyboardInterrupt), database.scratch("drill-2") as scratch:
        query(scratch.login(), "CREATE TABLE left_over (id int)")
        assert there() == {scratch.database}
        raise KeyboardInterrupt
    assert not there()
    with database.scratch("drill-2") as left, database.scratch("drill-2") as anew:
        assert anew.row_counts() == {}
        assert there() == {anew.database}
        with pytest.raises(NotReady, match="does not exist"):  # whoever was at work there cannot come back
            left.row_counts()
    assert not there()


def test_what_is_written_meanwhile_is_not_in_a_dump(database: PostgresDatabase, home: Path) -> None:
    fill(database)
    before = database.content()
    with sql.snapshot(database.login()) as (session, seen):
        query(database.login(), "DELETE FROM flow WHERE id < 500")
        assert content.content(session) == before
        dumps.dump(database.programs, database.login(), home / "dump", seen)
    assert database.content() != before
    with database.scratch("drill-3") as scratch:
        scratch.restore(home / "dump")
        assert scratch.content() == before


def test_blocks_are_read_as_they_are_stored(database: PostgresDatabase) -> None:
    fill(database)
    query(database.login(), BLOCKS)
    assert database.encrypted_blocks() == []
    for stored in ("gAAAA=", "gAAAB=", "gAAAB="):
        add_block(database, stored, 0, 0)
    assert sorted(database.encrypted_blocks()) == ["gAAAA=", "gAAAB=", "gAAAB="]


def test_of_many_blocks_the_oldest_are_read_and_those_that_changed_last(database: PostgresDatabase) -> None:
    fill(database)
    query(database.login(), BLOCKS)
    for day in range(-40, 0):
        add_block(database, f"made-{-day}", day, day)
    add_block(database, "made-long-ago-and-changed-now", -20, 0)
    oldest = [f"made-{day}" for day in range(40, 40 - SAMPLED_BLOCKS, -1)]
    newest = ["made-long-ago-and-changed-now", *(f"made-{day}" for day in range(1, SAMPLED_BLOCKS))]
    assert sorted(database.encrypted_blocks()) == sorted([*oldest, *newest])


def test_a_large_table_is_sampled_by_id_and_the_sample_is_the_same_in_a_copy(
    database: PostgresDatabase, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "SAMPLE", 10)
    rows = "SELECT gen_random_uuid() AS id, n::text AS name FROM generate_series(1, 1000) AS n"
    query(database.login(), f"CREATE TABLE big AS {rows}")
    said = database.dump(home / "dump")
    with database.scratch("drill-4") as scratch:
        scratch.restore(home / "dump")
        assert scratch.content() == said
        query(scratch.login(), "UPDATE big SET name = name || '!'")
        assert scratch.content().digests != said.digests


def dumped(database: PostgresDatabase, home: Path, key: str) -> Manifest:
    """The manifest of a dump of a database with one encrypted block."""
    fill(database)
    encrypted = Fernet(key.encode()).encrypt(b"{}").decode()
    query(database.login(), BLOCKS)
    add_block(database, encrypted, -1, -1)
    said = database.dump(home / "dump")
    return Manifest(
        id="20261124T120000Z-000000",
        stack="trial",
        home="",
        made="2026-11-24T12:00:00+00:00",
        reason="by hand",
        prefect_version="3.8.8",
        schema_revision=said.schema_revision or "",
        size=0,
        sha256="",
        key=key_mark(key),
        rows=said.rows,
        digests=said.digests,
        seconds=0.0,
    )


def test_a_drill_restores_compares_and_leaves_nothing(database: PostgresDatabase, home: Path) -> None:
    key = Fernet.generate_key().decode()
    manifest = dumped(database, home, key)
    with drilled(manifest, home / "dump", database, key) as (_, verified):
        pass
    assert verified.verified and verified.rows == manifest.rows
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'drill-%'"
    assert query(database.login(), left) == [["0"]]


def test_a_drill_that_finds_less_or_another_key_says_so(database: PostgresDatabase, home: Path) -> None:
    key = Fernet.generate_key().decode()
    made = dumped(database, home, key)
    manifest = replace(made, rows={**made.rows, "flow": 1001})
    told = r"does not restore: flow: 1000 rows instead of 1001; 1 of 1 blocks cannot be read"
    other_key = Fernet.generate_key().decode()
    with pytest.raises(Blocked, match=told), drilled(manifest, home / "dump", database, other_key):
        pass


def test_a_drill_reads_the_newest_block_too(database: PostgresDatabase, home: Path) -> None:
    """A server that was given a wrong key goes on saving with it."""
    key, other = (Fernet.generate_key().decode() for _ in range(2))
    manifest = dumped(database, home, key)
    add_block(database, Fernet(other.encode()).encrypt(b"{}").decode(), 0, 0)
    said = database.dump(home / "dump-2")
    manifest = replace(manifest, rows=said.rows, digests=said.digests)
    with (
        pytest.raises(Blocked, match="does not restore: 1 of 2 blocks cannot be read"),
        drilled(manifest, home / "dump-2", database, key),
    ):
        pass
    assert lacking(manifest, database, key) == [], "whoever needs this backup gets it"
