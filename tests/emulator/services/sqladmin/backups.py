"""Backups: what each holds, how it begins and ends, and what of them outlives the instance.

Sources: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups (final backups, retained backups, expiry),
https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/backups
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call
from tests.emulator.services.sqladmin.answers import BASE, etag, refused
from tests.emulator.world import Record

KEPT_DAYS = 30
"""Days a final backup is kept where nothing is said. Source: the page on backups; 365 are the most."""
MOST_DAYS = 365
HELD = ("sql.databases", "sql.users")
"""Kinds of records under an instance that a backup brings back."""


def no_backup() -> errors.ApiError:
    """Source: admin-api-error-messages, BACKUP_RUN_DOES_NOT_EXIST."""
    return errors.ApiError(404, "The backup run does not exist.", reason="backupRunDoesNotExist")


def find_backup(cloud: Cloud, name: str) -> Record | None:
    """A backup by `projects/p/backups/b`, unless its time is over."""
    record = cloud.world.find(f"sql/{name}")
    return None if record is None or expired(cloud, record) else record


def expired(cloud: Cloud, backup: Record) -> bool:
    end = backup.body.get("expiryTime")
    return end is not None and datetime.fromisoformat(end.replace("Z", "+00:00")) <= cloud.world.clock.now()


def new_backup(cloud: Cloud, instance: Record, kind: str, given: Body, at: datetime | None = None) -> Record:
    """The record of a backup that began at a moment, or now; it is not there yet."""
    uid = uuid.uuid5(uuid.NAMESPACE_URL, f"{instance.name}/{cloud.world.number()}")
    name = f"projects/{instance.body['project']}/backups/{uid}"
    begun = rfc3339(at or cloud.world.clock.now())
    body = {
        "kind": "sql#backup",
        "name": name,
        "selfLink": f"{BASE}/{name}",
        "instance": instance.body["name"],
        "databaseVersion": instance.body["databaseVersion"],
        "instanceSettings": copy.deepcopy(instance.body),
        "location": given.get("location") or instance.body["settings"]["backupConfiguration"]["location"],
        "backupKind": "SNAPSHOT",
        "type": kind,
        "state": "RUNNING",
        "description": given.get("description", ""),
        "backupInterval": {"startTime": begun, "endTime": begun},
        "maxChargeableBytes": str(int(instance.body["settings"]["dataDiskSizeGb"]) * 2**30),
    }
    if given.get("ttlDays"):
        body["expiryTime"] = in_days(cloud, int(given["ttlDays"]))
    elif given.get("expiryTime"):
        body["expiryTime"] = given["expiryTime"]
    return Record(f"sql/{name}", "sql.Backups", body, {"run": "", "instance": instance.name})


def in_days(cloud: Cloud, days: int) -> str:
    """No source for the words."""
    if not 1 <= days <= MOST_DAYS:
        raise refused(f"The retention of a backup must be between 1 and {MOST_DAYS} days")
    return rfc3339(cloud.world.clock.now() + timedelta(days=days))


def run_of(cloud: Cloud, instance: Record, backup: Record) -> Record:
    """The backup as a run of its instance."""
    number, now = str(cloud.world.number()), backup.body["backupInterval"]["startTime"]
    name = f"{instance.name}/backupRuns/{number}"
    body = {
        "kind": "sql#backupRun",
        "id": number,
        "instance": instance.body["name"],
        "selfLink": f"{BASE}/{name.removeprefix('sql/')}",
        "status": "RUNNING",
        "type": backup.body["type"],
        "enqueuedTime": now,
        "startTime": now,
        "windowStartTime": now,
    }
    body |= {key: backup.body[key] for key in ("description", "location", "backupKind", "databaseVersion")}
    backup.body["backupRun"] = name.removeprefix("sql/")
    backup.hidden["run"] = name
    return Record(name, "sql.backupRuns", body, {"backup": backup.name})


def succeeded(cloud: Cloud, instance: Record, backup: Record, run: Record | None, at: datetime | None = None) -> None:
    """It is done, at a moment or now."""
    now = rfc3339(at or cloud.world.clock.now())
    backup.hidden["content"] = content_of(cloud, instance)
    backup.body["state"] = "SUCCESSFUL"
    backup.body["backupInterval"]["endTime"] = now
    if run:
        run.body |= {"status": "SUCCESSFUL", "endTime": now, "maxChargeableBytes": backup.body["maxChargeableBytes"]}


def content_of(cloud: Cloud, instance: Record) -> list[Record]:
    """Copies of the databases and users of an instance."""
    found = (each for kind in HELD for each in cloud.world.under(f"{instance.name}/", kind))
    return [copy.deepcopy(each) for each in found]


def bring(cloud: Cloud, instance: Record, content: Iterable[Record]) -> None:
    """Put these databases and users under an instance, in the place of what it has."""
    for kind in HELD:
        for old in cloud.world.under(f"{instance.name}/", kind):
            cloud.world.drop(old.name)
    here: dict[str, Any] = {"instance": instance.body["name"], "project": instance.body["project"]}
    for each in content:
        tail = "/".join(each.name.split("/")[5:])
        body = copy.deepcopy(each.body) | here
        if "selfLink" in body:
            body["selfLink"] = f"{instance.body['selfLink']}/{tail}"
        body["etag"] = etag(body)
        cloud.world.put(Record(f"{instance.name}/{tail}", each.collection, body, copy.deepcopy(each.hidden)))


def final(cloud: Cloud, call: Call, instance: Record) -> Record | None:
    """The final backup that a delete is to leave, if it is asked for in the call or in the settings."""
    kept = instance.body["settings"].get("finalBackupConfig", {})
    if not call.get("enableFinalBackup", kept.get("enabled", False)) or instance.body["state"] != "RUNNABLE":
        return None
    given = {"description": call.get("finalBackupDescription", "")}
    if call.get("finalBackupExpiryTime"):
        given["expiryTime"] = call["finalBackupExpiryTime"]
    else:
        given["ttlDays"] = call.get("finalBackupTtlDays") or kept.get("retentionDays") or KEPT_DAYS
    return new_backup(cloud, instance, "FINAL", given)


def left_behind(cloud: Cloud, instance: Record, final_backup: Record | None) -> None:
    """An instance is gone: its backups go, but for retained ones and the final one."""
    deleted = rfc3339(cloud.world.clock.now())
    keep = instance.body["settings"].get("retainBackupsOnDelete", False)
    for backup in cloud.world.under(f"sql/projects/{instance.body['project']}/backups/", "sql.Backups"):
        if backup.hidden["instance"] == instance.name and "instanceDeletionTime" not in backup.body:
            if keep:
                backup.body["instanceDeletionTime"] = deleted
            else:
                cloud.world.drop(backup.name)
    if final_backup:
        succeeded(cloud, instance, cloud.world.put(final_backup), None)
        final_backup.body["instanceDeletionTime"] = deleted
