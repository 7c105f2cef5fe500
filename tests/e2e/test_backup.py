"""Backups of a stack that is there: made and drilled by a run on its own server, listed, refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser import newest
from tests.e2e.test_operation import artifacts
from tests.stack import Stack

pytestmark = pytest.mark.e2e


def backups(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(stack.run("backup", "--list", "--json").stdout)["backups"]
    return found


def test_a_backup_is_made_restored_and_listed(stack: Stack) -> None:
    before = {each["id"] for each in backups(stack)}
    told = stack.run("backup", "--reason", "before I try something")
    assert "drill" in told.stdout and "✓ verified" in told.stdout
    assert f": {stack.url}/runs/flow-run/" in told.stdout, "where it is watched, through the front door"
    (made,) = [each for each in backups(stack) if each["id"] not in before]
    assert (made["verified"], made["reason"]) == (True, "before I try something")
    assert made["size"] > 0 and made["rows"] > 0 and made["drill_seconds"] > 0
    files = list((stack.home / "store/backups" / made["id"]).iterdir())
    assert sorted(each.name for each in files) == ["dump", "manifest.json"]
    assert {each.stat().st_mode & 0o077 for each in files} == {0}
    conditions = {each["type"]: each["status"] for each in stack.status()["conditions"]}
    assert conditions["BackupRecent"] is True


def test_its_run_has_a_step_for_each_thing_it_did_and_a_table_of_what_there_is(stack: Stack) -> None:
    with stack.client() as client:
        run = next(each for each in newest(stack, "backup") if each.state_name == "Completed")
        table = json.loads(artifacts(client, run)["backups"])
        names = {each.name.partition("-")[0] for each in client.read_task_runs() if each.flow_run_id == run.id}
    assert table[0]["verified"] is True
    assert names >= {"dump", "drill"}


def test_a_wrong_reason_is_a_wrong_call(stack: Stack) -> None:
    done = stack.call("backup", *stack.where, "--reason", "")
    assert done.status != 0 and "Traceback" not in done.output
    assert "reason" in done.stderr
