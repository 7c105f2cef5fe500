"""Backups of a project, with those of deleted instances.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/backups
"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, Handle, Handler, on
from tests.emulator.services.sqladmin.answers import paged, refused
from tests.emulator.services.sqladmin.backup_runs import BackupKind
from tests.emulator.services.sqladmin.backups import expired, find_backup, in_days, no_backup
from tests.emulator.services.sqladmin.filters import chosen
from tests.emulator.world import Record


class Backups(BackupKind):
    """Each is also a backup run as long as its instance is there; final ones are only here."""

    apis = ("sqladmin.v1",)
    collection = "sql.Backups"

    def existing(self, call: Call) -> Record:
        record = find_backup(self.cloud, call["name"])
        if record is None:
            raise no_backup()
        return record

    @on("GetBackup", "cloudsql.backupRuns.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("ListBackups", "cloudsql.backupRuns.list")
    def listed(self, call: Call) -> Body:
        prefix = f"sql/projects/{self.project_of(call).id}/backups/"
        there = (each for each in self.cloud.world.under(prefix, "sql.Backups") if not expired(self.cloud, each))
        bodies = sorted((each.body for each in there), key=lambda body: str(body["backupInterval"]), reverse=True)
        found = [body for body in bodies if chosen(call.get("filter", ""), body)]
        return paged("backups", found, call, "pageSize")

    @on("CreateBackup", "cloudsql.backupRuns.create")
    def create(self, call: Call) -> Body:
        name = call.body.get("instance", "").rpartition("/")[2]
        if not name:
            raise refused("Missing parameter: instance")  # no source for the words
        return self.backed_up(call, self.idle(self.instance(call, name)), call.body)

    @on("UpdateBackup", "cloudsql.backupRuns.update")
    def update(self, call: Call) -> Body:
        """Source: `updateMask`: only the description and the retention of a final backup. No source for the words."""
        record, given = self.existing(call), call.body
        if record.body["type"] != "FINAL" and (given.get("ttlDays") or given.get("expiryTime")):
            raise refused("Only the retention of a final backup can be updated")
        record.body |= {key: given[key] for key in ("description", "expiryTime") if key in given}
        if given.get("ttlDays"):
            record.body["expiryTime"] = in_days(self.cloud, int(given["ttlDays"]))
        return self.begin(call, "UPDATE_BACKUP", record, lambda: None)

    @on("DeleteBackup", "cloudsql.backupRuns.delete")
    def delete(self, call: Call) -> Body:
        return self.dropped(call, self.existing(call))


class BackupsOfBeta(Backups):
    """The same, as v1beta4 spells its methods: `sql.backups.listBackups`."""

    apis = ("sqladmin.v1beta4",)
    collection = "sql.backups"
    owns_records = False

    @classmethod
    def handlers(cls) -> dict[str, tuple[Handle, Handler]]:
        return {verb[:1].lower() + verb[1:]: found for verb, found in super().handlers().items()}


KINDS = (Backups, BackupsOfBeta)
