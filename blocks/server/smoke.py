"""Smoke test of a server over HTTP: what a client asks first, one write, and what was encrypted read in clear.

Only for a server on a copy of a database, as it writes. Nothing read here is printed: blocks hold secrets.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import httpx

FLOW = "selfhost-rehearsal"
CALL_SECONDS = 30.0
"""Time for one call: the server gives up on the database after 10 s."""

Check = tuple[str, Callable[[httpx.Client], str]]
"""Its name, and what it found; raises CheckFailed."""


class CheckFailed(Exception):
    """The server did not answer as it should; the text says which call and how."""


def client(url: str, auth_string: str) -> httpx.Client:
    """A client that goes straight to the server, whatever proxy the environment names."""
    auth = httpx.BasicAuth(*auth_string.split(":", 1)) if ":" in auth_string else None
    return httpx.Client(base_url=f"{url}/api", auth=auth, timeout=CALL_SECONDS, trust_env=False)


def checks(version: str) -> tuple[Check, ...]:
    """All checks of a server that should be Prefect `version`, in the order they are made."""
    return (
        ("ready", _ready),
        ("version", lambda http: _version(http, version)),
        ("flow runs", lambda http: _read(http, "/flow_runs/filter", sort="ID_DESC")),
        ("task runs", lambda http: _read(http, "/task_runs/filter", sort="ID_DESC")),
        ("deployments", lambda http: _read(http, "/deployments/filter")),
        ("logs", lambda http: _read(http, "/logs/filter", sort="TIMESTAMP_DESC")),
        ("write", _write),
        ("blocks decrypted", _blocks),
    )


def run(http: httpx.Client, every: Sequence[Check]) -> list[dict[str, str | float]]:
    """Make all checks. Returns what each found, and its seconds.

    Raises:
        CheckFailed: at the first that fails; the text begins with its name.
    """
    made: list[dict[str, str | float]] = []
    for name, check in every:
        began = time.monotonic()
        try:
            found = check(http)
        except (CheckFailed, httpx.HTTPError, ValueError, KeyError) as error:
            raise CheckFailed(f"check {name!r}: {error or type(error).__name__}") from error
        made.append({"name": name, "found": found, "seconds": round(time.monotonic() - began, 3)})
    return made


def answer(got: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        CheckFailed: its status is not one of success.
    """
    if not got.is_success:
        raise CheckFailed(f"{got.request.method} {got.request.url.path} answered {got.status_code}")
    return got.json()


def _ready(http: httpx.Client) -> str:
    answer(http.get("/ready"))
    return "ready"


def _version(http: httpx.Client, wanted: str) -> str:
    found = answer(http.get("/admin/version"))
    if found != wanted:
        raise CheckFailed(f"the server is Prefect {found} instead of {wanted}")
    return str(found)


def _read(http: httpx.Client, path: str, **body: object) -> str:
    return f"{len(answer(http.post(path, json={'limit': 50, **body})))} read"


def _write(http: httpx.Client) -> str:
    """A flow run from its creation to its end, with a line of log, read back."""
    flow = answer(http.post("/flows/", json={"name": FLOW}))["id"]
    run = answer(http.post("/flow_runs/", json={"flow_id": flow, "state": {"type": "PENDING"}}))["id"]
    for state in ("RUNNING", "COMPLETED"):
        status = answer(http.post(f"/flow_runs/{run}/set_state", json={"state": {"type": state}}))["status"]
        if status != "ACCEPT":
            raise CheckFailed(f"the state {state} of a flow run was answered with {status}")
    _log(http, run)
    ended = answer(http.get(f"/flow_runs/{run}"))["state"]["type"]
    if ended != "COMPLETED":
        raise CheckFailed(f"a flow run set to COMPLETED reads {ended}")
    return "a flow run completed"


def _log(http: httpx.Client, run: str) -> None:
    line = {"name": FLOW, "level": 20, "message": str(uuid.uuid4()), "timestamp": "2026-01-01T00:00:00Z"}
    answer(http.post("/logs/", json=[{**line, "flow_run_id": run}]))
    found = answer(http.post("/logs/filter", json={"logs": {"flow_run_id": {"any_": [run]}}}))
    if [each["message"] for each in found] != [line["message"]]:
        raise CheckFailed("a line of log that was written was not read back")


def _blocks(http: httpx.Client) -> str:
    """With another encryption key than they were saved with, reading any block fails."""
    found = answer(http.post("/block_documents/filter", json={"include_secrets": True, "limit": 50}))
    if not all(isinstance(each["data"], dict) for each in found):
        raise CheckFailed("a block has no data")
    return f"{len(found)} read"
