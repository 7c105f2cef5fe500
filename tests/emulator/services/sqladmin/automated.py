"""Automated backups: one a day while the instance runs, the oldest dropped as there are too many.

Source: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups#automated-backups. Nothing ticks: whatever is
asked of an instance first takes the backups that have become due, so each holds what was there at its time.
"""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import cast

from tests.emulator.backing import SqlBacking
from tests.emulator.cloud import Cloud
from tests.emulator.services.sqladmin.backups import new_backup, run_of, succeeded
from tests.emulator.world import Record

DAY = timedelta(days=1)


def take_due(cloud: Cloud, instance: Record) -> None:
    """Take the backups of all windows that have begun since somebody last asked."""
    now, settings = cloud.world.clock.now(), instance.body["settings"]
    since = instance.hidden.get("backed_up", now)
    instance.hidden["backed_up"] = now
    configuration = settings["backupConfiguration"]
    runs = instance.body["state"] == "RUNNABLE" and settings["activationPolicy"] == "ALWAYS"
    if not configuration["enabled"] or not runs or since == now:
        return
    kept = configuration["backupRetentionSettings"]["retainedBackups"]
    for moment in _windows(since, now, configuration["startTime"])[-kept:]:
        _take(cloud, instance, moment)
    _drop_old(cloud, instance, kept)


def _windows(since: datetime, now: datetime, start: str) -> list[datetime]:
    """The moments after the first and up to the second at which a window begins."""
    hour, minute = start.split(":")
    first = since.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
    first += DAY if first <= since else timedelta(0)
    return [first + DAY * count for count in range((now - first) // DAY + 1)]


def _take(cloud: Cloud, instance: Record, moment: datetime) -> None:
    backup = new_backup(cloud, instance, "AUTOMATED", {}, moment)
    run = run_of(cloud, instance, backup)
    for record in (backup, run):
        cloud.world.put(record)
    succeeded(cloud, instance, backup, run, moment)
    work = cloud.backings.run("sql.instances", lambda part: cast("SqlBacking", part).backup(instance.name, backup.name))

    def failed(done: Future[None]) -> None:
        if done.exception():
            backup.body["state"], run.body["status"] = "FAILED", "FAILED"

    if work:
        work.add_done_callback(failed)


def _drop_old(cloud: Cloud, instance: Record, kept: int) -> None:
    """On-demand backups stay until somebody deletes them."""
    runs = cloud.world.under(f"{instance.name}/", "sql.backupRuns")
    automated = [run for run in runs if run.body["type"] == "AUTOMATED"]
    for run in sorted(automated, key=lambda run: int(run.body["id"]))[:-kept]:
        _forget(cloud, run)


def _forget(cloud: Cloud, run: Record) -> None:
    backup = run.hidden["backup"]
    cloud.world.drop(run.name)
    cloud.world.drop(backup)
    cloud.backings.run("sql.instances", lambda part: cast("SqlBacking", part).forget(backup))
