"""What is told to systemd, and the unit files that are ours."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..config import AgentConfig
from ..files import ensure_file
from ..service_manager import ServiceManagerFailed
from . import units

FOLDER = Path(units.FOLDER)
TIMEOUT = 90.0


def systemctl(*arguments: str, may_fail: bool = False) -> str:
    """Run systemctl; returns what it prints.

    Raises:
        ServiceManagerFailed: it is not there, or says no (unless it `may_fail`).
    """
    try:
        done = subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServiceManagerFailed(f"systemctl {arguments[0]}: {error}") from error
    if done.returncode != 0 and not may_fail:
        raise ServiceManagerFailed(f"systemctl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def ours(config: AgentConfig) -> set[str]:
    """Names of the units that this home has written."""
    found = (*FOLDER.glob(f"{config.units}*.*"), FOLDER / units.slice_name(config))
    return {path.name for path in found if _is_ours(path, config)}


def changed(config: AgentConfig, wanted: Mapping[str, str]) -> list[str]:
    """Write units, by name; returns those which were not so before. systemd has yet to be told (`daemon-reload`).

    Raises:
        ServiceManagerFailed: a unit of that name is not ours.
    """
    for name in wanted:
        if (FOLDER / name).exists() and not _is_ours(FOLDER / name, config):
            raise ServiceManagerFailed(f"{FOLDER / name} is not ours: remove it, or choose another --name")
    return [name for name, text in wanted.items() if ensure_file(FOLDER / name, text.encode(), 0o644)]


def remove(names: Iterable[str]) -> None:
    """Stop units of ours and remove their files."""
    listed = sorted(names)
    if not listed:
        return
    systemctl("stop", *listed, may_fail=True)  # one that was written, and not yet told of, is not known
    systemctl("reset-failed", *listed, may_fail=True)
    for name in listed:
        (FOLDER / name).unlink(missing_ok=True)
    systemctl("daemon-reload")


def ensure_agent(config: AgentConfig, wrapper: Sequence[str]) -> bool:
    """Have systemd start the agent at each boot, and again when it ends. Returns whether it did not know it so."""
    name = units.agent_name(config)
    if not changed(config, {name: units.render_agent(config, wrapper)}):
        return False
    systemctl("daemon-reload")
    systemctl("enable", "--quiet", name)
    return True


def remove_agent(config: AgentConfig) -> None:
    """End the agent, for good."""
    name = units.agent_name(config)
    if name in ours(config):
        systemctl("disable", "--quiet", name, may_fail=True)
        remove([name])


def _is_ours(path: Path, config: AgentConfig) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") == units.mark(config)
    except (OSError, UnicodeDecodeError):
        return False


def apart(config: AgentConfig, job: str) -> list[str]:
    """What a command is preceded by to be a unit of its own, which goes on when the agent's ends; it returns when the
    command does.

    Its name is a new one each time, as the last one's may still be on its way out.
    """
    unit = f"--unit={config.units}job-{job}-{time.time_ns()}"
    return ["systemd-run", "--quiet", "--collect", "--service-type=oneshot", unit, "--"]
