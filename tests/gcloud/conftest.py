"""The real gcloud against the emulator, each test in a project of its own."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from tests.emulator.clock import RealClock
from tests.emulator.cloud import OWNER, Cloud
from tests.emulator.server import environment, running

NUMBERS = itertools.count(1)


class Refused(Exception):
    """gcloud ended with another status than 0; the text is what it wrote to its standard error."""


@dataclass(frozen=True)
class Gcloud:
    """gcloud in one project; `credentials` and `options` are for Python clients of the same."""

    cloud: Cloud
    address: str
    project: str
    environment: dict[str, str]

    def __call__(self, *argv: str) -> Any:
        """What a command answers in JSON; Refused with its words where it fails."""
        return json.loads(self.text(*argv, "--format=json") or "null")

    def text(self, *argv: str) -> str:
        """What a command writes, of those that know no format."""
        command = ["gcloud", *argv, "--quiet"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.cloud.access.mint(OWNER))  # type: ignore[no-untyped-call]

    def options(self, service: str) -> dict[str, str]:
        return {"api_endpoint": f"{self.address}/{service}"}


@pytest.fixture(scope="session")
def emulator() -> Iterator[tuple[Cloud, str]]:
    cloud = Cloud(RealClock(), scale=0)
    with running(cloud) as address:
        yield cloud, address


@pytest.fixture
def gcloud(emulator: tuple[Cloud, str], tmp_path: Path) -> Iterator[Gcloud]:
    if shutil.which("gcloud") is None:
        pytest.skip("no gcloud on this machine")
    cloud, address = emulator
    project = f"gcloud-{next(NUMBERS)}"
    cloud.add_project(project, ("all",))
    told = environment(cloud, project, address, tmp_path / "environment")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    yield Gcloud(cloud, address, project, kept | told)
    complaints, cloud.complaints[:] = list(cloud.complaints), []
    assert complaints == []


@pytest.fixture
def beta(gcloud: Gcloud) -> Gcloud:
    """gcloud with the commands of its beta track, a component of its own."""
    if "beta" not in gcloud("version"):
        pytest.skip("this gcloud has no beta commands: `gcloud components install beta`")
    return gcloud


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is marked: half a minute a file, run by .ci/run where they or the emulator changed."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gcloud)
