"""What becomes of backups with time, and of those that are damaged: forged ones beside a real one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

from blocks import signature
from blocks.backups import new_id
from tests.e2e.test_backup import backups
from tests.e2e.test_operation import artifacts, run_deployment
from tests.stack import Stack, eventually

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True, scope="module")
def one_is_verified(stack: Stack) -> None:
    """A real backup, to forge others from."""
    if not any(each["verified"] for each in backups(stack)):
        stack.run("backup")


def test_the_policy_keeps_what_is_young(stack: Stack) -> None:
    before = backups(stack)
    said = stack.run("expire").stdout  # as no backup goes, nobody needs to be asked
    assert "no backup to drop" in said and "disused releases" in said
    with stack.client() as client:
        run = run_deployment(client, "expire/expire")
        assert run.state is not None and run.state.is_completed(), run.state
    assert [each["id"] for each in backups(stack)] == [each["id"] for each in before]


def test_it_does_not_begin_while_another_holds_the_lease(stack: Stack) -> None:
    before = len(backups(stack))
    with stack.ledger.held("something else"):
        done = stack.call("backup", *stack.where)
    assert done.status == 1
    assert "the lease is held by" in done.stderr and "something else" in done.stderr
    assert len(backups(stack)) == before


def store(stack: Stack) -> Path:
    return stack.home / "store/backups"


def ids(stack: Stack) -> set[str]:
    """Names of the folders in which there is anything."""
    return {each.parent.name for each in store(stack).glob("*/*")}


@contextmanager
def emptied(stack: Stack) -> Iterator[Path]:
    """A store without backups, and a real one to forge others from; afterwards it is as it was."""
    kept = stack.folder / "kept"
    model = next(each["id"] for each in backups(stack) if each["verified"])
    store(stack).rename(kept)
    try:
        yield kept / model
    finally:
        shutil.rmtree(store(stack), ignore_errors=True)
        kept.rename(store(stack))


def forge(stack: Stack, model: Path, days: float, *, verified: bool = True, **changed: str) -> str:
    """A backup as it would be, had it been made so many days ago, signed; its id."""
    made = datetime.now(UTC) - timedelta(days=days)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest |= {"id": new_id(made), "made": made.isoformat(timespec="seconds"), **changed}
    folder = store(stack) / manifest["id"]
    shutil.copytree(model, folder)
    signed = signature.signed(manifest | ({} if verified else {"drill": None}), stack.secret("encryption-key"))
    (folder / "manifest.json").write_text(json.dumps(signed))
    return str(manifest["id"])


def damage(stack: Stack, model: Path) -> str:
    """A backup whose manifest was cut; its id."""
    name = forge(stack, model, 30)
    path = store(stack) / name / "manifest.json"
    path.write_text(path.read_text()[:100])
    return name


def test_expiry_drops_what_is_due_and_nothing_else(stack: Stack) -> None:
    with emptied(stack) as model:
        kept = {forge(stack, model, days, verified=False) for days in range(20, 27)}  # the newest seven
        kept |= {forge(stack, model, days) for days in (40, 50)}  # the last two that are verified
        kept |= {forge(stack, model, 70, home="another"), forge(stack, model, -400), damage(stack, model)}
        due = {forge(stack, model, 45, verified=False), forge(stack, model, 60)}
        with stack.client() as client:
            run = run_deployment(client, "expire/expire", only_show=True)
            assert run.state is not None and run.state.is_completed(), run.state
            assert {each["id"] for each in json.loads(artifacts(client, run)["expire"])} == due
        assert ids(stack) == kept | due
        asked = stack.call("expire", *stack.where)
        assert asked.status == 2 and "--yes" in asked.stderr, asked.output
        assert {line.split()[0] for line in asked.stdout.splitlines()} == due
        assert ids(stack) == kept | due
        stack.run("expire", "--yes")
        assert ids(stack) == kept
        with stack.client() as client:
            (table,) = [each for each in client.read_latest_artifacts() if each.key == "backups"]
    rows = {round(each["age_hours"] / 24): each for each in json.loads(str(table.data))}
    assert rows[40]["dump_seconds"] > 0 and rows[40]["drill_seconds"] > 0 and rows[20]["drill_seconds"] is None
    assert rows[70]["foreign"] is True and not [days for days, each in rows.items() if each["foreign"] and days != 70]
    assert "is damaged" in str(table.description)


def test_a_damaged_manifest_is_named_and_stops_no_backup(stack: Stack) -> None:
    with emptied(stack) as model:
        damaged = damage(stack, model)
        done = stack.run("backup")
        assert "✓ verified" in done.stdout and f"{damaged}  ✗ unreadable" in done.stderr
        assert "drill" in done.stdout.splitlines()[-1], "how long it took is not told"
        refused = stack.call("restore", "latest", *stack.where, "--yes")
        assert refused.status == 1 and damaged in refused.stderr, refused.output
        assert damaged in ids(stack) and len(ids(stack)) == 2


def test_where_only_an_old_backup_is_left_status_fails_and_the_automation_tells(stack: Stack) -> None:
    with emptied(stack) as model:
        forge(stack, model, 3)
        with stack.client() as client:
            run = run_deployment(client, "status/status")
    assert run.state is not None and run.state.is_failed()
    assert "BackupRecent: the last verified backup is 72.0 hours old, 36 are allowed" in str(run.state.message)
    eventually(lambda: was_told(stack, run), "the automation", 60)


MOST_EVENTS = 50
"""The server gives no more at one time, the newest first; the client would ask for 100, and is refused."""


def was_told(stack: Stack, run: FlowRun) -> bool:
    """Whether the automation on failed maintenance runs carried its action out because of this run."""
    with stack.client() as client:
        (automation,) = client.read_automations_by_name("Maintenance run failed")
        wanted = EventFilter(
            event=EventNameFilter(name=["prefect.automation.action.executed"]),
            resource=EventResourceFilter(id=[f"prefect.automation.{automation.id}"]),
        )
        its = EventFilter(resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]))
        acted, failed = (client.read_events(each, limit=MOST_EVENTS).events for each in (wanted, its))
    causes = {f"prefect.event.{each.id}" for each in failed}
    return any(causes & {related.id for related in each.related} for each in acted)
