"""The command line: `run`, `start`, `stop`, `status`, `settle`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import processes
from .config import AgentConfig, InvalidConfig, Layout, load_config
from .daemon import AlreadyRunning, Daemon, lock_home, make_service_manager, sha256_of, write_identity
from .files import open_log, write_atomically
from .jobs import Jobs
from .mark import Bucket
from .processes import ProcessRecord
from .records import read_data
from .reporting import stopped_status
from .service_manager import ServiceManagerFailed
from .spec import HostStatus, InvalidSpec, from_json, to_json
from .systemd import control, units

START_TIMEOUT = 20.0
END_TIMEOUT = 5.0
LOG_BYTES = 5_000_000


class CommandFailed(Exception):
    """One line for the user."""


def main(arguments: list[str]) -> int:
    """Run one command. Returns the exit status: 0, 1 for a failure; a wrong call exits with 2."""
    commands: dict[str, Callable[[Layout], None]] = {
        "run": _run,
        "start": _start,
        "stop": _stop,
        "status": _status,
    }
    options = _parsed(arguments, sorted(commands))
    layout = Layout(options.home.absolute())
    os.umask(0o077)
    try:
        if options.command == "settle":
            _settle(layout, options)
        else:
            commands[options.command](layout)
    except (CommandFailed, InvalidConfig, AlreadyRunning, ServiceManagerFailed) as error:
        sys.stderr.write(f"agent: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"agent: {error.filename or options.home}: {error.strerror}\n")
        return 1
    return 0


def _parsed(arguments: list[str], commands: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="agent.pyz", description="Converges this host to its spec.")
    found = parser.add_subparsers(dest="command", required=True)
    settle = found.add_parser("settle", help="make the home of a VM at Google, and have the agent run")
    for each in (settle, *map(found.add_parser, commands)):
        each.add_argument("--home", required=True, type=Path, help="folder of this host's stack")
    for option in ("bucket", "project", "region", "stack", "identity", "uv"):
        settle.add_argument(f"--{option}", required=True)
    settle.add_argument("--manager", choices=("systemd", "circus"), default="systemd")
    for option in ("metadata", "storage", "secret-manager"):
        settle.add_argument(f"--{option}", default="", help="address of an emulated service")
    return parser.parse_args(arguments)


def _settle(layout: Layout, options: argparse.Namespace) -> None:
    from .settling import CannotSettle, Settlement, Settling  # TLS comes with it: 20 ms that no other command needs

    bucket = Bucket(options.bucket, options.project, options.region)
    who = (options.stack, options.identity, bucket, options.uv)
    emulated = (options.metadata, options.storage, options.secret_manager)
    try:
        Settling(Settlement(layout.home, *who, *emulated, options.manager), _archive()).run()
    except CannotSettle as error:
        raise CommandFailed(str(error)) from error


def _run(layout: Layout) -> None:
    config = load_config(layout.home)
    layout.make()
    if config.manager == "systemd":  # which starts it with an environment of its own
        os.environ.update(read_data(str(layout.reach)))
    descriptor = lock_home(layout)
    digest = sha256_of(_archive())
    write_identity(descriptor, digest)
    Daemon(config, layout, _wrapper(), digest).run()


def _start(layout: Layout) -> None:
    config = load_config(layout.home)
    layout.make()
    running = _running_agent(layout)
    if running is not None and _sha256_of_running(layout) != sha256_of(_archive()):
        processes.end(running, signal.SIGTERM, END_TIMEOUT)
        running = None
    record = _supervised(config, layout, running) if config.manager == "systemd" else running or _spawn(layout)
    sys.stdout.write(f"{record.pid}\n")


def _stop(layout: Layout) -> None:
    config = load_config(layout.home)
    layout.make()
    if config.manager == "systemd":
        control.remove_agent(config)
    running = _running_agent(layout)
    if running is not None:
        processes.end(running, signal.SIGTERM, END_TIMEOUT)
    descriptor = lock_home(layout, patience=END_TIMEOUT)
    Jobs(config, layout, _wrapper()).end_all()
    make_service_manager(config, layout, _wrapper()).stop_all()
    _tell_stopped(layout)
    os.ftruncate(descriptor, 0)
    os.close(descriptor)


def _tell_stopped(layout: Layout) -> None:
    try:
        status = from_json(HostStatus, layout.status.read_text(encoding="utf-8"))
    except (FileNotFoundError, InvalidSpec):
        return
    write_atomically(layout.status, to_json(stopped_status(status, time.time())).encode(), 0o600)


def _status(layout: Layout) -> None:
    try:
        sys.stdout.write(layout.status.read_text(encoding="utf-8") + "\n")
    except FileNotFoundError as error:
        raise CommandFailed(f"{layout.status}: there is no status yet; is the agent started?") from error


def _spawn(layout: Layout) -> ProcessRecord:
    log_path = layout.log("agent")
    if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
        log_path.replace(log_path.with_suffix(".log.1"))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    with open_log(log_path) as log:
        child = subprocess.Popen(
            [*_wrapper(), "run", "--home", str(layout.home)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            env=environment,
        )
    return _wait_started(layout, lambda: child.poll() is None, f"see {log_path}")


def _supervised(config: AgentConfig, layout: Layout, running: ProcessRecord | None) -> ProcessRecord:
    """Have systemd run the agent, now and after each boot."""
    if not control.ensure_agent(config, _wrapper()) and running is not None:
        return running
    control.systemctl("restart", units.agent_name(config))
    return _wait_started(layout, lambda: True, f"see journalctl -u {units.agent_name(config)}")


def _wait_started(layout: Layout, may_come: Callable[[], bool], hint: str) -> ProcessRecord:
    """Wait until some agent has the home: the one just started, or one that was quicker."""
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        running = _running_agent(layout)
        if running is not None:
            return running
        if not may_come():
            break
        time.sleep(0.02)
    raise CommandFailed(f"the agent did not start; {hint}")


def _running_agent(layout: Layout) -> ProcessRecord | None:
    record = processes.from_data(read_data(str(layout.pid)))
    return record if processes.is_alive(record) else None


def _sha256_of_running(layout: Layout) -> str:
    return str(json.loads(layout.pid.read_text(encoding="utf-8")).get("sha256", ""))


def _archive() -> Path:
    return Path(sys.argv[0]).absolute()


def _wrapper() -> list[str]:
    """The command that runs this agent again: from its archive, or as a module of a source tree."""
    archive = _archive()
    if archive.suffix == ".pyz":
        return [sys.executable, "-I", "-S", str(archive)]
    return [sys.executable, "-m", __package__ or "agent"]
