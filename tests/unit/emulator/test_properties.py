"""Whatever is sent: the router never breaks, and what the documents allow is what is let in."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.emulator.app import App
from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud, router
from tests.emulator.discovery import APIS, Method
from tests.emulator.incoming import Incoming
from tests.unit.emulator.random_requests import Request, right, wrong

CLOUD = Cloud(VirtualClock())
FEW, MANY = 10, 40
"""Requests a document, in every ordinary run and with the emulator's own tests."""
EXAMPLES = pytest.mark.parametrize("examples", [FEW, pytest.param(MANY, marks=pytest.mark.emulator)])


def limits(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def _nothing_broke() -> Any:
    yield
    complaints, CLOUD.complaints[:] = list(CLOUD.complaints), []
    assert complaints == []


def methods(api: str, emulated: bool) -> dict[str, Method]:
    """Methods of a document that take JSON, by id: an upload's body is its service's own."""
    found = [each for each in router().documents[api].methods if not each.upload_paths]
    return {each.id: each for each in found if not emulated or CLOUD.handler(each)}


def answer(request: Request) -> tuple[int, dict[str, Any]]:
    """Send it in process, as the owner of whatever project it names."""
    CLOUD.reset()
    project = project_in(request)
    token = CLOUD.add_project(project, ("all",)) if project else CLOUD.access.mint("user:nobody@example.com")
    content = b"" if request.body is None else json.dumps(request.body).encode()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    incoming = Incoming(
        request.method.http, "127.0.0.1", f"/{request.method.service}{request.path}", request.query, headers, content
    )
    response = asyncio.run(App(CLOUD).answer(incoming)).response
    body = bytes(response.body)
    return response.status_code, json.loads(body) if body[:1] == b"{" else {}


def project_in(request: Request) -> str:
    verb = re.search(r":[A-Za-z]+$", request.method.path)
    parts = unquote(request.path.removesuffix(verb[0]) if verb else request.path).split("/")
    for word in ("projects", "namespaces"):
        if word in parts[:-1]:
            return parts[parts.index(word) + 1]
    return dict(part.split("=") for part in request.query.split("&") if "=" in part).get("project", "")


def refused_by_schema(error: dict[str, Any]) -> bool:
    details = error.get("error", {}).get("details", ())
    return any("fieldViolations" in each for each in details)


@EXAMPLES
@pytest.mark.parametrize("api", APIS)
def test_what_the_document_allows_is_let_in(api: str, examples: int) -> None:
    allowed = methods(api, emulated=False)

    @limits(examples)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        method = allowed[data.draw(st.sampled_from(sorted(allowed)))]
        request = data.draw(right(router().documents[api], method))
        code, body = answer(request)
        assert code != 500, body
        assert not (code == 404 and body == {}), f"{method.id}: no route for {request.path}"
        assert not refused_by_schema(body), body

    holds()


@EXAMPLES
@pytest.mark.parametrize("api", APIS)
def test_what_it_does_not_allow_is_refused(api: str, examples: int) -> None:
    answered = methods(api, emulated=True)
    assert answered, f"nothing of {api} is emulated"

    @limits(examples)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        method = answered[data.draw(st.sampled_from(sorted(answered)))]
        request = data.draw(wrong(router().documents[api], method))
        code, body = answer(request)
        assert (code, refused_by_schema(body)) == (400, True), (method.id, request, body)

    holds()


@limits(MANY)
@given(st.binary(max_size=200), st.sampled_from(APIS), st.text(max_size=30), st.sampled_from(["GET", "POST", "PUT"]))
def test_rubbish_breaks_nothing(content: bytes, api: str, path: str, http: str) -> None:
    raw = f"/{api.partition('.')[0]}/" + path.encode("unicode_escape").decode()
    incoming = Incoming(http, "127.0.0.1", raw, path.encode("unicode_escape").decode(), {}, content)
    assert asyncio.run(App(CLOUD).answer(incoming)).response.status_code < 500
