"""Backup runs of an instance. Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/backupRuns"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import paged, refused
from tests.emulator.services.sqladmin.backups import new_backup, no_backup, run_of, succeeded
from tests.emulator.services.sqladmin.base import SqlKind
from tests.emulator.world import Record


class BackupKind(SqlKind):
    """How a backup is made and dropped, as a run of its instance or as a backup of the project."""

    def backed_up(self, call: Call, instance: Record, given: Body) -> Body:
        """Begin a backup that somebody asked for."""
        if instance.body["state"] != "RUNNABLE":
            raise refused("Invalid request since instance is not running")
        backup = new_backup(self.cloud, instance, "ON_DEMAND", given)
        run = run_of(self.cloud, instance, backup)
        for record in (backup, run):
            self.cloud.world.put(record)
        return self.begin(
            call,
            "BACKUP_VOLUME",
            instance,
            lambda: succeeded(self.cloud, instance, backup, run),
            lambda part: part.backup(instance.name, backup.name),
            undo=lambda: (backup.body.update(state="FAILED"), run.body.update(status="FAILED")),
            context={"backupContext": {"kind": "sql#backupContext", "backupId": run.body["id"]}},
        )

    def dropped(self, call: Call, backup: Record) -> Body:
        """Begin to take a backup away, and its run with it."""
        run = self.cloud.world.find(backup.hidden["run"])
        backup.body["state"] = "DELETING"
        if run:
            run.body["status"] = "DELETION_PENDING"

        def gone() -> None:
            for name in (backup.name, backup.hidden["run"]):
                self.cloud.world.drop(name)

        instance = self.cloud.world.find(backup.hidden["instance"]) or backup
        return self.begin(call, "DELETE_BACKUP", instance, gone, lambda part: part.forget(backup.name))


class BackupRuns(BackupKind):
    """Backups of one instance, the newest first."""

    collection = "sql.backupRuns"

    def existing(self, call: Call, instance: Record) -> Record:
        record = self.cloud.world.find(f"{instance.name}/backupRuns/{call['id']}")
        if record is None:
            raise no_backup()
        return record

    @on("get", "cloudsql.backupRuns.get")
    def get(self, call: Call) -> Body:
        return self.existing(call, self.instance(call)).body

    @on("list", "cloudsql.backupRuns.list")
    def listed(self, call: Call) -> Body:
        bodies = [each.body for each in self.children(self.instance(call), self.collection)]
        bodies.sort(key=lambda body: int(body["id"]), reverse=True)
        return {"kind": "sql#backupRunsList"} | paged("items", bodies, call)

    @on("insert", "cloudsql.backupRuns.create")
    def insert(self, call: Call) -> Body:
        """Source: `type` in the reference: callers ask for on-demand backups only. No source for the words."""
        if call.body.get("type", "ON_DEMAND") != "ON_DEMAND":
            raise refused("Only on-demand backups can be created")
        return self.backed_up(call, self.idle(self.instance(call)), call.body)

    @on("delete", "cloudsql.backupRuns.delete")
    def delete(self, call: Call) -> Body:
        instance = self.idle(self.instance(call))
        return self.dropped(call, self.cloud.world.records[self.existing(call, instance).hidden["backup"]])


KINDS = (BackupRuns,)
