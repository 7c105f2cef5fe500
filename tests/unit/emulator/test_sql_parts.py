"""The seam for a PostgreSQL behind an instance: what it is told, in which order, and how its failures look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.api_core.exceptions import InvalidArgument
from google.cloud import storage

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import ENTERPRISE, Grpc


class Memory:
    """A database server that keeps nothing but what it was told to do."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.broken = ""
        self.connected = 0
        self.objects: dict[str, int] = {}

    def sessions(self, name: str, database: str) -> int:
        return self.connected

    def owned(self, name: str, user: str) -> dict[str, int]:
        return self.objects

    def held(self, name: str) -> tuple[list[str], list[str]]:
        return ["postgres", "then"], ["app", "postgres"]

    def __getattr__(self, verb: str) -> Any:
        def act(name: str, *rest: Any) -> bytes:
            if verb == self.broken:
                raise ApiError(400, 'database "prefect" is being accessed by other users', reason="ERROR_RDBMS")
            said = (str(each) for each in rest if isinstance(each, str | datetime))
            self.told.append((verb, name.rpartition("/")[2], *said))
            return b"-- a dump\n"

        return act


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def sql(memory: Memory) -> Iterator[Grpc]:
    cloud = Cloud(VirtualClock(), scale=0, parts={"sql.instances": memory})
    with running(cloud) as address:
        yield Grpc(Emulated(cloud, address, "real", cloud.add_project("real", ("all",))))
        assert cloud.complaints == []


def settled(sql: Grpc, operation: Any) -> Any:
    """The operation once its real part is done."""
    while operation.status.name != "DONE":
        operation = sql.operations.get(request={"project": "real", "operation": operation.name})
    return operation


def of(**more: Any) -> dict[str, Any]:
    return {"project": "real", "instance": "db", **more}


def made(sql: Grpc) -> None:
    body = {"name": "db", "database_version": "POSTGRES_18", "region": "europe-west1", "root_password": "secret"}
    settled(sql, sql.instances.insert(request={"project": "real", "body": body | {"settings": ENTERPRISE}}))


def test_the_part_lives_as_its_instance_does(sql: Grpc, memory: Memory) -> None:
    made(sql)
    for settings in ({"tier": "db-f1-micro"}, {"activation_policy": "NEVER"}, {"activation_policy": "ALWAYS"}):
        settled(sql, sql.instances.patch(request=of(body={"settings": settings})))
    settled(sql, sql.instances.restart(request=of()))
    settled(sql, sql.instances.delete(request=of()))
    assert memory.told[2] == ("set_user", "db", "postgres", "secret")
    assert [verb for verb, *_ in memory.told] == [
        *("certify", "start", "set_user", "addressed"),
        *("change", "addressed", "stop", "addressed", "start", "addressed"),
        *("stop", "start", "remove"),
    ]


def test_databases_and_users_reach_it(sql: Grpc, memory: Memory) -> None:
    made(sql)
    settled(sql, sql.databases.insert(request=of(body={"name": "prefect"})))
    settled(sql, sql.users.insert(request=of(body={"name": "prefect", "password": "one"})))
    settled(sql, sql.users.update(request=of(name="prefect", body={"password": "two"})))
    settled(sql, sql.users.delete(request=of(name="prefect")))
    settled(sql, sql.databases.delete(request=of(database="prefect")))
    assert memory.told[4:] == [
        ("create_database", "db", "prefect"),
        ("set_user", "db", "prefect", "one"),
        ("set_user", "db", "prefect", "two"),
        ("drop_user", "db", "prefect"),
        ("drop_database", "db", "prefect"),
    ]


def test_backups_clones_and_dumps_reach_it(sql: Grpc, memory: Memory) -> None:
    made(sql)
    run = settled(sql, sql.runs.insert(request=of(body={}))).backup_context.backup_id
    context = {"backup_run_id": run, "instance_id": "db"}
    settled(sql, sql.instances.restore_backup(request=of(body={"restore_backup_context": context})))
    settled(sql, sql.runs.delete(request=of(id=run)))
    clone = {"destination_instance_name": "copy"}
    settled(sql, sql.instances.clone(request=of(body={"clone_context": clone})))
    assert [each[:2] for each in memory.told[4:]] == [
        ("backup", "db"),
        ("restore", "db"),
        ("forget", memory.told[4][2].rpartition("/")[2]),
        ("certify", "copy"),
        ("start", "copy"),
        ("copy", "db"),
        ("addressed", "copy"),
    ]
    assert memory.told[-2] == ("copy", "db", "sql/projects/real/instances/copy")


def test_a_copy_as_of_a_moment_holds_what_the_part_says(sql: Grpc, memory: Memory) -> None:
    made(sql)
    settled(sql, sql.databases.insert(request=of(body={"name": "since"})))
    context = {"destination_instance_name": "copy", "point_in_time": datetime(2026, 1, 1, tzinfo=UTC)}
    asked = of(body={"clone_context": context})
    with pytest.raises(InvalidArgument, match="not enabled"):
        sql.instances.clone(request=asked)
    kept = {"enabled": True, "point_in_time_recovery_enabled": True}
    settled(sql, sql.instances.patch(request=of(body={"settings": {"backup_configuration": kept}})))
    settled(sql, sql.instances.clone(request=asked))
    assert memory.told[-2] == ("copy", "db", "sql/projects/real/instances/copy", "2026-01-01 00:00:00+00:00")
    copy = {"project": "real", "instance": "copy"}
    assert [each.name for each in sql.databases.list(request=copy).items] == ["postgres", "then"]
    assert [each.name for each in sql.users.list(request=copy).items] == ["app", "postgres"]
    asked["body"]["clone_context"]["point_in_time"] = datetime(2999, 1, 1, tzinfo=UTC)
    with pytest.raises(InvalidArgument, match="in the future"):
        sql.instances.clone(request=asked)


def test_its_certificate_is_of_the_authority_that_the_api_shows(sql: Grpc, memory: Memory) -> None:
    made(sql)
    settled(sql, sql.instances.add_server_ca(request=of()))
    settled(sql, sql.instances.rotate_server_ca(request=of()))
    shown = [told for told in memory.told if told[0] == "certify"]
    old, new = (x509.load_pem_x509_certificate(each.cert.encode()) for each in cas(sql).certs)
    for authority, (_, _, certificate, key) in zip((old, new), shown, strict=True):
        server = x509.load_pem_x509_certificate(certificate.encode())
        server.verify_directly_issued_by(authority)
        assert server.subject.rfc4514_string() == "C=US,O=Google\\, Inc,CN=real:db"
        assert load_pem_private_key(key.encode(), None).public_key() == server.public_key()


def cas(sql: Grpc) -> Any:
    return sql.instances.list_server_cas(request=of())


def test_an_export_holds_what_it_dumps(sql: Grpc, memory: Memory) -> None:
    made(sql)
    google = sql.google
    client = storage.Client(project="real", credentials=google.credentials, client_options=google.options("storage"))
    bucket = client.create_bucket("real-dumps", location="EU")
    account = f"serviceAccount:{sql.read().service_account_email_address}"
    google.cloud.access.grant("projects/_/buckets/real-dumps", "roles/storage.objectAdmin", account)
    export = {"file_type": "SQL", "uri": "gs://real-dumps/one.sql", "databases": ["postgres"]}
    settled(sql, sql.instances.export(request=of(body={"export_context": export})))
    assert bucket.blob("one.sql").download_as_bytes() == b"-- a dump\n"
    loaded = {"file_type": "SQL", "uri": "gs://real-dumps/one.sql", "database": "postgres"}
    settled(sql, sql.instances.import_(request=of(body={"import_context": loaded})))
    assert memory.told[-2:] == [("dump", "db", "postgres"), ("load", "db", "postgres", "postgres")]


def test_it_says_who_is_connected_and_who_owns_what(sql: Grpc, memory: Memory) -> None:
    made(sql)
    settled(sql, sql.databases.insert(request=of(body={"name": "prefect"})))
    settled(sql, sql.users.insert(request=of(body={"name": "prefect", "password": "one"})))
    memory.connected, memory.objects = 2, {"prefect": 3}
    with pytest.raises(InvalidArgument, match="is being accessed by other users"):
        sql.databases.delete(request=of(database="prefect"))
    with pytest.raises(InvalidArgument, match="3 objects in database prefect"):
        sql.users.delete(request=of(name="prefect"))
    assert [each for each, *_ in memory.told if each.startswith("drop")] == []


def test_its_failure_is_the_operation_s(sql: Grpc, memory: Memory) -> None:
    made(sql)
    settled(sql, sql.databases.insert(request=of(body={"name": "prefect"})))
    memory.broken = "drop_database"
    operation = settled(sql, sql.databases.delete(request=of(database="prefect")))
    assert [(each.code, each.message) for each in operation.error.errors] == [
        ("ERROR_RDBMS", 'database "prefect" is being accessed by other users')
    ]
    assert [each.name for each in sql.databases.list(request=of()).items] == ["postgres", "prefect"]


def test_an_instance_whose_part_does_not_come_up_has_failed(sql: Grpc, memory: Memory) -> None:
    memory.broken = "start"
    made(sql)
    assert sql.read().state.name == "FAILED"


def test_a_suspension_stops_it_and_its_end_starts_it(sql: Grpc, memory: Memory) -> None:
    made(sql)
    for reason in ("OPERATIONAL_ISSUE", ""):
        sent = {"project": "real", "instance": "db", "reason": reason}
        sql.google.http().post("/_emulator/suspensions", json=sent).raise_for_status()
    assert memory.told[-2:] == [("stop", "db"), ("start", "db")]
