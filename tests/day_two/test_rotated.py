"""All rotations of a stack in use, under clients without retries: no call fails, and what is old ends."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate

from blocks.errors import NotReady
from blocks.host import secret_files
from blocks.postgres import login as database_login
from blocks.postgres import sql
from blocks.postgres.encryption import is_readable
from tests.e2e.test_operation import artifacts, run_deployment
from tests.stack import Result, Stack, eventually
from tests.traffic import UNHURRIED, Traffic, clients, headers

pytestmark = pytest.mark.fault


def status(stack: Stack, auth: str) -> int:
    return httpx.get(f"{stack.url}/api/admin/version", headers=headers(auth), timeout=10).status_code


@dataclass(frozen=True)
class Rotated:
    """What was before, what was called, what clients saw; `at_once` is what the old string got right afterwards."""

    old: dict[str, str]
    slots: list[set[str]]
    auth: Result
    database: Result
    key: Result
    with_old: Traffic
    with_new: Traffic
    at_once: int


@pytest.fixture(scope="module")
def rotated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotated]:
    """The auth string under clients with the old one, whose profile is ours; then the others under the new one."""
    old = {name: stack.secret(name) for name in ("auth-string", "database-login", "encryption-key")}
    with stack.client() as client:
        kept = save_secret(client, "open-sesame")
    slots = [set(stack.servers())]
    stack.environment = {**stack.environment, "PREFECT_HOME": str(tmp_path_factory.mktemp("user"))}
    stack.run("connect")
    with clients(3, stack.url, old["auth-string"], UNHURRIED) as with_old:
        auth = rotate(stack, "auth", "--grace-minutes", "1")
        at_once = status(stack, old["auth-string"])
    slots.append(set(stack.servers()))
    with clients(3, stack.url, stack.secret("auth-string"), UNHURRIED) as with_new:
        database = rotate(stack, "database")
        slots.append(set(stack.servers()))
        key = rotate(stack, "encryption-key")
        with_new.wait_for(20)
    yield Rotated(old, slots, auth, database, key, with_old, with_new, at_once)
    with stack.client() as client:
        client.delete_block_document(kept)
    environment = dict(stack.environment)
    del environment["PREFECT_HOME"]
    stack.environment = environment


def save_secret(client: SyncPrefectClient, value: str) -> UUID:
    """A secret block of the name `kept`."""
    kind = client.read_block_type_by_slug("secret")
    schema = next(each for each in client.read_block_schemas() if each.block_type_id == kind.id)
    return client.create_block_document(
        BlockDocumentCreate(name="kept", data={"value": value}, block_type_id=kind.id, block_schema_id=schema.id)
    ).id


def rotate(stack: Stack, what: str, *options: str) -> Result:
    done = stack.call("rotate", what, *stack.where, *options)
    assert done.status == 0, done.output
    return done


def test_no_call_fails_while_the_auth_string_changes(rotated: Rotated, stack: Stack) -> None:
    assert rotated.with_old.failed() == []
    assert len(rotated.with_old.calls) > 100
    assert rotated.at_once == 200, "within its grace the old one is accepted"
    assert status(stack, stack.secret("auth-string")) == 200
    assert stack.secret("auth-string") != rotated.old["auth-string"]


def test_no_call_fails_while_the_database_gets_another_login(rotated: Rotated, stack: Stack) -> None:
    assert rotated.with_new.failed() == []
    assert len(rotated.with_new.calls) > 100
    user, password = database_login.parts(rotated.old["database-login"])
    assert stack.login.user != user
    with pytest.raises(NotReady):
        old = replace(stack.login, user=user, password=password)
        sql.query(old, "SELECT 1")
    assert stack.query("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'") == [["prefect"]]


def test_every_block_has_the_new_encryption_key_and_calls_only_waited(rotated: Rotated, stack: Stack) -> None:
    assert rotated.with_new.failed() == []
    old, new = rotated.old["encryption-key"], stack.secret("encryption-key")
    assert old != new and stack.versions("encryption-key")[-1] == stack.promoted("encryption-key") > 1
    assert secret_files.read(stack.home / "secrets", "encryption-key", 1) == old, "backups need the old one"
    stored = [row[0] for row in stack.query("SELECT data #>> '{}' FROM block_document")]
    assert stored and all(is_readable(each, [new]) and not is_readable(each, [old]) for each in stored)
    with stack.client() as client:
        kept = client.read_block_document_by_name("kept", "secret", include_secrets=True)
    assert kept.data["value"] == "open-sesame"
    assert "keep a copy of it on another machine" in rotated.key.stdout


def test_each_time_the_other_slot_takes_over_and_one_server_is_left(rotated: Rotated) -> None:
    first, second, third = rotated.slots
    assert first == third and first | second == {"server-blue", "server-green"} and not first & second


def test_it_says_who_must_be_given_the_new_one_and_by_when(rotated: Rotated, stack: Stack) -> None:
    assert str(stack.home / "secrets/auth-string") in rotated.auth.stdout
    assert "is refused from 20" in rotated.auth.stdout
    profiles = tomllib.loads((Path(stack.environment["PREFECT_HOME"]) / "profiles.toml").read_text())["profiles"]
    assert profiles[stack.name]["PREFECT_API_AUTH_STRING"] == stack.secret("auth-string"), "our profile has it already"
    with stack.client() as client:
        runs = sorted(client.read_flow_runs(), key=lambda each: each.created, reverse=True)  # type: ignore[arg-type,return-value]
        first = next(each for each in runs if each.parameters.get("what") == "auth")
        assert "is refused from 20" in artifacts(client, first)["rotation"]


def test_after_its_grace_the_old_one_is_refused(rotated: Rotated, stack: Stack) -> None:
    eventually(lambda: status(stack, rotated.old["auth-string"]) == 401, "the end of the grace", 90)
    assert status(stack, stack.secret("auth-string")) == 200


def test_workers_have_it_and_run_flows(rotated: Rotated, stack: Stack) -> None:
    for path in ("etc/worker-default/prefect.toml", f"etc/{next(iter(rotated.slots[-1]))}/prefect.toml"):
        assert stack.secret("auth-string") in (stack.home / path).read_text()
    with stack.client() as client:
        for pool in ("default", "maintenance"):
            run = run_deployment(client, f"probe/{pool}")
            assert run.state is not None and run.state.is_completed(), run.state


def test_nothing_is_left_to_converge(rotated: Rotated, stack: Stack) -> None:
    assert stack.plan() == []
    for each in ("auth-string", "auth-grace", "database-login"):
        assert stack.versions(each) == [stack.promoted(each)], "the old ones are gone"


def test_no_old_secret_is_in_a_log_or_a_record(rotated: Rotated, stack: Stack) -> None:
    secret = [part for value in rotated.old.values() for part in (value, value.partition(":")[2]) if part]
    logs = {each.name: each.read_text(errors="replace") for each in (stack.home / "logs").iterdir() if each.is_file()}
    assert [(name, each) for name, text in logs.items() for each in secret if each in text] == []
    assert [each.argv for each in stack.transcript for text in secret if text in each.output] == []
    with stack.client() as client:
        records = json.dumps([each.model_dump(mode="json") for each in client.read_flow_runs(limit=200)])
    assert [each for each in secret if each in records] == []
