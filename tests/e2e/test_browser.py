"""The UI in a real browser, as a person would use it: in through the front door, the bootstrap's log, a run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from selenium import webdriver
from selenium.common.exceptions import (
    ElementClickInterceptedException,
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.e2e.conftest import Bootstrapped
from tests.stack import Stack

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 60.0
"""Seconds for a page to show what is expected: the machine may be busy."""
STALE = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)
"""What a page answers that is just being drawn."""
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic", "no-first-run")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="no browser here: the Debian packages chromium and chromium-driver have one (.ci/run installs them)",
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """A headless Chromium with an empty profile, which looks nothing up by itself."""
    options = Options()
    options.binary_location = str(BROWSER)
    profile = tmp_path_factory.mktemp("chromium")
    switches = (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        f"user-data-dir={profile}",
        *QUIET,
    )
    for switch in (*switches, "window-size=1400,1000"):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser: WebDriver, bootstrapped: Bootstrapped) -> WebDriver:
    """The UI with its user logged in."""
    stack = bootstrapped.stack
    browser.get(stack.url)
    field = WebDriverWait(browser, PATIENCE).until(lambda each: each.find_element(By.TAG_NAME, "input"))
    field.send_keys(stack.secret("auth-string"))
    browser.find_element(By.XPATH, "//button[contains(., 'Login')]").click()
    shows(browser, "Flow Runs")
    return browser


def shows(page: WebDriver, *texts: str) -> str:
    """Wait until the page shows all these texts; returns all that it shows."""

    def found(driver: WebDriver) -> str | None:
        body = driver.find_element(By.TAG_NAME, "body").text
        return body if all(text in body for text in texts) else None

    message = f"{texts} on {page.current_url}"
    return str(WebDriverWait(page, PATIENCE, ignored_exceptions=STALE).until(found, message))


def reloaded_until(page: WebDriver, *texts: str) -> None:
    """Reload the page until it shows all these texts: the log tab does not follow a run that has just ended."""
    deadline = time.monotonic() + PATIENCE
    while not all(text in page.find_element(By.TAG_NAME, "body").text for text in texts):
        assert time.monotonic() < deadline, f"{texts} on {page.current_url}"
        page.refresh()
        shows(page, "Logs")
        time.sleep(2)


def newest(stack: Stack, flow_name: str) -> list[FlowRun]:
    """Runs of a flow on the stack's server, the newest first."""
    with stack.client() as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )


def click(page: WebDriver, by: str, what: str) -> None:
    try:
        WebDriverWait(page, PATIENCE, ignored_exceptions=STALE).until(lambda each: _clicked(each, by, what))
    except TimeoutException:
        shown = page.find_element(By.TAG_NAME, "body").text
        pytest.fail(f"nothing to click by {by} {what!r} on {page.current_url}, which shows:\n{shown}")


def _clicked(page: WebDriver, by: str, what: str) -> bool:
    page.find_element(by, what).click()
    return True


def shot(page: WebDriver, folder: Path, name: str) -> None:
    """Keep a picture for whoever wants to look."""
    page.save_screenshot(str(folder / f"{name}.png"))


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
    shows(page, "Completed", "Logs", f"Beginning flow run '{run.name}'", "flows.progress", "home: ")
    shot(page, tmp_path, "bootstrap-run")


def test_a_deployment_is_started_from_the_ui_and_finishes(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    before = {run.id for run in newest(stack, "probe")}
    click(page, By.LINK_TEXT, "Deployments")
    shows(page, "maintenance", "Ready")
    click(page, By.LINK_TEXT, "default")
    click(page, By.XPATH, "//button[normalize-space()='Run']")
    click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Quick run')]")
    started = WebDriverWait(page, PATIENCE).until(
        lambda _: [run for run in newest(stack, "probe") if run.id not in before]
    )
    # The list of runs ends at the moment the page took for "now": a run younger than that is not always in it.
    page.get(f"{stack.url}/v2/runs/flow-run/{started[0].id}")
    reloaded_until(page, "Completed", "probe answers are you there?")
    shot(page, tmp_path, "started-run")


def test_what_was_done_is_among_the_artifacts(page: WebDriver, stack: Stack, tmp_path: Path) -> None:
    run = newest(stack, "bootstrap")[0]
    page.get(f"{stack.url}/v2/runs/flow-run/{run.id}?tab=Artifacts")
    shows(page, "TABLE", "what was done with each", "stack-url", "PROGRESS", "Resources visited")
    shot(page, tmp_path, "artifacts")
