"""Suspension of an instance, which is Google's own doing: `POST /_emulator/suspensions` puts and lifts it.

Source: https://cloud.google.com/sql/docs/postgres/diagnose-issues#suspended-state: it can still be looked at, and be
deleted "if billing issues triggered the suspension"; once its cause is resolved it "returns to runnable status".
"""

from __future__ import annotations

from tests.emulator.backing import Backing
from tests.emulator.cloud import Cloud
from tests.emulator.services.sqladmin.answers import wrong_state
from tests.emulator.world import Record

REASONS = ("BILLING_ISSUE", "LEGAL_ISSUE", "OPERATIONAL_ISSUE", "KMS_KEY_ISSUE", "PROJECT_ABUSE")
"""Source: `suspensionReason` in the reference."""


def suspend(cloud: Cloud, project: str, instance: str, reason: str) -> Record:
    """Suspend an instance that runs; "" for a reason lifts it. KeyError for an instance that is not there."""
    record = cloud.world.records[f"sql/projects/{project}/instances/{instance}"]
    if reason and reason not in REASONS:
        raise ValueError(f"reason is {reason!r}, not one of {', '.join(REASONS)}")
    wanted = "RUNNABLE" if reason else "SUSPENDED"
    if record.body["state"] != wanted:
        raise ValueError(f"{instance} is {record.body['state']}, not {wanted}")
    record.body.pop("suspensionReason", None)
    record.body |= {"state": "SUSPENDED", "suspensionReason": [reason]} if reason else {"state": "RUNNABLE"}
    _follow(cloud, record)
    return record


def _follow(cloud: Cloud, record: Record) -> None:
    """The real part stops or starts before this returns, so that nobody connects to what is suspended."""

    def act(part: Backing) -> None:
        (part.stop if record.body["state"] == "SUSPENDED" else part.start)(record.name, record.body)

    if (acting := cloud.backings.run("sql.instances", act)) is not None:
        acting.result()


def check_deletable(instance: Record) -> None:
    """Refuse to delete what was suspended for anything but billing. No source for the words: those of other states."""
    if instance.body["state"] == "SUSPENDED" and "BILLING_ISSUE" not in instance.body["suspensionReason"]:
        raise wrong_state()
