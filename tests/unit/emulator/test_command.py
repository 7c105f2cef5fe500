"""`python -m tests.emulator`: one ready line, the environment, a clean end; and what it says when it cannot start."""

from __future__ import annotations

import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import google.auth
import httpx
import pytest
from google.auth.transport.requests import AuthorizedSession

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tests.emulator"]


@contextmanager
def started(*argv: str) -> Iterator[tuple[subprocess.Popen[str], str, dict[str, str]]]:
    process = subprocess.Popen([*COMMAND, "--port", "0", *argv], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready, exports = process.stdout.readline(), {}
        while "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN" not in exports:
            name, _, value = process.stdout.readline().removeprefix("export ").strip().partition("=")
            exports[name] = shlex.split(value)[0]
        yield process, ready, exports
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_starts_serves_and_ends(end: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    with started("--project", "mine") as (process, ready, exports):
        assert ready.startswith("ready: Google Cloud emulated on http://127.0.0.1:")
        assert Path(exports["GOOGLE_APPLICATION_CREDENTIALS"]).stat().st_mode & 0o077 == 0
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", exports["GOOGLE_APPLICATION_CREDENTIALS"])
        credentials, project = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        address = ready.split()[5].rstrip(",")
        answer = AuthorizedSession(credentials).get(f"{address}/compute/compute/v1/projects/mine/global/networks")
        assert (project, answer.status_code) == ("mine", 200)
        process.send_signal(end)
        assert process.wait(10) == 0
        assert not Path(exports["GOOGLE_APPLICATION_CREDENTIALS"]).exists()


def test_a_reset_leaves_what_there_was_at_the_start() -> None:
    with started("--project", "mine", "--virtual-clock") as (_, ready, exports):
        address = ready.split()[5].rstrip(",")
        token_file = Path(exports["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"])
        networks = f"{address}/compute/compute/v1/projects/mine/global/networks"

        def listed() -> tuple[int, int]:
            answer = httpx.get(networks, headers={"Authorization": f"Bearer {token_file.read_text()}"})
            return answer.status_code, len(answer.json().get("items", []))

        before = {"Authorization": f"Bearer {token_file.read_text()}"}
        httpx.post(networks, json={"name": "one", "autoCreateSubnetworks": False}, headers=before).raise_for_status()
        assert listed() == (200, 1)
        httpx.post(f"{address}/_emulator/reset").raise_for_status()
        assert listed() == (200, 0)
        assert httpx.get(networks, headers=before).status_code == 401
        httpx.post(f"{address}/_emulator/clock", json={"advance": 86400}).raise_for_status()
        assert listed() == (200, 0), "the token file is good for longer than an hour"


def test_a_taken_port_is_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run([*COMMAND, "--port", port], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == f"port {port}: Address already in use; another --port, or 0 for a free one"
