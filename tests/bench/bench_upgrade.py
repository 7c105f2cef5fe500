"""An upgrade 3.8.3 → 3.8.8 of a whole stack in use, and the same version change done by hand without us beside it.

    uv run python -m tests.bench.bench_upgrade [--clients 16] [--flows 20] [--limited-minutes 4] [--flows-by-hand 5]

All the time clients without retries call through the front door, a schedule makes a run every ten seconds, and
subscribers hold websockets of events and of logs; flows of 14 tasks span the switch, and a flow under a concurrency
limit of its deployment runs until some minutes past it. The quiet half-minute has the same load. Afterwards the new
server is restarted in place on the held socket. By hand, there are the same clients and subscribers and fewer flows,
which are shorter, as the server is away for half a minute only. A quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from tests.bench import by_hand, fourteen_flows, past_switch, scheduled_runs
from tests.bench.fourteen import TASKS
from tests.bench.phases import Load, Phase, table
from tests.stack import Stack, eventually, scratch
from tests.traffic import Traffic

OLD, NEW = "3.8.3", "3.8.8"
QUIET_SECONDS = 30.0
SECONDS_A_TASK = 15.0
"""So that a flow goes on from before the quiet half-minute until after the switch."""
SETTLE_CALLS = 300
UPGRADE_SECONDS = 1800.0


def client_environment(stack: Stack, folder: Path) -> dict[str, str]:
    """What a flow outside of the stack needs to reach it."""
    return {
        **stack.environment,
        "PREFECT_API_URL": stack.door.api_url,
        "PREFECT_API_AUTH_STRING": stack.secret("auth-string"),
        "PREFECT_HOME": str(folder / "client"),
    }


def restarted_in_place(stack: Stack) -> None:
    """End the server, which its supervisor starts again on the socket that is held."""
    ((name, before),) = stack.servers().items()
    os.kill(before, signal.SIGTERM)
    eventually(lambda: _is_ready(stack, name, before), "the server again", 120)


def _is_ready(stack: Stack, name: str, before: int) -> bool:
    with suppress(FileNotFoundError):
        return bool(json.loads((stack.home / f"state/server/{name}.json").read_text())["pid"] != before)
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--flows", type=int, default=20)
    parser.add_argument(
        "--task-seconds", type=float, default=SECONDS_A_TASK, help="more where no flow spans the switch"
    )
    parser.add_argument("--limited-minutes", type=float, default=4.0, help="a flow goes on so long past the switch")
    parser.add_argument("--flows-by-hand", type=int, default=5)
    options = parser.parse_args()
    console = Console(width=130, soft_wrap=True)
    with scratch("bench-") as stack, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        (Path(folder) / "old.toml").write_text(f'prefect_version = "{OLD}"\n')
        stack.bootstrap("--spec", str(Path(folder) / "old.toml"))
        measure(stack, Path(folder), options, console)
    compare(options, console)


def measure(stack: Stack, folder: Path, options: argparse.Namespace, console: Console) -> None:
    """Upgrade the stack in use, then restart its server; print what was seen."""
    load = Load(stack.url, stack.secret("auth-string"), options.clients)
    deployment = scheduled_runs.scheduled(stack)
    limited = past_switch.limited_run(stack)
    python = next((stack.home / "releases").glob(f"{OLD}-*/bin/python"))
    flows = fourteen_flows.started(python, options.task_seconds, options.flows, client_environment(stack, folder))
    try:
        runs = fourteen_flows.begun(flows)
        quiet = load.during("quiet half-minute", lambda _: time.sleep(QUIET_SECONDS))
        began = time.monotonic()
        with past_switch.ended_past_switch(stack, limited, options.limited_minutes) as switch:
            upgrade = load.during("upgrade", lambda _: upgraded(stack, flows))
    finally:
        fourteen_flows.ended(flows, 0)
    told = [
        slowest(upgrade, began),
        f"flows of {TASKS} tasks: {fourteen_flows.stored(stack.query, runs, switch.ready_at)}",
        f"flow under a concurrency limit: {past_switch.told(stack, limited, switch)}",
        f"runs of a schedule: {scheduled_runs.read(stack, deployment, switch.alone_at)}",
        report(stack),
    ]
    restart = load.during("restart in place, held socket", lambda traffic: _restarted(stack, traffic))
    phases = [quiet, upgrade, restart]
    console.print(table(f"An upgrade {OLD} → {NEW} under {options.clients} clients without retries", phases))
    console.print("\n".join([*told, *(each.websockets() for each in phases)]))


def upgraded(stack: Stack, flows: list[subprocess.Popen[str]]) -> None:
    """Upgrade through the command line, and wait for what spans it."""
    stack.run("upgrade", "--to", NEW, seconds=UPGRADE_SECONDS)
    fourteen_flows.ended(flows, UPGRADE_SECONDS)


def _restarted(stack: Stack, traffic: Traffic) -> None:
    traffic.wait_for(SETTLE_CALLS)
    restarted_in_place(stack)
    traffic.wait_for(SETTLE_CALLS)


def compare(options: argparse.Namespace, console: Console) -> None:
    """The same by hand, on a machine that has nothing else to do any more."""
    found = by_hand.upgraded(OLD, NEW, options.clients, options.flows_by_hand)
    console.print(table(f"The same {OLD} → {NEW} by hand, a port of its own behind nginx", found.phases))
    told = [f"by hand: {found.steps}", f"flows of {TASKS} tasks, by hand: {found.stored}"]
    console.print("\n".join([*told, *(each.websockets() for each in found.phases)]))


def slowest(upgrade: Phase, began: float) -> str:
    """The slowest calls, and when they began."""
    calls = sorted(upgrade.calls, key=lambda each: -each.seconds)[:5]
    places = ", ".join(f"{1000 * each.seconds:.0f} ms at {each.began - began:.0f} s" for each in calls)
    return f"slowest calls, and when after the command: {places}"


def report(stack: Stack) -> str:
    """The lines of the upgrade's own report which say how long each step took."""
    with stack.client() as client:
        found = next(each for each in client.read_latest_artifacts() if each.key == "upgrade")
    return "\n".join(line for line in str(found.data).splitlines() if line.startswith(("|", "longest")))


if __name__ == "__main__":
    main()
