"""Day two in a real browser: a backup seen as verified, a worker added by the form and used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import MARKS, PATIENCE, click, log_in, newest, opened, opened_until, running, shot
from tests.fault.runs import ended
from tests.stack import CALL_SECONDS, Stack

pytestmark = [pytest.mark.fault, *MARKS]

NAME = "by-hand"


@pytest.fixture(scope="module")
def page(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """The UI with its user logged in."""
    with running(tmp_path_factory.mktemp("chromium")) as driver:
        yield log_in(driver, stack, stack.secret("auth-string"))


def quick_run(page: WebDriver, stack: Stack, flow: str, deployment: str) -> UUID:
    """Start a deployment by its button; the run."""
    before = {run.id for run in newest(stack, flow)}
    with stack.client() as client:
        found = client.read_deployment_by_name(f"{flow}/{deployment}").id
    opened(page, stack, f"/v2/deployments/deployment/{found}")
    click(page, By.XPATH, "//button[normalize-space()='Run']")
    click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Quick run')]")
    return started(page, stack, flow, before)


def started(page: WebDriver, stack: Stack, flow: str, before: set[UUID]) -> UUID:
    new = WebDriverWait(page, PATIENCE).until(lambda _: {run.id for run in newest(stack, flow)} - before)
    return UUID(str(new.pop()))


def require_completed(page: WebDriver, stack: Stack, run: UUID, *texts: str) -> None:
    """The run's own page says so, and its log has these texts."""
    state = ended(stack, run, CALL_SECONDS).state
    assert state is not None and state.is_completed(), state
    opened_until(page, stack, f"/v2/runs/flow-run/{run}", "Completed", *texts)


def test_a_backup_is_started_and_seen_as_verified(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    run = quick_run(page, stack, "backup", "backup")
    require_completed(page, stack, run, "drill")
    with stack.client() as client:
        (table,) = [each for each in client.read_latest_artifacts() if each.key == "backups"]
    opened_until(page, stack, f"/v2/artifacts/artifact/{table.latest_id}", "verified", "by hand or by schedule", "true")
    shot(page, tmp_path, "backups")


def fill(page: WebDriver, name: str, text: str) -> None:
    """Type into a field of the form."""
    label = f"//label[starts-with(normalize-space(), '{name} (')]"
    click(page, By.XPATH, label)
    page.switch_to.active_element.send_keys(text)


def test_a_worker_is_added_by_the_form_and_used(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    before = {run.id for run in newest(stack, "workers")}
    with stack.client() as client:
        deployment = client.read_deployment_by_name("workers/workers").id
    opened_until(
        page,
        stack,
        f"/v2/deployments/deployment/{deployment}/run",
        "The worker; needed for all but",
        "requirements of the flows it runs",
        "Submit",
    )
    click(page, By.XPATH, "//button[@aria-label='Select action']")
    click(page, By.XPATH, "//*[@role='option'][normalize-space()='add']")
    fill(page, "name", NAME)
    shot(page, tmp_path, "form")
    click(page, By.XPATH, "//button[normalize-space()='Submit']")
    require_completed(page, stack, started(page, stack, "workers", before), "verify")
    shot(page, tmp_path, "added")
    run = quick_run(page, stack, "probe", NAME)
    require_completed(page, stack, run, "probe answers are you there?")
    shot(page, tmp_path, "used")
    removed = stack.call("workers", "remove", NAME, *stack.where)
    assert removed.status == 0, removed.output
