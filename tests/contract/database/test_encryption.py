"""Blocks of every database are encrypted with another key all at once, on a real PostgreSQL; and the rotation of the
key, killed anywhere, leaves a database with one key, which is that of whatever server the host is told to run."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.fernet import Fernet

from blocks import catalog
from blocks.agent.spec import Artifact, HostSpec, HostStatus, Release, ServiceStatus, to_json
from blocks.backups import Catalogue
from blocks.encryption import require_readable
from blocks.errors import Blocked, NotReady
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.host.secret_files import ENCRYPTION_KEY, new_encryption_key
from blocks.ledger import IDENTITY, WANTED
from blocks.postgres import encryption, sql
from blocks.postgres.database import PostgresDatabase
from blocks.resource import Apply, visit
from blocks.server import schema
from blocks.signature import key_mark
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import Stack, has_server, next_spec
from flows import backup, change, expire, rotate
from flows.restore import steps
from tests.postgres import connected, query

TABLE = """
CREATE TABLE public.block_document (
    id uuid PRIMARY KEY, name text, data jsonb,
    created timestamptz DEFAULT now(), updated timestamptz DEFAULT now()
)
"""
OLD, NEW, STRANGE = (new_encryption_key() for _ in range(3))
RELEASE = Release("r1", Artifact("lock.txt", "0" * 64))


def encrypted(value: str, key: str) -> str:
    return Fernet(key.encode()).encrypt(json.dumps({"value": value}).encode()).decode()


def fill(database: PostgresDatabase, **keys: str) -> None:
    """A block of each name, encrypted with that key; its value is its name."""
    query(database.login(), TABLE)
    for name, key in keys.items():
        row = f"(gen_random_uuid(), '{name}', to_jsonb('{encrypted(name, key)}'::text))"
        query(database.login(), f"INSERT INTO block_document VALUES {row}")


def values(database: PostgresDatabase, key: str) -> dict[str, str]:
    """The values of the blocks which this key reads, by name."""
    rows = query(database.login(), "SELECT name, data #>> '{}' FROM block_document")
    return {
        name: json.loads(Fernet(key.encode()).decrypt(stored.encode()))["value"]
        for name, stored in rows
        if encryption.is_readable(stored, [key])
    }


def test_every_block_is_encrypted_with_the_other_key_and_says_what_it_said(database: PostgresDatabase) -> None:
    fill(database, a=OLD, b=OLD, c=NEW)
    assert database.unreadable_blocks([OLD]) == ["c"]
    for _ in range(2):
        assert database.encrypt_blocks([OLD, NEW], NEW) == []
        assert values(database, NEW) == {"a": "a", "b": "b", "c": "c"}
    assert values(database, OLD) == {}
    assert database.unreadable_blocks([NEW]) == []
    assert database.unreadable_blocks([OLD, NEW]) == []


def test_what_no_key_reads_stays_and_is_named(database: PostgresDatabase) -> None:
    fill(database, a=OLD, lost=STRANGE)
    assert database.encrypt_blocks([OLD, NEW], NEW) == ["lost"]
    assert (values(database, NEW), values(database, STRANGE)) == ({"a": "a"}, {"lost": "lost"})


def test_a_database_without_prefects_tables_has_no_blocks(database: PostgresDatabase) -> None:
    assert (database.unreadable_blocks([OLD]), database.encrypt_blocks([OLD], NEW)) == ([], [])


def test_where_it_is_cut_short_nothing_has_changed(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, a=OLD, b=OLD)

    def fail(*_: object) -> list[str]:
        raise KeyboardInterrupt  # after all rows were written, before they count

    monkeypatch.setattr(encryption, "_unreadable", fail)
    with pytest.raises(KeyboardInterrupt):
        database.encrypt_blocks([OLD], NEW)
    assert (values(database, OLD), values(database, NEW)) == ({"a": "a", "b": "b"}, {})


def test_while_somebody_writes_blocks_it_is_not_done(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql, "LOCK_SECONDS", 1)
    fill(database, a=OLD)
    with connected(database.login().url(), "a server") as server:
        server("BEGIN")
        server("UPDATE block_document SET name = 'b'")
        with pytest.raises(NotReady, match="is busy"):
            database.encrypt_blocks([OLD], NEW)
        server("COMMIT")
    assert values(database, OLD) == {"b": "a"}


@dataclass(frozen=True)
class FakeHost(Host):
    """A host whose services are there at once. It looks at every spec: its server must have the key of all blocks."""

    database: PostgresDatabase | None = None
    killed_at: int = -1
    """Which boundary this process is killed at, counted from 0."""

    def apply(self, spec: HostSpec) -> None:
        self.boundary()
        require_one_key(spec, self)
        self.home.agent.mkdir(parents=True, exist_ok=True)
        (self.home.agent / "spec.json").write_text(to_json(spec))
        self.boundary()

    def observe(self) -> HostStatus | None:
        spec = self.applied()
        if spec is None:
            return None
        ready = tuple(ServiceStatus(each.name, "ready", each.version) for each in spec.services)
        return HostStatus(spec.generation, services=ready)

    def boundary(self) -> None:
        """A place at which this process may be killed, as by SIGKILL: nothing is tidied up."""
        count = self.home.root / "boundaries"
        number = len(count.read_text()) if count.exists() else 0
        if number == self.killed_at:
            os._exit(9)
        count.write_text("x" * (number + 1))


def require_one_key(spec: HostSpec, host: FakeHost) -> None:
    """See that the blocks are readable with the key of the server which runs by a spec, where one does."""
    assert host.database is not None
    for service in spec.services:
        reference = service.secrets.get("PREFECT_SERVER_ENCRYPTION_KEY")
        if reference is not None:
            key = secret_files.read(host.home.secrets, *_parts(reference))
            assert host.database.unreadable_blocks([key]) == [], f"{service.name} was given another key"


def _parts(reference: str) -> tuple[str, int]:
    name, _, version = reference.partition("@")
    return name, int(version)


@pytest.fixture
def stack(own: PostgresDatabase) -> Iterator[Stack]:
    """A stack whose server runs, with the first key."""
    home = Home(own.home)
    spec = build_spec({"home": str(home.root)}, "test")
    composed = catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {})
    stack = dataclasses.replace(composed, database=own, host=FakeHost(home, database=own))
    for name, make in stack.secret_makers().items():
        stack.secrets.ensure(name, make)
    first = stack.secret(ENCRYPTION_KEY)
    fill(own, a=first, b=first)
    stack.ledger.ensure_identity("prefect", key_mark(first))
    change.write_wanted(stack)
    stack.host.apply(next_spec(stack))
    yield stack
    for each in (home.store / IDENTITY, home.store / WANTED, home.root / "boundaries", home.agent / "spec.json"):
        each.unlink(missing_ok=True)
    stack.secrets.remove(ENCRYPTION_KEY)


def rotate_key(stack: Stack) -> Stack:
    """The steps of the flow that change something."""
    version = rotate.new_key(stack)
    rotate.encrypt_anew(stack, version)
    return change.as_wanted(stack)


def in_another_process(stack: Stack, killed_at: int) -> bool:
    """Rotate there, killed at a boundary; whether it was. Between a change of the blocks and its promotion, too."""
    assert isinstance(stack.host, FakeHost)
    host = dataclasses.replace(stack.host, killed_at=killed_at)
    (host.home.root / "boundaries").unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        sql._started.clear()  # its thread has not come along
        try:
            for module, name in ((rotate, "bring_blocks_to"), (change, "write_wanted")):
                _bounded(host, module, name)
            rotate_key(dataclasses.replace(stack, host=host))
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the rotation failed"
    return status == 9


def _bounded(host: FakeHost, module: object, name: str) -> None:
    real = getattr(module, name)

    def between(*arguments: object) -> object:
        host.boundary()
        result = real(*arguments)
        host.boundary()
        return result

    setattr(module, name, between)


def as_a_person_finds_it(stack: Stack) -> None:
    """There is one key in the database, of whatever server is to run; a converge brings one that was stopped."""
    assert isinstance(stack.host, FakeHost)
    applied = stack.host.applied()
    assert applied is not None
    require_one_key(applied, stack.host)
    keys = [stack.secrets.read(ENCRYPTION_KEY, each) for each in stack.secrets.versions(ENCRYPTION_KEY)]
    assert [set(values(stack.database, each)) for each in keys].count({"a", "b"}) == 1  # type: ignore[arg-type]
    now = change.as_wanted(stack)
    visit(next(each for each in now.on_host() if each.name == "host services"), Apply())
    applied = stack.host.applied()
    assert applied is not None and has_server(applied)
    require_readable(now.version(ENCRYPTION_KEY), stack.secrets, stack.database)
    require_its_mark(now)


def require_its_mark(stack: Stack) -> None:
    """See that the stack's identity says which key a lost home is made again with."""
    identity = stack.ledger.identity()
    assert identity is not None and identity.key == key_mark(stack.secret(ENCRYPTION_KEY))


def test_a_new_key_for_all_blocks_and_for_the_server(stack: Stack) -> None:
    assert isinstance(stack.database, PostgresDatabase)
    old = stack.secret(ENCRYPTION_KEY)
    now = rotate_key(stack)
    assert now.version(ENCRYPTION_KEY) == 2 and now.secret(ENCRYPTION_KEY) != old
    assert values(stack.database, now.secret(ENCRYPTION_KEY)) == {"a": "a", "b": "b"}
    assert secret_files.read(stack.host.home.secrets, ENCRYPTION_KEY) == now.secret(ENCRYPTION_KEY)
    assert stack.secrets.read(ENCRYPTION_KEY, 1) == old, "backups need it"
    require_its_mark(now)
    applied = stack.host.applied()
    assert applied is not None
    (server,) = [each for each in applied.services if each.name.startswith("server-")]
    assert server.secrets == {"PREFECT_SERVER_ENCRYPTION_KEY": "encryption-key@2"}
    assert next_spec(now) == dataclasses.replace(applied, generation=applied.generation + 1), "nothing is left to do"


def test_killed_at_every_boundary_it_is_as_before_or_finished_by_a_re_run(stack: Stack) -> None:
    assert isinstance(stack.database, PostgresDatabase)
    boundaries = 0
    while in_another_process(change.as_wanted(stack), boundaries):
        boundaries += 1
        as_a_person_finds_it(stack)
        before = change.as_wanted(stack)
        now = rotate_key(before)
        assert now.version(ENCRYPTION_KEY) > before.version(ENCRYPTION_KEY)
        assert values(stack.database, now.secret(ENCRYPTION_KEY)) == {"a": "a", "b": "b"}
    assert boundaries >= 8


def test_a_failure_in_the_midst_brings_the_server_back_with_the_key_it_had(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(stack.database, PostgresDatabase)
    before = stack.host.applied()
    assert before is not None

    def fail(*_: object) -> None:
        raise Blocked("the disk is full")

    monkeypatch.setattr(change, "promote", fail)
    with pytest.raises(Blocked, match="the disk is full"):
        rotate_key(stack)
    after = stack.host.applied()
    assert after is not None and after.services == before.services
    assert values(stack.database, stack.secret(ENCRYPTION_KEY)) == {"a": "a", "b": "b"}


def test_a_block_which_no_key_reads_is_refused_before_anything_is_stopped(stack: Stack) -> None:
    assert isinstance(stack.database, PostgresDatabase)
    row = f"(gen_random_uuid(), 'lost', to_jsonb('{encrypted('lost', STRANGE)}'::text))"
    query(stack.database.login(), f"INSERT INTO block_document VALUES {row}")
    with pytest.raises(Blocked, match="1 blocks cannot be read with the stack's encryption key: lost"):
        require_readable(1, stack.secrets, stack.database)


def test_a_backup_from_before_a_rotation_is_restored_with_the_key_of_today(stack: Stack) -> None:
    assert isinstance(stack.database, PostgresDatabase)
    revision = f"INSERT INTO public.alembic_version VALUES ('{schema.installed_lineage().head}')"
    query(stack.database.login(), f"CREATE TABLE public.alembic_version (version_num text); {revision}")
    old, work = stack.secret(ENCRYPTION_KEY), stack.host.restore.work()
    catalogue = Catalogue.of(stack, work)
    made = backup.drill(stack, catalogue, backup.dump(stack, catalogue, "by hand", work / "dump"), work / "copy")
    now = rotate_key(stack)
    query(stack.database.login(), "DELETE FROM block_document")
    expire.drop_keys(now, Catalogue.of(now, work).all())
    manifest = steps.require_restorable(now, made.id, steps.dump_file(now), unsigned=False)
    with stack.database.beside() as copy:
        steps.fill(now, manifest, copy)
        assert values(copy, old) == {"a": "a", "b": "b"}
        steps.bring_to_key(now, copy)
        assert not steps.migrate(now, copy), "it was made by this release"
        stack.database.swap("a-test")
    assert values(stack.database, now.secret(ENCRYPTION_KEY)) == {"a": "a", "b": "b"}
    assert values(stack.database, old) == {}
    catalogue.remove(manifest)
    expire.drop_keys(now, Catalogue.of(now, work).all())
    assert now.secrets.versions(ENCRYPTION_KEY) == (2,), "no backup needs the old one any more"
