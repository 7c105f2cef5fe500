"""Instances of Cloud SQL through google.cloud.sqladmin_v1.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances, admin-api-error-messages,
delete-instance, and the public issues that the emulator names at each refusal.
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import (
    Aborted,
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from google.cloud.sqladmin_v1 import (
    DatabaseInstance,
    Operation,
    Settings,
    SqlInstancesInsertRequest,
)

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import ENTERPRISE, Grpc

State = DatabaseInstance.SqlInstanceState


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    return Grpc(google)


def of(sql: Grpc, **more: object) -> dict[str, object]:
    return {"project": sql.google.project, "instance": "db", **more}


def patch(sql: Grpc, **settings: object) -> Operation:
    return sql.instances.patch(request=of(sql, body={"settings": settings}))


def test_an_instance_is_made_read_listed_and_deleted(sql: Grpc) -> None:
    made = sql.made()
    assert made.state == State.RUNNABLE
    assert made.connection_name == f"{sql.google.project}:europe-west1:db"
    assert made.service_account_email_address.endswith("@gcp-sa-cloud-sql.iam.gserviceaccount.com")
    assert (made.settings.settings_version, made.settings.edition) == (1, Settings.Edition.ENTERPRISE)
    listed = sql.instances.list(request={"project": sql.google.project}).items
    assert [each.name for each in listed] == ["db"]
    operation = sql.instances.delete(request=of(sql))
    assert (operation.target_id, operation.status) == ("db", Operation.SqlOperationStatus.DONE)
    with pytest.raises(NotFound, match=r"The Cloud SQL instance does not exist."):
        sql.read()


def test_point_in_time_recovery_and_backups_are_off_where_the_api_is_not_asked(sql: Grpc) -> None:
    backups = sql.made().settings.backup_configuration
    assert (backups.enabled, backups.point_in_time_recovery_enabled) == (False, False)


def test_a_name_is_taken_while_its_instance_is_there(sql: Grpc) -> None:
    sql.made()
    with pytest.raises(AlreadyExists, match=r"The Cloud SQL instance already exists. When you delete an instance"):
        sql.made()


def test_a_name_is_free_a_week_after_its_instance(slow_google: Emulated) -> None:
    sql, day = Grpc(slow_google), 86400
    sql.made()
    slow_google.advance(3600)
    sql.instances.delete(request=of(sql))
    slow_google.advance(6 * day)
    with pytest.raises(AlreadyExists, match=r"until one week from the deletion date."):
        sql.made()
    slow_google.advance(2 * day)
    assert sql.made().state == State.PENDING_CREATE


@pytest.mark.parametrize("name", ["", "Db", "1db", "db-", "d" * 98])
def test_a_name_follows_the_rule(sql: Grpc, name: str) -> None:
    with pytest.raises(InvalidArgument, match=r"Invalid (full )?instance name"):
        sql.made(name)


def test_a_protected_instance_stays(sql: Grpc) -> None:
    sql.made(deletion_protection_enabled=True)
    with pytest.raises(InvalidArgument, match=r"The instance is protected. Please disable the deletion protection"):
        sql.instances.delete(request=of(sql))
    patch(sql, deletion_protection_enabled=False)
    sql.instances.delete(request=of(sql))
    with pytest.raises(NotFound):
        sql.read()


def test_a_patch_merges_and_raises_the_version(sql: Grpc) -> None:
    sql.made(user_labels={"stack": "prod"})
    patch(sql, tier="db-custom-4-15360")
    after = sql.read().settings
    assert (after.tier, after.user_labels, after.settings_version) == ("db-custom-4-15360", {"stack": "prod"}, 2)


def test_an_update_puts_back_what_it_does_not_name(sql: Grpc) -> None:
    sql.made(user_labels={"stack": "prod"})
    sql.instances.update(request=of(sql, body={"settings": {**ENTERPRISE, "settings_version": 1}}))
    assert not sql.read().settings.user_labels


def test_a_stale_version_is_refused(sql: Grpc) -> None:
    sql.made()
    patch(sql, tier="db-custom-4-15360", settings_version=1)
    with pytest.raises(FailedPrecondition, match=r"Condition does not match."):
        patch(sql, tier="db-custom-2-7680", settings_version=1)


def test_a_disk_only_grows(sql: Grpc) -> None:
    sql.made(data_disk_size_gb=20)
    patch(sql, data_disk_size_gb=30)
    with pytest.raises(InvalidArgument, match="cannot be decreased"):
        patch(sql, data_disk_size_gb=20)


def test_one_operation_at_a_time(slow_google: Emulated) -> None:
    sql = Grpc(slow_google)
    assert sql.made().state == State.PENDING_CREATE
    with pytest.raises(Aborted, match=r"Operation failed because another operation was already in progress."):
        patch(sql, tier="db-custom-4-15360")
    with pytest.raises(InvalidArgument, match="Invalid request since instance is not running"):
        sql.databases.list(request=of(sql))
    slow_google.advance(3600)
    assert sql.read().state == State.RUNNABLE
    patch(sql, tier="db-custom-4-15360")
    with pytest.raises(Aborted):
        sql.instances.delete(request=of(sql))
    slow_google.advance(3600)
    sql.instances.delete(request=of(sql))
    assert sql.read().state == State.PENDING_DELETE
    with pytest.raises(AlreadyExists):
        sql.made()
    slow_google.advance(3600)
    with pytest.raises(NotFound):
        sql.read()


def test_a_failed_creation_leaves_a_failed_instance_that_can_only_be_deleted(sql: Grpc) -> None:
    fault = {"service": "sqladmin", "method": "sql.instances.insert", "kind": "operation-error", "code": 500}
    sql.google.cloud.faults.add(fault)
    assert sql.made().state == State.FAILED
    with pytest.raises(FailedPrecondition, match="not in an appropriate state"):
        patch(sql, tier="db-custom-4-15360")
    sql.instances.delete(request=of(sql))
    with pytest.raises(NotFound):
        sql.read()


def test_a_stopped_instance_is_runnable_and_answers_nothing(sql: Grpc) -> None:
    sql.made()
    patch(sql, activation_policy="NEVER")
    assert sql.read().state == State.RUNNABLE
    for refused in (sql.databases.list, sql.users.list, sql.instances.restart):
        with pytest.raises(InvalidArgument, match="Invalid request since instance is not running"):
            refused(request=of(sql))
    patch(sql, activation_policy="ALWAYS")
    assert sql.instances.restart(request=of(sql)).operation_type.name == "RESTART"


def test_public_addresses_come_and_go(sql: Grpc) -> None:
    assert {each.type_.name for each in sql.made().ip_addresses} == {"PRIMARY", "OUTGOING"}
    with pytest.raises(InvalidArgument, match="At least one of Public IP or Private IP or PSC connectivity must be"):
        patch(sql, ip_configuration={"ipv4_enabled": False})


def test_ssl_mode_and_the_older_switch_go_together(sql: Grpc) -> None:
    assert sql.made().settings.ip_configuration.ssl_mode.name == "ALLOW_UNENCRYPTED_AND_ENCRYPTED"
    patch(sql, ip_configuration={"require_ssl": True})
    after = sql.read().settings.ip_configuration
    assert (after.ssl_mode.name, after.require_ssl) == ("TRUSTED_CLIENT_CERTIFICATE_REQUIRED", True)
    patch(sql, ip_configuration={"ssl_mode": "ENCRYPTED_ONLY"})
    after = sql.read().settings.ip_configuration
    assert (after.ssl_mode.name, after.require_ssl) == ("ENCRYPTED_ONLY", False)


def test_the_list_is_filtered_and_paged(sql: Grpc) -> None:
    for name, label in (("one", "a"), ("two", "b"), ("three", "a")):
        sql.made(name, user_labels={"stack": label})
    ask = {"project": sql.google.project}
    found = sql.instances.list(request=ask | {"filter": "settings.userLabels.stack:a state:RUNNABLE"})
    assert {each.name for each in found.items} == {"one", "three"}
    first = sql.instances.list(request=ask | {"max_results": 2})
    rest = sql.instances.list(request=ask | {"max_results": 2, "page_token": first.next_page_token})
    assert sorted(each.name for each in [*first.items, *rest.items]) == ["one", "three", "two"]


def test_operations_are_read_and_listed(sql: Grpc) -> None:
    sql.made()
    operation = patch(sql, tier="db-custom-4-15360")
    read = sql.operations.get(request={"project": sql.google.project, "operation": operation.name})
    assert (read.operation_type.name, read.target_id) == ("UPDATE", "db")
    listed = sql.operations.list(request={"project": sql.google.project, "instance": "db"})
    assert [each.operation_type.name for each in listed.items] == ["UPDATE", "CREATE"]
    with pytest.raises(NotFound, match="operation does not exist"):
        sql.operations.get(request={"project": sql.google.project, "operation": "operation-1"})


def test_connectors_learn_the_address_and_the_certificate(sql: Grpc) -> None:
    sql.made()
    told = sql.connect.get_connect_settings(request=of(sql))
    assert told.ip_addresses[0].type_.name == "PRIMARY"
    assert told.server_ca_cert.cert.startswith("-----BEGIN CERTIFICATE-----")


def test_a_caller_without_the_permission_is_told_which(sql: Grpc) -> None:
    sql.made()
    sql.google.grant("roles/cloudsql.viewer", "user:viewer@example.com")
    viewer = Grpc(sql.google, "user:viewer@example.com")
    assert viewer.read().name == "db"
    words = "boss::NOT_AUTHORIZED: .* missing permission cloudsql.instances.delete on resource instances/db"
    with pytest.raises(PermissionDenied, match=words):
        viewer.instances.delete(request=of(sql))


def test_what_is_not_emulated_says_so(sql: Grpc) -> None:
    body = {"name": "db", "database_version": "MYSQL_8_0", "settings": {"tier": "db-f1-micro"}}
    with pytest.raises(Exception, match="not emulated"):
        sql.instances.insert(request=SqlInstancesInsertRequest(project=sql.google.project, body=DatabaseInstance(body)))
