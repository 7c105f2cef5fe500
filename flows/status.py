"""Whether a stack is well, as its users would find it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from blocks import backups, catalog, clients, verification
from blocks.agent.spec import Condition
from blocks.errors import Blocked, SelfhostError
from blocks.host.secret_files import AUTH_STRING
from blocks.stack import Stack
from flows import backup


@flow(name="status")
def status(stack: str | None = None) -> None:
    """Look at the whole stack through its front door; fails where something is not as it should be.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    loaded = catalog.load(stack)
    conditions = task(name="verify through the front door", cache_policy=NO_CACHE)(lambda: look(loaded))()
    publish(conditions)
    require(conditions)


def look(stack: Stack) -> list[Condition]:
    """Every check of `blocks.verification` for this stack, and what concerns it as a whole."""
    seen = stack.machine.observe()
    found = verification.verify(stack.door, stack.spec.prefect_version, probed_pools(stack), seen)
    found.append(clients.fit(clients.callers(seen), stack.spec.prefect_version, time.time()))
    found += [backup_is_recent(stack), kept_databases(stack)]
    alerts = stack.spec.alerts.notification_block
    return [*found, verification.alerts_reach(stack.door, alerts)] if alerts else found


def backup_is_recent(stack: Stack) -> Condition:
    """Whether the last verified backup is as young as the policy wants it, and every manifest can be read."""
    identity = stack.ledger.identity()
    made = identity.made() if identity else None
    return backups.recent(backup.found(stack), stack.spec.backup, made, datetime.now(UTC))


def kept_databases(stack: Stack) -> Condition:
    """The replaced databases which restores have kept, with their sizes: they take disk until a person drops them."""
    try:
        kept: Mapping[str, int] = stack.machine.run("kept", {})["databases"]
    except SelfhostError as error:
        return Condition("KeptDatabases", False, "NoAnswer", error.what)
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in kept.items())
    if not kept:
        return Condition("KeptDatabases", True, "None", "no restore has kept a database")
    return Condition("KeptDatabases", True, "Kept", f"kept by restores until selfhost restore --drop-old: {sizes}")


def report(stack: Stack) -> dict[str, Any]:
    """Everything `selfhost status --json` tells; its keys are stable."""
    seen, given = stack.machine.observe(), stack.machine.run("given", {})
    conditions = look(stack)
    return {
        "name": stack.spec.name,
        "target": stack.spec.target,
        "url": stack.proxy.url(),
        "api_url": f"{stack.proxy.url()}/api",
        "auth_string_file": stack.secrets.location(AUTH_STRING),
        "prefect_version": stack.spec.prefect_version,
        "healthy": all(each.status for each in conditions),
        "generation": given["generation"],
        "observed_generation": seen.observed_generation if seen else 0,
        "services": [{"name": e.name, "state": e.state, "version": e.version} for e in (seen.services if seen else ())],
        "conditions": [
            {"type": e.type, "status": e.status, "reason": e.reason, "message": e.message} for e in conditions
        ],
    }


def probed_pools(stack: Stack) -> list[str]:
    """Work pools this stack has a worker on; each has a deployment `probe/<pool>`."""
    return sorted({worker.pool for worker in stack.spec.workers})


def publish(conditions: Sequence[Condition]) -> None:
    """Leave the conditions as a table."""
    rows = [{"check": each.type, "well": "yes" if each.status else "NO", "what": each.message} for each in conditions]
    create_table_artifact(table=rows, key="status", description="The stack, seen through its front door.")


def require(conditions: Sequence[Condition]) -> None:
    """Raise Blocked with every condition that does not hold."""
    bad = [f"{each.type}: {each.message}" for each in conditions if not each.status]
    if bad:
        raise Blocked("; ".join(bad), "selfhost status shows all checks, selfhost logs a service's log")
