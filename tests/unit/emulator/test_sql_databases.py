"""Databases and users of an instance through google.cloud.sqladmin_v1.

Sources: https://cloud.google.com/sql/docs/postgres/create-manage-databases, create-manage-users, add-manage-iam-users,
and the public issues that the emulator names at each refusal.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound, PermissionDenied

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc

IAM = [{"name": "cloudsql.iam_authentication", "value": "on"}]


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    grpc = Grpc(google)
    grpc.made(database_flags=IAM)
    return grpc


def of(sql: Grpc, **more: Any) -> dict[str, Any]:
    return {"project": sql.google.project, "instance": "db", **more}


def add_user(sql: Grpc, **body: Any) -> None:
    sql.users.insert(request=of(sql, body=body))


def names(listed: Any) -> list[str]:
    return [each.name for each in listed.items]


def test_a_database_is_made_read_listed_and_dropped(sql: Grpc) -> None:
    sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    read = sql.databases.get(request=of(sql, database="prefect"))
    assert (read.charset, read.collation) == ("UTF8", "en_US.UTF8")
    assert names(sql.databases.list(request=of(sql))) == ["postgres", "prefect"]
    sql.databases.delete(request=of(sql, database="prefect"))
    with pytest.raises(NotFound):
        sql.databases.get(request=of(sql, database="prefect"))


def test_a_second_database_of_a_name_is_a_400(sql: Grpc) -> None:
    sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    words = 'Invalid request: failed to create database prefect. Detail: pq: database "prefect" already exists\n.'
    with pytest.raises(InvalidArgument, match=words):
        sql.databases.insert(request=of(sql, body={"name": "prefect"}))


@pytest.mark.parametrize(
    ("body", "words"),
    [({"charset": "UTF9"}, "UTF9 is not a valid encoding name"), ({"collation": "de"}, "invalid LC_COLLATE")],
)
def test_what_postgresql_does_not_know(sql: Grpc, body: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        sql.databases.insert(request=of(sql, body={"name": "prefect", **body}))
    assert names(sql.databases.list(request=of(sql))) == ["postgres"]


def test_a_user_is_made_changed_listed_and_dropped(sql: Grpc) -> None:
    add_user(sql, name="prefect", password="secret")
    read = sql.users.get(request=of(sql, name="prefect"))
    assert (read.type_.name, read.password) == ("BUILT_IN", "")
    assert names(sql.users.list(request=of(sql))) == ["postgres", "prefect"]
    sql.users.update(request=of(sql, name="prefect", body={"password": "other"}))
    assert sql.google.cloud.world.records[f"sql/projects/{sql.google.project}/instances/db/users/prefect"].hidden == {
        "password": "other"
    }
    sql.users.delete(request=of(sql, name="prefect"))
    with pytest.raises(NotFound):
        sql.users.get(request=of(sql, name="prefect"))


def test_a_password_never_comes_out(sql: Grpc) -> None:
    add_user(sql, name="prefect", password="secret")
    with sql.google.http() as http:
        answer = http.get(f"/sqladmin/v1/projects/{sql.google.project}/instances/db/users")
    assert "prefect" in answer.text
    assert "secret" not in answer.text


def test_a_second_user_of_a_name(sql: Grpc) -> None:
    add_user(sql, name="prefect", password="secret")
    with pytest.raises(InvalidArgument, match='failed to create user "prefect": role "prefect" already exists'):
        add_user(sql, name="prefect", password="other")


def test_postgres_is_made_again_and_gets_the_password(sql: Grpc) -> None:
    """Source: hashicorp/terraform-provider-google#1057, a `google_sql_user` called postgres."""
    add_user(sql, name="postgres", password="secret")
    record = sql.google.cloud.world.records[f"sql/projects/{sql.google.project}/instances/db/users/postgres"]
    assert record.hidden == {"password": "secret"}
    assert names(sql.users.list(request=of(sql))) == ["postgres"]


def used(sql: Grpc, **what: Any) -> None:
    told = of(sql, database="prefect", **what)
    sql.google.http().post("/_emulator/usage", json=told).raise_for_status()


def test_a_database_in_use_is_refused_at_once(sql: Grpc) -> None:
    """Source: MobilityData/mobility-feed-api#1174."""
    sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    used(sql, sessions=1)
    words = 'Invalid request: failed to delete database prefect. Detail: pq: database "prefect" is being accessed by'
    with pytest.raises(InvalidArgument, match=words):
        sql.databases.delete(request=of(sql, database="prefect"))
    assert names(sql.databases.list(request=of(sql))) == ["postgres", "prefect"]
    used(sql, sessions=0)
    sql.databases.delete(request=of(sql, database="prefect"))


def test_a_service_account_goes_without_its_domain(sql: Grpc) -> None:
    add_user(sql, name="app@p.iam", type="CLOUD_IAM_SERVICE_ACCOUNT")
    assert sql.users.get(request=of(sql, name="app@p.iam")).type_.name == "CLOUD_IAM_SERVICE_ACCOUNT"
    with pytest.raises(InvalidArgument, match=r'created without ".gserviceaccount.com" suffix'):
        add_user(sql, name="app@p.iam.gserviceaccount.com", type="CLOUD_IAM_SERVICE_ACCOUNT")


def test_iam_users_want_the_flag(google: Emulated) -> None:
    sql = Grpc(google)
    sql.made()
    words = 'failed to create user "app@p.iam": role "cloudsqliamserviceaccount" does not exist'
    with pytest.raises(InvalidArgument, match=words):
        add_user(sql, name="app@p.iam", type="CLOUD_IAM_SERVICE_ACCOUNT")


def test_a_user_who_owns_something_stays(sql: Grpc) -> None:
    """What an import makes belongs to its user, until the database goes."""
    sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    add_user(sql, name="prefect", password="secret")
    used(sql, owners={"prefect": 112})
    words = (
        'role "prefect" cannot be dropped because some objects depend on it Details: 112 objects in database prefect'
    )
    with pytest.raises(InvalidArgument, match=words):
        sql.users.delete(request=of(sql, name="prefect"))
    sql.databases.delete(request=of(sql, database="prefect"))
    sql.users.delete(request=of(sql, name="prefect"))
    assert names(sql.users.list(request=of(sql))) == ["postgres"]


def test_a_viewer_sees_users_and_makes_none(sql: Grpc) -> None:
    sql.google.grant("roles/cloudsql.viewer", "user:viewer@example.com")
    viewer = Grpc(sql.google, "user:viewer@example.com")
    assert names(viewer.users.list(request=of(sql))) == ["postgres"]
    with pytest.raises(PermissionDenied, match=r"missing permission cloudsql.users.create on resource instances/db"):
        add_user(viewer, name="prefect", password="secret")


def test_a_failed_creation_leaves_no_database(sql: Grpc) -> None:
    fault = {"service": "sqladmin", "method": "sql.databases.insert", "kind": "operation-error", "code": 500}
    sql.google.cloud.faults.add(fault)
    operation = sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    assert operation.error.errors[0].code
    assert names(sql.databases.list(request=of(sql))) == ["postgres"]
