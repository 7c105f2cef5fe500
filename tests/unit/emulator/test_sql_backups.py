"""Backups, restores and clones through google.cloud.sqladmin_v1.

Sources: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups, backup-recovery/restoring, clone-instance,
delete-instance.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import Aborted, AlreadyExists, InvalidArgument, MethodNotImplemented, NotFound

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc, beta


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    """An instance `db` with a database `prefect` and a user of that name."""
    grpc = Grpc(google)
    grpc.made(backup_configuration={"enabled": True})
    filled(grpc)
    return grpc


def filled(sql: Grpc) -> None:
    sql.databases.insert(request=of(sql, body={"name": "prefect"}))
    sql.users.insert(request=of(sql, body={"name": "prefect", "password": "secret"}))


def of(sql: Grpc, **more: Any) -> dict[str, Any]:
    return {"project": sql.google.project, "instance": "db", **more}


def backed_up(sql: Grpc) -> int:
    """The id of a new run."""
    return sql.runs.insert(request=of(sql, body={"description": "before"})).backup_context.backup_id


def held(sql: Grpc, instance: str = "db") -> tuple[list[str], list[str]]:
    """Names of an instance's databases and users."""
    ask = {"project": sql.google.project, "instance": instance}
    databases = [each.name for each in sql.databases.list(request=ask).items]
    return databases, [each.name for each in sql.users.list(request=ask).items]


def restored(sql: Grpc, run: int, target: str = "db") -> Any:
    context = {"backup_run_id": run, "instance_id": "db", "project": sql.google.project}
    ask = {"project": sql.google.project, "instance": target, "body": {"restore_backup_context": context}}
    return sql.instances.restore_backup(request=ask)


def test_a_backup_is_made_read_listed_and_deleted(sql: Grpc) -> None:
    first, second = backed_up(sql), backed_up(sql)
    read = sql.runs.get(request=of(sql, id=first))
    assert (read.status.name, read.type_.name, read.description) == ("SUCCESSFUL", "ON_DEMAND", "before")
    assert [each.id for each in sql.runs.list(request=of(sql)).items] == [second, first]
    sql.runs.delete(request=of(sql, id=first))
    with pytest.raises(NotFound, match=r"The backup run does not exist."):
        sql.runs.get(request=of(sql, id=first))


def test_a_backup_takes_its_time(slow_google: Emulated) -> None:
    sql = Grpc(slow_google)
    sql.made()
    slow_google.advance(3600)
    run = backed_up(sql)
    assert sql.runs.get(request=of(sql, id=run)).status.name == "RUNNING"
    with pytest.raises(Aborted, match="another operation was already in progress"):
        restored(sql, run)
    slow_google.advance(3600)
    assert sql.runs.get(request=of(sql, id=run)).status.name == "SUCCESSFUL"


def test_a_restore_brings_back_databases_and_users_and_turns_backups_off(sql: Grpc) -> None:
    run = backed_up(sql)
    sql.databases.delete(request=of(sql, database="prefect"))
    sql.databases.insert(request=of(sql, body={"name": "later"}))
    sql.users.delete(request=of(sql, name="prefect"))
    restored(sql, run)
    assert held(sql) == (["postgres", "prefect"], ["postgres", "prefect"])
    assert not sql.read().settings.backup_configuration.enabled


def test_a_restore_into_another_instance(sql: Grpc) -> None:
    run = backed_up(sql)
    sql.made("other")
    restored(sql, run, "other")
    assert held(sql, "other") == (["postgres", "prefect"], ["postgres", "prefect"])
    read = sql.databases.get(request={"project": sql.google.project, "instance": "other", "database": "prefect"})
    assert (read.instance, read.self_link.endswith("/instances/other/databases/prefect")) == ("other", True)


def test_a_restore_wants_a_disk_as_large_and_the_same_version(sql: Grpc) -> None:
    sql.instances.patch(request=of(sql, body={"settings": {"data_disk_size_gb": 20}}))
    run = backed_up(sql)
    sql.made("small")
    with pytest.raises(InvalidArgument, match="storage size smaller than the backup size"):
        restored(sql, run, "small")
    body = {"name": "older", "database_version": "POSTGRES_17", "region": "europe-west1"}
    settings = {"edition": "ENTERPRISE", "tier": "db-f1-micro", "data_disk_size_gb": 20}
    sql.instances.insert(request={"project": sql.google.project, "body": {**body, "settings": settings}})
    with pytest.raises(InvalidArgument, match="does not match that of the instance"):
        restored(sql, run, "older")


def test_a_backup_that_is_not_there(sql: Grpc) -> None:
    with pytest.raises(NotFound, match=r"The backup run does not exist."):
        restored(sql, 1)


def test_backups_go_with_their_instance(sql: Grpc) -> None:
    backed_up(sql)
    ask = {"parent": f"projects/{sql.google.project}"}
    assert len(list(sql.backups.list_backups(request=ask))) == 1
    sql.instances.delete(request=of(sql))
    assert list(sql.backups.list_backups(request=ask)) == []


def test_retained_backups_stay_and_can_be_restored(sql: Grpc) -> None:
    sql.instances.patch(request=of(sql, body={"settings": {"retain_backups_on_delete": True}}))
    backed_up(sql)
    sql.instances.delete(request=of(sql))
    (kept,) = sql.backups.list_backups(request={"parent": f"projects/{sql.google.project}"})
    assert (kept.type_.name, bool(kept.instance_deletion_time)) == ("ON_DEMAND", True)
    sql.made("new")
    ask = {"project": sql.google.project, "instance": "new", "body": {"backup": kept.name}}
    sql.instances.restore_backup(request=ask)
    assert held(sql, "new") == (["postgres", "prefect"], ["postgres", "prefect"])


def test_a_final_backup_is_kept_for_its_days(google: Emulated) -> None:
    sql, instances = Grpc(google), beta(google).instances()
    sql.made()
    instances.delete(project=google.project, instance="db", enableFinalBackup=True, finalBackupTtlDays="10").execute()
    backups = beta(google).backups()
    listed = backups.listBackups(parent=f"projects/{google.project}", filter="type:FINAL instance:db").execute()
    assert [each["state"] for each in listed["backups"]] == ["SUCCESSFUL"]
    name = listed["backups"][0]["name"]
    backups.updateBackup(name=name, updateMask="ttlDays", body={"ttlDays": "20"}).execute()
    google.advance(15 * 86400)
    backups = beta(google).backups()  # tokens live for an hour
    assert backups.getBackup(name=name).execute()["type"] == "FINAL"
    google.advance(6 * 86400)
    backups = beta(google).backups()
    assert backups.listBackups(parent=f"projects/{google.project}").execute() == {}


def test_a_project_backup_is_made_and_deleted(sql: Grpc) -> None:
    parent = f"projects/{sql.google.project}"
    sql.backups.create_backup(request={"parent": parent, "backup": {"instance": "db", "description": "by name"}})
    (made,) = sql.backups.list_backups(request={"parent": parent})
    assert (made.description, made.state.name) == ("by name", "SUCCESSFUL")
    assert [each.description for each in sql.runs.list(request=of(sql)).items] == ["by name"]
    sql.backups.delete_backup(request={"name": made.name})
    assert list(sql.runs.list(request=of(sql)).items) == []


def test_a_clone_has_settings_databases_and_users(sql: Grpc) -> None:
    sql.instances.patch(request=of(sql, body={"settings": {"deletion_protection_enabled": True}}))
    context = {"destination_instance_name": "copy"}
    operation = sql.instances.clone(request=of(sql, body={"clone_context": context}))
    assert operation.operation_type.name == "CREATE_CLONE"
    assert sql.read("copy").settings.deletion_protection_enabled
    assert held(sql, "copy") == (["postgres", "prefect"], ["postgres", "prefect"])
    with pytest.raises(AlreadyExists):
        sql.instances.clone(request=of(sql, body={"clone_context": context}))


def test_a_clone_of_a_moment_is_not_emulated(sql: Grpc) -> None:
    context = {"destination_instance_name": "copy", "point_in_time": {"seconds": 1}}
    with pytest.raises(MethodNotImplemented, match="pointInTime is not emulated"):
        sql.instances.clone(request=of(sql, body={"clone_context": context}))


def test_automated_backups_are_taken_daily_and_so_many_are_kept(google: Emulated) -> None:
    sql = Grpc(google)
    kept = {"retained_backups": 2, "retention_unit": "COUNT"}
    sql.made(backup_configuration={"enabled": True, "start_time": "03:00", "backup_retention_settings": kept})
    google.advance(86400)
    (first,) = sql.runs.list(request=of(sql)).items
    assert (first.type_.name, first.status.name) == ("AUTOMATED", "SUCCESSFUL")
    assert (first.window_start_time.hour, first.window_start_time.minute) == (3, 0)
    sql.databases.insert(request=of(sql, body={"name": "later"}))
    on_demand = backed_up(sql)
    google.advance(3 * 86400)
    runs = sql.runs.list(request=of(sql)).items
    assert [each.type_.name for each in runs] == ["AUTOMATED", "AUTOMATED", "ON_DEMAND"]
    assert (runs[2].id, first.id in {each.id for each in runs}) == (on_demand, False)
    restored(sql, runs[0].id)
    assert held(sql)[0] == ["later", "postgres"]


def test_no_automated_backup_where_they_are_off_or_nothing_runs(google: Emulated) -> None:
    sql = Grpc(google)
    sql.made()
    sql.made("stopped", backup_configuration={"enabled": True}, activation_policy="NEVER")
    google.advance(3 * 86400)
    for name in ("db", "stopped"):
        assert not sql.runs.list(request={"project": google.project, "instance": name}).items
