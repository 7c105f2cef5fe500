"""The UI in a real browser, as a person would use it: in through the front door, the bootstrap's log, a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.stack import LocalStack

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 60.0
"""Seconds for a page to show what is expected: the machine may be busy."""
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
def page(browser: WebDriver, stack: LocalStack) -> WebDriver:
    """The UI with its user logged in."""
    browser.get(stack.url)
    field = WebDriverWait(browser, PATIENCE).until(lambda each: each.find_element(By.TAG_NAME, "input"))
    field.send_keys(stack.auth_string)
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


def click(page: WebDriver, by: str, what: str) -> None:
    WebDriverWait(page, PATIENCE, ignored_exceptions=STALE).until(lambda each: _clicked(each, by, what), what)


def _clicked(page: WebDriver, by: str, what: str) -> bool:
    page.find_element(by, what).click()
    return True


def _stale() -> tuple[type[Exception], ...]:
    """What a page that is just being drawn answers."""
    from selenium.common import exceptions

    return (
        exceptions.NoSuchElementException,
        exceptions.StaleElementReferenceException,
        exceptions.ElementClickInterceptedException,
        exceptions.ElementNotInteractableException,
    )


STALE = _stale()


def shot(page: WebDriver, folder: Path, name: str) -> None:
    """Keep a picture for whoever wants to look."""
    page.save_screenshot(str(folder / f"{name}.png"))


def test_a_wrong_password_stays_outside(browser: WebDriver, stack: LocalStack) -> None:
    browser.get(stack.url)
    field = WebDriverWait(browser, PATIENCE).until(lambda each: each.find_element(By.TAG_NAME, "input"))
    field.send_keys("admin:wrong")
    browser.find_element(By.XPATH, "//button[contains(., 'Login')]").click()
    shows(browser, "Login")
    assert "/login" in browser.current_url
    browser.delete_all_cookies()
    browser.execute_script("localStorage.clear(); sessionStorage.clear()")


def test_the_bootstrap_run_is_there_with_its_log(page: WebDriver, stack: LocalStack, tmp_path: Path) -> None:
    run = stack.flow_runs("bootstrap")[0]
    click(page, By.LINK_TEXT, "Runs")
    click(page, By.LINK_TEXT, run["name"])
    text = shows(page, "Completed", "Logs", "Beginning flow run", "host services: create")
    shot(page, tmp_path, "bootstrap-run")
    assert "database cluster: create" in text


def test_a_deployment_is_started_from_the_ui_and_finishes(page: WebDriver, stack: LocalStack, tmp_path: Path) -> None:
    before = {run["id"] for run in stack.flow_runs("probe")}
    click(page, By.LINK_TEXT, "Deployments")
    shows(page, "maintenance", "Ready")
    click(page, By.LINK_TEXT, "default")
    click(page, By.XPATH, "//button[normalize-space()='Run']")
    click(page, By.XPATH, "//*[@role='menuitem'][contains(., 'Quick run')]")
    started = WebDriverWait(page, PATIENCE).until(
        lambda _: [run for run in stack.flow_runs("probe") if run["id"] not in before]
    )
    click(page, By.LINK_TEXT, "Runs")
    click(page, By.LINK_TEXT, started[0]["name"])
    shows(page, "Completed", "probe answers are you there?")
    shot(page, tmp_path, "started-run")


def test_the_last_table_of_what_was_done_is_an_artifact(page: WebDriver, stack: LocalStack, tmp_path: Path) -> None:
    run = stack.flow_runs("bootstrap")[0]
    page.get(f"{stack.url}/v2/runs/flow-run/{run['id']}?tab=Artifacts")
    text = shows(page, "what was done with each")
    shot(page, tmp_path, "artifacts")
    assert stack.url in text or "Prefect of" in text
