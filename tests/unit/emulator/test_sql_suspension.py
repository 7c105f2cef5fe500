"""Suspended instances of Cloud SQL.

Source: https://cloud.google.com/sql/docs/postgres/diagnose-issues#suspended-state
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound
from google.cloud.sqladmin_v1 import DatabaseInstance, SqlSuspensionReason

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc

State = DatabaseInstance.SqlInstanceState


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    """With the instance `db`."""
    sql = Grpc(google)
    sql.made()
    return sql


def suspend(sql: Grpc, reason: str) -> int:
    """The status of the control path."""
    sent = {"project": sql.google.project, "instance": "db", "reason": reason}
    return sql.google.http().post("/_emulator/suspensions", json=sent).status_code


def of(sql: Grpc, **more: object) -> dict[str, object]:
    return {"project": sql.google.project, "instance": "db", **more}


def test_a_suspended_instance_is_seen_with_its_reason_and_does_nothing(sql: Grpc) -> None:
    assert suspend(sql, "OPERATIONAL_ISSUE") == 200
    read = sql.read()
    assert (read.state, list(read.suspension_reason)) == (State.SUSPENDED, [SqlSuspensionReason.OPERATIONAL_ISSUE])
    assert [each.state for each in sql.instances.list(request={"project": sql.google.project}).items] == [read.state]
    for refused in (sql.databases.list, sql.users.list, sql.instances.restart):
        with pytest.raises(InvalidArgument, match="Invalid request since instance is not running"):
            refused(request=of(sql))
    with pytest.raises(FailedPrecondition, match="not in an appropriate state"):
        sql.instances.patch(request=of(sql, body={"settings": {"tier": "db-custom-4-15360"}}))


def test_it_returns_to_runnable(sql: Grpc) -> None:
    suspend(sql, "KMS_KEY_ISSUE")
    assert suspend(sql, "") == 200
    assert (sql.read().state, list(sql.read().suspension_reason)) == (State.RUNNABLE, [])
    assert [each.name for each in sql.databases.list(request=of(sql)).items] == ["postgres"]


def test_only_one_that_is_suspended_over_a_bill_can_be_deleted(sql: Grpc) -> None:
    suspend(sql, "LEGAL_ISSUE")
    with pytest.raises(FailedPrecondition, match="not in an appropriate state"):
        sql.instances.delete(request=of(sql))
    suspend(sql, "")
    suspend(sql, "BILLING_ISSUE")
    sql.instances.delete(request=of(sql))
    with pytest.raises(NotFound):
        sql.read()


def test_what_cannot_be_suspended_is_told(sql: Grpc) -> None:
    assert suspend(sql, "BOREDOM") == 400
    assert suspend(sql, "") == 400
    assert suspend(sql, "BILLING_ISSUE") == 200
    assert suspend(sql, "BILLING_ISSUE") == 400
