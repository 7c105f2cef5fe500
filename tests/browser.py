"""A real browser for tests: headless, with an empty profile, and patient."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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

from tests.stack import Stack

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
PATIENCE = 60.0
"""Seconds for a page to show what is expected: the machine may be busy."""
RELOAD_SECONDS = 10.0
"""Seconds a reloaded page gets before it is reloaded again, as a person would."""
LOGIN_SECONDS = 3.0
"""Seconds in which a page that was opened may turn out to be the login."""
STALE = (
    NoSuchElementException,
    StaleElementReferenceException,
    ElementClickInterceptedException,
    ElementNotInteractableException,
)
"""What a page answers that is just being drawn."""
QUIET = ("disable-background-networking", "disable-component-update", "disable-sync", "disable-quic", "no-first-run")

MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (BROWSER and DRIVER),
        reason="no browser here: the Debian packages chromium and chromium-driver have one (.ci/run installs them)",
    ),
]
"""For a module, or a test, that wants one."""


@contextmanager
def running(profile: Path, *more: str) -> Iterator[WebDriver]:
    """A headless Chromium with an empty profile, which looks nothing up by itself.

    Args:
        more: Further switches, without the dashes.
    """
    options = Options()
    options.binary_location = str(BROWSER)
    switches = (
        "headless=new",
        "no-sandbox",
        "disable-gpu",
        "disable-dev-shm-usage",
        f"user-data-dir={profile}",
        *QUIET,
        *more,
    )
    for switch in (*switches, "window-size=1400,1000"):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()


def pasted(told: str) -> str:
    """What a person pastes who reads what was printed, and knows nothing else: the text of the file it names."""
    (file,) = set(re.findall(r"log in with the whole text of (\S+)", told))
    return Path(file).read_text().strip()  # a field of one line takes no newline


def log_in(browser: WebDriver, stack: Stack, text: str) -> WebDriver:
    """The UI with its user logged in, who pastes this text."""
    browser.get(stack.url)
    field = WebDriverWait(browser, PATIENCE).until(lambda each: each.find_element(By.TAG_NAME, "input"))
    field.send_keys(text)
    browser.find_element(By.XPATH, "//button[contains(., 'Login')]").click()
    shows(browser, "Flow Runs")
    return browser


def opened(page: WebDriver, stack: Stack, path: str) -> None:
    """Open a page of the UI. Where it asks who is there, as it does when an answer took it too long, log in again."""
    for _ in range(2):
        page.get(f"{stack.url}{path}")
        with suppress(TimeoutException):
            WebDriverWait(page, LOGIN_SECONDS).until(lambda each: "/login" in each.current_url)
            log_in(page, stack, stack.secret("auth-string"))
            continue
        return


def shows(page: WebDriver, *texts: str) -> str:
    """Wait until the page shows all these texts; returns all that it shows."""

    def found(driver: WebDriver) -> str | None:
        body = driver.find_element(By.TAG_NAME, "body").text
        return body if all(text in body for text in texts) else None

    try:
        return str(WebDriverWait(page, PATIENCE, ignored_exceptions=STALE).until(found))
    except TimeoutException:
        pytest.fail(f"not {texts} on {page.current_url}, which shows:\n{_body(page)}")


def opened_until(page: WebDriver, stack: Stack, path: str, *texts: str) -> None:
    """Open a page again and again until it shows all these texts: the log does not follow a run that has just ended."""
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        opened(page, stack, path)
        with suppress(TimeoutException):
            WebDriverWait(page, RELOAD_SECONDS, ignored_exceptions=STALE).until(
                lambda each: all(text in _body(each) for text in texts)
            )
            return
        assert time.monotonic() < deadline, f"not {texts} on {page.current_url}, which shows:\n{_body(page)}"


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
        pytest.fail(f"nothing to click by {by} {what!r} on {page.current_url}, which shows:\n{_body(page)}")


def _body(page: WebDriver) -> str:
    return page.find_element(By.TAG_NAME, "body").text


def _clicked(page: WebDriver, by: str, what: str) -> bool:
    page.find_element(by, what).click()
    return True


def shot(page: WebDriver, folder: Path, name: str) -> None:
    """Keep a picture for whoever wants to look."""
    page.save_screenshot(str(folder / f"{name}.png"))
