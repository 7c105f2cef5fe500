"""What a host carries out when it is asked to: verbs by name, whose arguments and answers are plain data.

On the target `local` whoever asks is on the host already, and it is a call. Elsewhere it is a request in the stack's
ledger, which the host carries out in a process of its own. So no verb knows who asked, and each finds the stack by its
home. Those which concern the host alone are here, without Prefect; those of the whole stack are in `flows.requests`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from blocks.errors import WrongCall
from blocks.host import at_work
from blocks.host.home import Home
from blocks.host.host import START_SECONDS, Host
from blocks.host.service_manager import Logs

Answer = dict[str, Any]

VERBS: Mapping[str, str] = {
    "given": "blocks.host.verbs:given",
    "ready": "blocks.host.verbs:ready",
    "idle": "blocks.host.verbs:idle",
    "logs": "blocks.host.verbs:logs",
    "log": "blocks.host.verbs:log",
    "end_orphans": "blocks.host.verbs:end_orphans",
    "preflight": "blocks.targets:preflight",
    "plan": "flows.requests:plan",
    "bring": "flows.requests:bring",
    "has_records": "flows.requests:has_records",
    "receive": "flows.requests:receive",
    "kept": "flows.requests:kept",
    "drop_kept": "flows.requests:drop_kept",
    "require_rotatable": "flows.requests:require_rotatable",
    "destroy": "flows.requests:destroy",
}
"""Verb → the function that does it, by name, as Prefect names flows: most of them lie above every block."""

NEED_LEASE = ("bring", "receive", "drop_kept", "destroy")
"""Verbs which change the stack: from elsewhere they are carried out for whoever holds its lease."""


def carry_out(home: Path, verb: str, arguments: Mapping[str, Any]) -> Answer:
    """Do it in this process, on this very machine, for the stack in that home.

    Raises:
        WrongCall: there is no such verb.
    """
    if verb not in VERBS:
        raise WrongCall(f"a host does not know the verb {verb!r}", f"it knows {', '.join(VERBS)}")
    module, _, function = VERBS[verb].partition(":")
    answer: Answer = getattr(import_module(module), function)(Home(home), **arguments)
    return answer


def given(home: Home) -> Answer:
    """Which `generation` of its spec the host was last given, 0 before the first; the names of its `services` and of
    the `folders` it lists."""
    applied = Host(home).applied()
    if applied is None:
        return {"generation": 0, "services": [], "folders": []}
    folders = [Path(each.path).name for each in applied.folders]
    return {"generation": applied.generation, "services": [e.name for e in applied.services], "folders": folders}


def ready(home: Home, timeout: float = START_SECONDS) -> Answer:
    """Wait until all services of the last spec are ready; `services` is how many there are.

    Raises:
        NotReady: they are not in time.
        Blocked: they are not all that a stack has, as a change of it was interrupted.
    """
    host = Host(home)
    seen = host.wait_ready(host.generation(), timeout)
    host.require_whole(seen)
    return {"services": len(seen.services)}


def idle(home: Home, timeout: float) -> Answer:
    """Wait until no worker runs a flow.

    Raises:
        Blocked: some still run.
    """
    Host(home).wait_idle(timeout)
    return {}


def logs(home: Home) -> Answer:
    """What has a log: `names`."""
    return {"names": Logs(home).names()}


def log(home: Home, service: str, lines: int) -> Answer:
    """The last `lines` of a log.

    Raises:
        WrongCall: there is no such log.
    """
    found = Logs(home)
    if service not in found.names():
        raise WrongCall(f"there is no log of {service!r}", f"there are {', '.join(found.names())}")
    return {"lines": found.lines(service, lines)}


def end_orphans(home: Home) -> Answer:
    """End what is at work in the home for a holder of the lease that is dead: `pids`.

    Raises:
        Blocked: the holder lives.
    """
    return {"pids": at_work.end_orphans(home.lease)}
