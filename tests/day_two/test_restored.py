"""A backup takes the place of a running stack's database: by hand over from the UI, with callers that only wait."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate, GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.flows import flow
from prefect.states import Paused, Running, Scheduled, Suspended

from tests.e2e.test_backup import backups
from tests.e2e.test_operation import run_deployment
from tests.stack import Stack, eventually
from tests.traffic import UNHURRIED, clients

pytestmark = pytest.mark.fault

SECRET = "a text that must be readable after a restore"
TABLES = ("flow", "variable", "block_document", "flow_run", "deployment")


@flow
def left_over() -> None:
    """Never runs: its runs are put into states."""


def make_what_a_backup_has_under_way(stack: Stack) -> dict[str, str]:
    """A secret block, runs that run, are paused, are suspended and are due, and a taken slot; name → id of the runs."""
    with stack.client() as client:
        slug = client.read_block_type_by_slug("secret")
        schema = client.get_most_recent_block_schema_for_block_type(slug.id)
        assert schema is not None
        body = {"name": "restored", "data": {"value": SECRET}, "block_type_id": str(slug.id)}
        client.request("POST", "/block_documents/", json={**body, "block_schema_id": str(schema.id)})
        an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
        runs: dict[str, State[Any]] = {
            "running": Running(),
            "paused": Paused(timeout_seconds=86_400),
            "suspended": Suspended(timeout_seconds=86_400),
            "due": Scheduled(scheduled_time=an_hour_ago),
        }
        found = {name: str(client.create_flow_run(left_over, state=state).id) for name, state in runs.items()}
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="restored", limit=2))
        client.update_global_concurrency_limit("restored", GlobalConcurrencyLimitUpdate(active_slots=2))
    return found


def record(stack: Stack) -> dict[str, str]:
    """What the artifact `restore` tells; empty where there is none."""
    with stack.client() as client:
        only = ArtifactFilter(key=ArtifactFilterKey(any_=["restore"]))
        found = client.read_artifacts(artifact_filter=only)
    return {each["what"]: each["value"] for each in json.loads(str(found[0].data))} if found else {}


def test_a_restore_from_the_ui_puts_the_backup_in_place_while_callers_wait(stack: Stack) -> None:
    runs = make_what_a_backup_has_under_way(stack)
    stack.run("backup", "--reason", "to be restored")
    wanted = backups(stack)[0]["id"]
    flows = {row[0] for row in stack.query("SELECT id FROM flow_run")}
    with stack.client() as client:
        client.request("POST", "/variables/", json={"name": "made_after_the_backup", "value": 1})
    with clients(4, stack.url, stack.secret("auth-string"), UNHURRIED) as traffic:
        with stack.client() as client:
            run = run_deployment(client, "restore/restore")
        assert run.state is not None and run.state.is_completed(), run.state
        assert "handed over to the host job restore: watch http://127.0.0.1:" in (run.state.message or "")
        log = stack.home / "logs/job-restore.log"
        eventually(lambda: f"the backup {wanted} is in place" in log.read_text(), "the end of the job", 300)
    assert traffic.failed() == [] and len(traffic.calls) > 100
    print(f"{len(traffic.calls)} calls, the longest took {max(each.seconds for each in traffic.calls):.1f} s")

    assert stack.query("SELECT name FROM variable WHERE name LIKE 'made_after%'") == []
    assert flows <= {row[0] for row in stack.query("SELECT id FROM flow_run")}
    assert stack.query(f"SELECT state_type FROM flow_run WHERE id = '{run.id}'") == []
    states = dict(stack.query("SELECT id, state_name FROM flow_run"))
    wanted_states = {"running": "Crashed", "paused": "Crashed", "suspended": "Suspended", "due": "Late"}
    assert {name: states[id] for name, id in runs.items()} == wanted_states
    assert stack.query("SELECT active_slots FROM concurrency_limit_v2 WHERE name = 'restored'") == [["0"]]
    with stack.client() as client:
        block = client.read_block_document_by_name("restored", "secret")
    assert block.data["value"] == SECRET

    told = record(stack)
    assert told["backup"] == wanted and told["late runs"].startswith("1 ") and told["concurrency slots freed"] == "2"
    safety = next(each for each in backups(stack) if each["id"] == told["a backup of it"])
    assert safety["verified"] and safety["reason"] == f"before restore of {wanted}"
    kept = told["the database before"].partition(",")[0]
    assert not (stack.home / "restoring").exists() and stack.plan() == []
    assert stack.query("SELECT datname FROM pg_database WHERE datname LIKE '%-before-%'") == [[kept]]

    refused = stack.call("restore", *stack.where, "--drop-old")
    assert refused.status == 2 and f"{kept}  " in refused.stdout and "say --yes" in refused.stderr
    assert f"drop {kept}" in stack.run("restore", "--drop-old", "--yes").stdout
    assert stack.query("SELECT datname FROM pg_database WHERE datname LIKE 'prefect-db%'") == [["prefect-db"]]


def forged(stack: Stack, **changed: Any) -> str:
    """A copy of a backup with another manifest; its id."""
    source = stack.home / "store/backups" / str(backups(stack)[0]["id"])
    target = source.with_name("20200101T000000Z-f0f0f0")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    manifest = json.loads((target / "manifest.json").read_text())
    (target / "manifest.json").write_text(json.dumps(manifest | {"id": target.name} | changed))
    return target.name


def test_what_cannot_be_restored_is_refused_by_name_and_nothing_is_touched(stack: Stack) -> None:
    if not backups(stack):
        stack.run("backup")
    before = (stack.pids(), (stack.home / "agent/spec.json").read_bytes(), len(backups(stack)))
    id = forged(stack, home="elsewhere", schema_revision="fffffffffff1", prefect_version="9.9.9", key="00")
    dump = Path(stack.home / "store/backups" / id / "dump")
    dump.write_bytes(dump.read_bytes()[:-1000])
    try:
        done = stack.call("restore", *stack.where, id, "--yes")
        unknown = stack.call("restore", *stack.where, "20200101T000000Z-000000", "--yes")
    finally:
        shutil.rmtree(dump.parent)
    assert done.status == unknown.status == 1
    for said in ("foreign", "newer than what this stack's Prefect", "another key", "is damaged: its dump has"):
        assert said in done.stderr, done.output
    assert "nothing was touched" in done.stderr and "Traceback" not in done.output + unknown.output
    assert "there is no backup '20200101T000000Z-000000'" in unknown.stderr
    assert (stack.pids(), (stack.home / "agent/spec.json").read_bytes(), len(backups(stack))) == before
    assert not (stack.home / "restoring").exists()
