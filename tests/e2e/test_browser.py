"""The UI in a real browser, as a person would use it: in through the front door, the bootstrap's log, a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import MARKS, PATIENCE, click, log_in, newest, opened_until, pasted, running, shot, shows
from tests.e2e.conftest import Bootstrapped
from tests.fault.runs import ended
from tests.stack import Stack

pytestmark = MARKS


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    with running(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(browser: WebDriver, bootstrapped: Bootstrapped) -> WebDriver:
    """The UI with its user logged in by what the bootstrap said, and by nothing else."""
    return log_in(browser, bootstrapped.stack, pasted(bootstrapped.first.stdout))


def test_a_wrong_password_stays_outside(browser: WebDriver, stack: Stack) -> None:
    browser.get(stack.url)
    field = WebDriverWait(browser, PATIENCE).until(lambda each: each.find_element(By.TAG_NAME, "input"))
    field.send_keys("admin:wrong")
    browser.find_element(By.XPATH, "//button[contains(., 'Login')]").click()
    shows(browser, "Login")
    assert "/login" in browser.current_url
    browser.delete_all_cookies()
    browser.execute_script("localStorage.clear(); sessionStorage.clear()")


def test_the_bootstrap_run_is_there_with_its_log(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    run = newest(stack, "bootstrap")[0]
    click(page, By.LINK_TEXT, "Runs")
    click(page, By.LINK_TEXT, run.name)
    shows(page, "Completed", "Logs", f"Beginning flow run '{run.name}'", "flows.cli.progress", "home: ")
    shot(page, tmp_path, "bootstrap-run")


def test_a_deployment_is_started_from_the_ui_and_finishes(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    before = {run.id for run in newest(stack, "probe")}
    opened_until(page, stack, "/v2/deployments", "maintenance", "Ready")
    click(page, By.LINK_TEXT, "default")
    click(page, By.XPATH, "//button[normalize-space()='Run']")
    click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Quick run')]")
    started = WebDriverWait(page, PATIENCE).until(
        lambda _: [run for run in newest(stack, "probe") if run.id not in before]
    )
    ended(stack, started[0].id, PATIENCE)  # a page that was opened before may not be drawn anew
    # The list of runs ends at the moment the page took for "now": a run younger than that is not always in it.
    opened_until(page, stack, f"/v2/runs/flow-run/{started[0].id}", "Completed", "probe answers are you there?")
    shot(page, tmp_path, "started-run")


def test_what_was_done_is_among_the_artifacts(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    run = newest(stack, "bootstrap")[0]
    told = ("TABLE", "what was done with each", "stack-url", "PROGRESS", "Resources visited")
    opened_until(page, stack, f"/v2/runs/flow-run/{run.id}?tab=Artifacts", *told)
    shot(page, tmp_path, "artifacts")
