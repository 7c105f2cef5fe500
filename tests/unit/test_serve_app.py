"""The application that is served, Prefect's own within our layers, as somebody without the password meets it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import docket
import httpx
import pytest
from fastapi import FastAPI
from prefect.server.api.background_workers import background_worker
from prefect.server.api.server import create_app
from prefect.settings import (
    PREFECT_SERVER_API_AUTH_STRING,
    PREFECT_SERVER_DATABASE_CONNECTION_URL,
    PREFECT_UI_ENABLED,
    temporary_settings,
)

from blocks.server.serve import ASGIApp, build_app
from tests.traffic import headers

AUTH = "admin:of-this-test"


def documentation(app: FastAPI, prefix: str = "") -> Iterator[str]:
    """Every path at which an application, or one that is mounted in it, describes itself."""
    own = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    for each in app.routes:
        path = prefix + getattr(each, "path", "")
        if isinstance(mounted := getattr(each, "app", None), FastAPI):
            yield from documentation(mounted, path)
        elif getattr(each, "path", None) in own:
            yield path


@pytest.fixture(scope="module")
def paths_and_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[set[str], ASGIApp]]:
    """Where Prefect's application describes itself, and the one that is made of it."""
    changed: Any = {
        PREFECT_SERVER_API_AUTH_STRING: AUTH,
        PREFECT_SERVER_DATABASE_CONNECTION_URL: "postgresql+asyncpg://nobody@127.0.0.1:1/nothing",
        PREFECT_UI_ENABLED: False,
    }
    with temporary_settings(changed):
        paths = set(documentation(create_app()))
        yield paths, build_app(tmp_path_factory.mktemp("app") / "auth-grace.json")


@pytest.fixture(scope="module")
def app(paths_and_app: tuple[set[str], ASGIApp]) -> ASGIApp:
    return paths_and_app[1]


def answers(app: ASGIApp, paths: set[str], given: dict[str, str]) -> dict[str, int]:
    async def call() -> dict[str, int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=given) as client:
            return {path: (await client.get(path)).status_code for path in paths}

    return asyncio.run(call())


def test_no_description_is_served_or_built(
    paths_and_app: tuple[set[str], ASGIApp], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths, app = paths_and_app
    pages = {"/docs", "/docs/oauth2-redirect", "/openapi.json", "/redoc"}
    assert paths >= pages | {f"/api{each}" for each in pages}, "the walk over the applications misses some"
    monkeypatch.setattr("fastapi.applications.get_openapi", is_not_built)
    monkeypatch.setattr("prefect.server.api.server.get_openapi", is_not_built)
    known = answers(app, paths, headers(AUTH))
    assert known == dict.fromkeys(paths, 404)
    strangers = answers(app, paths, {"Accept": "text/html"})
    assert strangers == {path: 401 if path.startswith("/api/") else 404 for path in paths}


def test_due_background_tasks_are_looked_for_seldom(app: ASGIApp) -> None:
    async def running() -> docket.Worker:
        async with docket.Docket("calm", "memory://calm") as queue, background_worker(queue, webserver_only=True):
            loops = [task.get_coro() for task in asyncio.all_tasks()]
            frames = [getattr(each, "cr_frame", None) for each in loops if each.__qualname__ == "Worker.run_forever"]
            return next(frame.f_locals["self"] for frame in frames if frame)

    found = asyncio.run(running())
    assert (found.scheduling_resolution, found.minimum_check_interval) == (timedelta(seconds=1), timedelta(seconds=0.5))


def is_not_built(*_: object, **__: object) -> Any:
    raise AssertionError("the description was built")


def test_what_is_served_besides_is_there(app: ASGIApp) -> None:
    assert answers(app, {"/api/health", "/ui-settings"}, {}) == {"/api/health": 200, "/ui-settings": 200}
    assert answers(app, {"/api/admin/version"}, headers(AUTH)) == {"/api/admin/version": 200}


@pytest.mark.parametrize("auth", ["admin:änders", "ä:\U0001f511", "admin:wrong", ""])
@pytest.mark.parametrize("scheme", ["Basic ", "Basic\t", "Basic   "])
def test_a_password_of_any_text_is_401(app: ASGIApp, auth: str, scheme: str) -> None:
    given = headers(auth)["Authorization"].replace("Basic ", scheme)
    assert answers(app, {"/api/admin/version"}, {"Authorization": given}) == {"/api/admin/version": 401}
