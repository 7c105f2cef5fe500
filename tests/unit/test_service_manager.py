"""Which service manager a stack's host agent uses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import pytest

from blocks.agent.config import AgentConfig
from blocks.agent.spec import to_json
from blocks.host import service_manager
from blocks.host.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def booted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is there where systemd is PID 1."""
    monkeypatch.setattr(service_manager, "BOOTED", tmp_path / "booted")
    (tmp_path / "booted").mkdir()
    return tmp_path / "booted"


def run_by(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_systemd_where_it_is_pid_1_and_we_are_root(home: Home, booted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_by(monkeypatch, 0)
    assert service_manager.chosen(home) == "systemd"
    run_by(monkeypatch, 1000)
    assert service_manager.chosen(home) == "circus"
    run_by(monkeypatch, 0)
    booted.rmdir()
    assert service_manager.chosen(home) == "circus"


@pytest.mark.parametrize("began", ["circus", "systemd"])
def test_a_home_keeps_what_it_began_with(
    home: Home, booted: Path, monkeypatch: pytest.MonkeyPatch, began: Literal["circus", "systemd"]
) -> None:
    home.agent.mkdir()
    (home.agent / "config.json").write_text(to_json(AgentConfig(str(home.root), began)))
    for uid in (0, 1000):
        run_by(monkeypatch, uid)
        assert service_manager.chosen(home) == began
    (home.agent / "config.json").write_text("rubbish")
    run_by(monkeypatch, 0)
    assert service_manager.chosen(home) == "systemd"
    home.run.mkdir()
    (home.run / "circus.ini").touch()
    assert service_manager.chosen(home) == "circus"
