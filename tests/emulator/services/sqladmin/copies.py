"""Clones and restores: one instance filled from another or from a backup.

Sources: https://cloud.google.com/sql/docs/postgres/clone-instance,
https://cloud.google.com/sql/docs/postgres/backup-recovery/restoring
"""

from __future__ import annotations

import copy
from datetime import datetime
from functools import partial

from tests.emulator import errors
from tests.emulator.backing import SqlBacking
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import refused, wrong_state
from tests.emulator.services.sqladmin.authorities import certified
from tests.emulator.services.sqladmin.backups import HELD, bring, content_of, find_backup, no_backup
from tests.emulator.services.sqladmin.databases import new_database
from tests.emulator.services.sqladmin.instance_body import new_instance
from tests.emulator.services.sqladmin.instances import InstanceKind
from tests.emulator.services.sqladmin.usage import part_of
from tests.emulator.services.sqladmin.users import new_user, user_name
from tests.emulator.world import Record

CLONE_ONLY = ("pitrTimestampMs", "binLogCoordinates", "databaseNames", "destinationNetwork",
              "preferredSecondaryZone", "preferredZone", "sourceInstanceDeletionTime")  # fmt: skip
"""Parts of a clone's context that are not emulated."""


class InstanceCopies(InstanceKind):
    """`clone` and `restoreBackup` of instances."""

    owns_records = False

    @on("clone", "cloudsql.instances.clone")
    def clone(self, call: Call) -> Body:
        """The copy has the source's settings, its databases and its users, not its backups."""
        source, context = self.idle(self.running(call)), call.body.get("cloneContext", {})
        project = self.project_of(call)
        call.require("cloudsql.instances.create", f"projects/{project.id}")
        self._check_clone(context, project.id)
        at = self._moment(context, source)
        given = {key: copy.deepcopy(source.body[key]) for key in ("databaseVersion", "region", "settings")}
        if context.get("allocatedIpRange"):
            given["settings"]["ipConfiguration"]["allocatedIpRange"] = context["allocatedIpRange"]
        record = new_instance(self.cloud, project, context.get("destinationInstanceName", ""), given)
        self.cloud.world.put(record)
        content = content_of(self.cloud, source)

        def act(part: SqlBacking) -> None:
            certified(part, record)
            part.start(record.name, record.body)
            part.copy(source.name, record.name, at)

        def made() -> None:
            self.made(record)
            bring(self.cloud, record, content)
            if at is not None and (part := part_of(self.cloud)):
                self._bring_held(record, *part.held(record.name))

        return self.begin(call, "CREATE_CLONE", record, made, act, undo=lambda: record.body.update(state="FAILED"))

    def _check_clone(self, context: Body, project: str) -> None:
        asked = [name for name in CLONE_ONLY if context.get(name)]
        if context.get("destinationProject") not in (None, "", project):
            asked.append("destinationProject")
        if asked:
            raise errors.not_emulated(f"sql.instances.clone with {asked[0]}")

    def _moment(self, context: Body, source: Record) -> datetime | None:
        """The moment as of which the copy is to be. What was there then is known to a real part alone: 501 without.

        Source: https://cloud.google.com/sql/docs/postgres/backup-recovery/pitr. No source for the words.
        """
        if not context.get("pointInTime"):
            return None
        if part_of(self.cloud) is None:
            raise errors.not_emulated("sql.instances.clone with pointInTime")
        if not source.body["settings"]["backupConfiguration"]["pointInTimeRecoveryEnabled"]:
            raise refused("Point-in-time recovery is not enabled on the instance")
        at = datetime.fromisoformat(context["pointInTime"])
        if at > self.cloud.world.clock.now():
            raise refused("The point in time is in the future")
        return at

    def _bring_held(self, instance: Record, databases: list[str], users: list[str]) -> None:
        """Databases and users as the real part has them, in the place of those that the source has now."""
        named = {f"{instance.name}/databases/{each}" for each in databases}
        named |= {user_name(instance, each) for each in users}
        there = {each.name for kind in HELD for each in self.cloud.world.under(f"{instance.name}/", kind)}
        for name in there - named:
            self.cloud.world.drop(name)
        for name in named - there:
            new = new_database if "/databases/" in name else partial(new_user, password="")
            new(self.cloud, instance, {"name": name.rpartition("/")[2]})

    @on("restoreBackup", "cloudsql.instances.restoreBackup")
    def restore(self, call: Call) -> Body:
        """All that the target holds is overwritten; into a new instance: 501."""
        target = self.idle(self.instance(call))
        if target.body["state"] != "RUNNABLE":
            raise wrong_state()
        backup = self._backup(call)
        self._check_fits(backup, target)
        return self.begin(
            call,
            "RESTORE_VOLUME",
            target,
            lambda: self._restored(target, backup),
            lambda part: part.restore(target.name, backup.name),
        )

    def _backup(self, call: Call) -> Record:
        """The backup that is meant, by its name or by its run."""
        for unsupported in ("backupdrBackup", "restoreInstanceSettings", "restoreInstanceClearOverridesFieldNames"):
            if call.body.get(unsupported):
                raise errors.not_emulated(f"sql.instances.restoreBackup with {unsupported}")
        context, name = call.body.get("restoreBackupContext", {}), call.body.get("backup", "")
        if bool(context) == bool(name):
            raise refused("Exactly one of restoreBackupContext and backup must be set")
        if not name:
            project = call.project(context.get("project") or call["project"]).id
            instance = context.get("instanceId") or call["instance"]
            run = self.cloud.world.find(
                f"sql/projects/{project}/instances/{instance}/backupRuns/{context.get('backupRunId')}"
            )
            name = run.hidden["backup"].removeprefix("sql/") if run else f"projects/{project}/backups/-"
        call.require("cloudsql.backupRuns.get", "/".join(name.split("/")[:2]))
        backup = find_backup(self.cloud, name)
        if backup is None:
            raise no_backup()
        return backup

    def _check_fits(self, backup: Record, target: Record) -> None:
        """Sources: admin-api-error-messages for the first and the last; no source for the words of the second.

        Storage: "at least as large as the capacity of the instance being backed up", however much of it is used.
        """
        if backup.body["state"] != "SUCCESSFUL":
            raise errors.invalid("The backup run status is not valid for the given request.")
        source = backup.body["instanceSettings"]
        if source["databaseVersion"] != target.body["databaseVersion"]:
            raise refused(
                f"The database version of the backup ({source['databaseVersion']}) does not match that of the instance "
                f"({target.body['databaseVersion']})"
            )
        if int(source["settings"]["dataDiskSizeGb"]) > int(target.body["settings"]["dataDiskSizeGb"]):
            raise errors.invalid(
                "Restore from backup cannot be done to the instance with storage size smaller than the backup size."
            )

    def _restored(self, target: Record, backup: Record) -> None:
        """Databases and users are the backup's; backups are off until somebody turns them on again.

        No source for the latter but the experience of those who run it: terraform's provider sets the backup
        configuration again after a restore (GoogleCloudPlatform/magic-modules#4336).
        """
        bring(self.cloud, target, backup.hidden["content"])
        target.body["settings"]["backupConfiguration"] |= {"enabled": False, "pointInTimeRecoveryEnabled": False}
        target.body["settings"]["settingsVersion"] = str(int(target.body["settings"]["settingsVersion"]) + 1)


KINDS = (InstanceCopies,)
