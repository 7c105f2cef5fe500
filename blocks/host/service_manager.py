"""Which service manager a stack's host agent uses, and where the logs of what it runs are."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from pathlib import Path
from typing import Literal

from blocks.agent.config import AgentConfig
from blocks.agent.spec import InvalidSpec, from_json
from blocks.agent.systemd import control, units
from blocks.host.home import Home

BOOTED = Path("/run/systemd/system")
"""Is there where systemd is PID 1: sd_booted(3)."""


def chosen(home: Home) -> Literal["circus", "systemd"]:
    """What a home began with, or else systemd where it is PID 1 and we are root; Circus elsewhere."""
    begun = config(home)
    if begun is not None:
        return begun.manager
    if (home.run / "circus.ini").exists():  # and what says so is damaged
        return "circus"
    return "systemd" if os.geteuid() == 0 and BOOTED.is_dir() else "circus"


def config(home: Home) -> AgentConfig | None:
    """How the host agent of a home is set up; None where it is not, or where that is damaged."""
    try:
        return from_json(AgentConfig, (home.agent / "config.json").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, InvalidSpec):
        return None


class Logs:
    """What services, jobs and the agent have said: in systemd's journal, or in files of the home."""

    def __init__(self, home: Home) -> None:
        self._home, self._config = home, config(home)

    def names(self) -> list[str]:
        """All that have a log; jobs are called `job-NAME`, the agent `agent`."""
        return sorted({*(each.stem for each in self._home.logs.glob("*.log")), *self._units()})

    def file(self, name: str) -> Path:
        """Where it is where it is a file, written or not."""
        return self._home.logs / f"{name}.log"

    def lines(self, name: str, count: int) -> list[str]:
        """The last lines of a log."""
        if name in self._units():
            done = subprocess.run(
                self._journal(name, count), capture_output=True, text=True, errors="replace", check=False
            )
            return done.stdout.splitlines()
        with self.file(name).open(encoding="utf-8", errors="replace") as file:
            return [each.rstrip("\n") for each in deque(file, count)]

    def hint(self, name: str) -> str:
        """What to type to see a log, for a message."""
        if self._config is not None and name in self._units():
            return f"journalctl -u {units.service_name(self._config, name)}"
        return f"see {self.file(name)}"

    def last_line(self, name: str) -> str:
        """The last line of a log that says something."""
        try:
            lines = self.lines(name, 100)
        except FileNotFoundError:
            return "nothing"
        return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "nothing")

    def _units(self) -> dict[str, str]:
        """Unit of each service that systemd runs, by its name."""
        if self._config is None or self._config.manager != "systemd":
            return {}
        start = self._config.units
        found = (each for each in control.ours(self._config) if each.endswith(".service"))
        names = [each for each in found if not each.endswith(units.ANCHOR)]
        return {each.removeprefix(start).removesuffix(".service"): each for each in names}

    def _journal(self, name: str, count: int) -> list[str]:
        return ["journalctl", f"_SYSTEMD_UNIT={self._units()[name]}", f"--lines={count}", "--output=cat", "--no-pager"]
