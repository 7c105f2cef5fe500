"""Upgrades of one stack from 3.8.3: failed and rolled back, killed at their commit points, and approved in a browser.

Each goes on where the one before ended. Clients without retries call through the front door all the while.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.schemas.objects import FlowRun, StateType
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from blocks.pools import MARK
from blocks.release import ROOT
from blocks.spec import SERVER
from tests import gated
from tests.browser import MARKS, click, log_in, newest, opened_until, running, shot, shows
from tests.e2e.test_operation import artifacts
from tests.fault import runs
from tests.fault.runs import Boundary, begun, has_task, kill_at, lasting, nothing_lost
from tests.fault.upgrade_faults import (
    MOST_SECONDS,
    migration_killed,
    verification_that_cannot_pass,
)
from tests.stack import Stack, caller_environment, eventually, scratch
from tests.traffic import UNHURRIED, Traffic, clients

pytestmark = pytest.mark.fault

FIRST, SECOND, THIRD, FOURTH, FIFTH, LAST = "3.8.3", "3.8.4", "3.8.5", "3.8.6", "3.8.7", "3.8.8"
"""The schema moves in each of the first steps but the second, and before the last."""
CLIENTS = 2
Fault = Callable[[Stack], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of the oldest Prefect there may be."""
    spec = tmp_path_factory.mktemp("spec") / "stack.toml"
    spec.write_text(f'prefect_version = "{FIRST}"\n')
    with scratch("flt-") as stack:
        stack.bootstrap("--spec", str(spec))
        yield stack


@contextmanager
def served(stack: Stack) -> Iterator[Traffic]:
    """Clients without retries meanwhile, none of whose calls fails; and no run that had ended is lost."""
    with nothing_lost(stack), clients(CLIENTS, stack.url, stack.secret("auth-string"), UNHURRIED) as traffic:
        traffic.wait_for(20)
        yield traffic
        traffic.wait_for(20)
    assert not traffic.failed()


def ended(stack: Stack, run: UUID) -> FlowRun:
    """Wait for the end of an upgrade, and until its lease is free."""
    found = runs.ended(stack, run, MOST_SECONDS)
    eventually(lambda: stack.ledger.is_free(), "a free lease")
    return found


def servers(stack: Stack) -> list[str]:
    return [each["name"] for each in stack.host_spec()["services"] if each["name"].startswith("server-")]


def has_job(name: str) -> Boundary:
    return lambda stack, _: stack.jobs() == [name]


def has_both(stack: Stack, _: UUID) -> bool:
    return len(servers(stack)) == 2


def is_kept(version: str) -> Boundary:
    return lambda stack, _: stack.ledger.wanted().spec["prefect_version"] == version


def marked(stack: Stack) -> list[list[str]]:
    """Pools that an upgrade paused."""
    return stack.query(f"SELECT name FROM work_pool WHERE description LIKE '%{MARK.strip()}%'")


def version(stack: Stack) -> str:
    """Of the one server there is."""
    (server,) = [each for each in stack.host_status()["services"] if each["name"].startswith("server-")]
    return str(server["version"])


def require_tidy(stack: Stack) -> None:
    """One server, no pool left paused, no scratch database, nothing left to change."""
    eventually(lambda: len(servers(stack)) == 1, "one server")
    assert not marked(stack)
    databases = {row[0] for row in stack.query("SELECT datname FROM pg_database WHERE NOT datistemplate")}
    assert databases == {"postgres", "prefect-db"}
    eventually(lambda: not stack.plan(), "nothing left to change", 120)


def begun_unrehearsed(stack: Stack, to: str) -> subprocess.Popen[bytes]:
    """An upgrade that begins with the switch, by the Python of the stack's release."""
    python = stack.paths.releases / stack.ledger.wanted().releases[SERVER].id / "bin/python"
    argv = [python, "-P", Path(__file__).with_name("unrehearsed.py"), stack.home, to]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, cwd=stack.folder, env=caller_environment())


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (migration_killed, "migrate failed"),
        (verification_that_cannot_pass, "SchedulerMoves: probe/maintenance is paused"),
    ],
)
def test_what_fails_in_the_switch_is_rolled_back(old: Stack, fault: Fault, told: str) -> None:
    """Nothing is backed up and rehearsed before: `tests/kills` has the faults of a server that does not start."""
    blue = old.servers().get("server-blue")
    revision = old.query("SELECT version_num FROM alembic_version")
    with served(old):
        switching = begun_unrehearsed(old, LAST)
        with fault(old):
            assert switching.wait(MOST_SECONDS) == 1
    found = newest(old, "upgrade")[0]
    assert found.state is not None and found.state.is_failed()
    with old.client() as client:
        report = str(artifacts(client, found)["upgrade"])
    assert f"rolled back to release {FIRST}-" in report and told in report
    assert "| roll back |" in report and "longest stall" in report
    if fault is not verification_that_cannot_pass:
        assert old.servers().get("server-blue") == blue  # it served all along
    assert (version(old), old.query("SELECT version_num FROM alembic_version")) == (FIRST, revision)
    assert set(worker_versions(old).values()) == {FIRST}
    require_tidy(old)


@pytest.mark.rare
def test_without_room_for_its_backup_nothing_is_switched(old: Stack) -> None:
    with runs.without_room(old.home / "store/backups"), served(old):
        found = ended(old, begun(old, "upgrade/upgrade", to=LAST))
    assert found.state is not None and found.state.is_failed()
    assert "cannot be written: No space left on device" in str(found.state.message)
    assert version(old) == FIRST
    require_tidy(old)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--to", "3.8.99"), "no lock for prefect==3.8.99"),
        (("--to", "3.8.2"), "below 3.8.3"),
        (("--self", "--to", LAST), "--self and --to are two upgrades"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(old: Stack, options: tuple[str, ...], told: str) -> None:
    done = old.call("upgrade", *old.where, *options)
    assert done.status in (1, 2)
    assert told in done.stderr, done.output
    assert "Traceback" not in done.output
    assert version(old) == FIRST


@pytest.mark.rare
def test_where_the_server_and_then_the_database_die_it_is_done_or_nothing_is(old: Stack) -> None:
    kept = lasting(old)["ended runs"]
    run = begun(old, "upgrade/upgrade", to=SECOND)
    eventually(lambda: has_task("install")(old, run), "the installation", MOST_SECONDS)
    os.kill(old.pids()["server-blue"], signal.SIGKILL)
    eventually(lambda: old.jobs() == ["rehearse"], "the rehearsal", MOST_SECONDS)
    os.kill(old.pids()["postgres"], signal.SIGKILL)
    eventually(lambda: runs.answers(old), "the service again", MOST_SECONDS)
    found = ended(old, run)
    assert found.state is not None
    assert version(old) == (SECOND if found.state.is_completed() else FIRST)
    assert kept <= lasting(old)["ended runs"]
    require_tidy(old)


def test_a_busy_worker_goes_on_as_before_and_follows_later(old: Stack) -> None:
    before = version(old)
    with served(old), gated.running(old) as run:
        found = ended(old, begun(old, "upgrade/upgrade", to=THIRD, drain_minutes=0))
        assert found.state is not None and found.state.is_completed(), found.state
        with old.client() as client:
            report = str(artifacts(client, found)["upgrade"])
        assert f"worker-default goes on as before, it runs {run.name} (default, Running)" in report
        assert f"running now: {run.name} (default, Running)" in report
        (callers,) = [line for line in report.splitlines() if "clients that have called, by version: " in line]
        assert before in callers
        assert (version(old), worker_versions(old)["worker-default"]) == (THIRD, before)
        run.open()
        assert ended(old, begun(old, "converge/converge")).state_type == StateType.COMPLETED
        eventually(lambda: worker_versions(old)["worker-default"] == THIRD, "the worker following", 60)
    require_tidy(old)


def worker_versions(stack: Stack) -> dict[str, str]:
    """Prefect version of each worker's release, by what runs."""
    found = {name: stack.processes().get(pid, "") for name, pid in stack.pids().items() if name.startswith("worker-")}
    return {name: re.sub(r".*/releases/([\d.]+)-.*", r"\1", command) for name, command in found.items()}


@pytest.mark.parametrize("_", [pytest.param("", id="with a person", marks=MARKS)])
def test_a_person_fills_in_the_form_approves_and_reads_the_report(old: Stack, tmp_path: Path, _: str) -> None:
    with served(old), running(tmp_path / "chromium") as browser:
        page = log_in(browser, old, old.secret("auth-string"))
        with old.client() as client:
            deployment = client.read_deployment_by_name("upgrade/upgrade").id
        page.get(f"{old.url}/v2/deployments/deployment/{deployment}/run")
        shows(page, "Prefect version to upgrade to", "Pause before the switch", "Submit")
        type_version(page, FOURTH)
        click(page, By.XPATH, "(//button[@role='switch'])[1]")
        shot(page, tmp_path, "form")
        click(page, By.XPATH, "//button[normalize-space()='Submit']")
        run = eventually(lambda: waiting(old), "a run that waits for a person", MOST_SECONDS)
        assert old.ledger.is_free()  # a nightly backup is not kept from its work
        assert old.plan() == []  # nor does a nightly drift run find differences
        looked = ended(old, begun(old, "status/status"))
        assert looked.state is not None
        assert looked.state.is_completed() or "WorkerRuns" not in str(looked.state.message), looked.state
        slot = servers(old)
        old.run("rotate", "database")
        assert servers(old) != slot  # the switch has to begin from another slot than the rehearsal did
        opened_until(page, old, f"/v2/runs/flow-run/{run.id}", "Paused", "Pausing flow")
        click(page, By.XPATH, "//button[@aria-haspopup='menu' and not(ancestor::nav)]")
        click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Resume')]")
        shows(page, f"Switch to Prefect {FOURTH}?", "the new server is ready after")
        shot(page, tmp_path, "approval")
        click(page, By.XPATH, "//*[@role='dialog']//button[normalize-space()='Resume']")
        found = ended(old, run.id)
        assert found.state is not None and found.state.is_completed(), found.state
        opened_until(page, old, f"/v2/runs/flow-run/{run.id}", "Completed")
        shot(page, tmp_path, "upgraded")
        with old.client() as client:
            report = client.read_latest_artifacts()
        document = next(each for each in report if each.key == "upgrade")
        path = f"/v2/artifacts/artifact/{document.latest_id}"
        opened_until(page, old, path, f"Upgrade to Prefect {FOURTH}: done", "What was checked", "longest stall")
        shot(page, tmp_path, "report")
    assert version(old) == FOURTH
    require_tidy(old)


def type_version(page: WebDriver, text: str) -> None:
    """Fill in the field `to`, in the place of what is there."""
    click(page, By.XPATH, "//label[starts-with(normalize-space(), 'to (')]")
    field = page.switch_to.active_element
    field.send_keys(Keys.CONTROL, "a")
    field.send_keys(text)


def waiting(stack: Stack) -> FlowRun | None:
    """The run that waits for a person."""
    run = next(iter(newest(stack, "upgrade")), None)
    assert run is None or run.state_name not in ("Failed", "Crashed"), run.state
    return run if run is not None and run.state_name == "Paused" else None


WHILE_A_JOB_RUNS: dict[str, Boundary] = {"rehearsal": has_job("rehearse"), "migration": has_job("migrate")}
"""The host goes on with it. `tests/kills` has all other boundaries, but a host whose jobs take no time."""


def commits(to: str) -> dict[str, Boundary]:
    """On either side of which an upgrade is another one."""
    return {"both servers": has_both, "new form kept": is_kept(to)}


@pytest.mark.parametrize(
    ("to", "boundaries"),
    [
        pytest.param(FIFTH, WHILE_A_JOB_RUNS, id="while a job runs", marks=pytest.mark.rare),
        pytest.param(LAST, commits(LAST), id="at the commit points"),
    ],
)
def test_killed_it_is_finished_by_the_next_run(old: Stack, to: str, boundaries: dict[str, Boundary]) -> None:
    with served(old):
        (slot,) = servers(old)
        serving = old.pids()[slot]
        for name, reached in boundaries.items():
            run = begun(old, "upgrade/upgrade", to=to)
            if name == "new form kept":  # the run before was killed with both servers up
                eventually(lambda: old.jobs() == ["migrate"], "the migration", MOST_SECONDS)
                assert old.pids()[slot] == serving, "what was wanted served until the new form was"
            kill_at(old, run, name, reached, MOST_SECONDS)
            found = ended(old, run)
            assert found.state is not None and found.state.is_crashed(), (name, found.state)
        other = begun(old, "upgrade/upgrade", to=to)
        assert_holder_is_told(old, other, to)
        found = ended(old, other)
        assert found.state is not None and found.state.is_completed(), found.state
    assert version(old) == to
    require_tidy(old)
    assert old.status()["healthy"]


def assert_holder_is_told(stack: Stack, run: UUID, to: str) -> None:
    """While one upgrade runs, whoever else wants to change the stack is told so."""
    eventually(lambda: not stack.ledger.is_free(), "the lease of the upgrade")
    done = stack.call("stop", *stack.where)
    assert done.status == 1
    assert "the lease is held by" in done.stderr and f"upgrade to Prefect {to}" in done.stderr, done.output


SHIPPED = ("flows", "blocks", "nginx", "prefect.yaml", "pyproject.toml")
TOLD = "Shows the backups which the policy no longer keeps"
TOLD_ANEW = "Shows, as another selfhost says it, the backups which the policy no longer keeps"


@pytest.fixture
def another(old: Stack, tmp_path: Path) -> Stack:
    """The same stack, driven by another selfhost: a checkout in which a deployment is described in other words."""
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    deployments = tmp_path / "prefect.yaml"
    text = deployments.read_text()
    assert TOLD in text
    deployments.write_text(text.replace(TOLD, TOLD_ANEW))
    return dataclasses.replace(old, environment=caller_environment(PYTHONPATH=str(tmp_path)), transcript=[])


def test_another_selfhost_comes_with_its_deployments(old: Stack, another: Stack) -> None:
    with served(old):
        done = another.call("upgrade", "--self", *old.where)
        assert done.status == 0, done.output
        eventually(lambda: TOLD_ANEW in description(old, "expire/expire"), "the deployments of the new code", 300)
        eventually(lambda: old.ledger.is_free(), "a free lease", MOST_SECONDS)
    assert version(old) == LAST
    assert len(installed(old)) > len(listed(old)), "the one that ran the upgrade is there"
    assert ended(old, begun(old, "expire/expire")).state_type == StateType.COMPLETED
    assert installed(old) == listed(old)
    eventually(lambda: another.plan() == [], "nothing left to change for the new code", 120)


def installed(stack: Stack) -> set[str]:
    return {each.name for each in (stack.home / "releases").iterdir() if each.is_dir()}


def listed(stack: Stack) -> set[str]:
    return {each["id"] for each in stack.host_spec()["releases"]}


def description(stack: Stack, deployment: str) -> str:
    with stack.client() as client:
        return client.read_deployment_by_name(deployment).description or ""
