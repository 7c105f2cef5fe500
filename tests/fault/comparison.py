"""What must be equal between a stack that was disturbed while it was made and one that was not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.stack import Stack, eventually

SETTLED_SECONDS = 45.0
_OF_COMPLETED = "JOIN flow f ON f.id = r.flow_id WHERE f.name = 'bootstrap' AND r.state_type = 'COMPLETED'"
LISTS = {
    "flows": "SELECT name FROM flow",
    "deployments": "SELECT f.name, d.name, d.entrypoint, d.paused, d.description FROM deployment d "
    "JOIN flow f ON f.id = d.flow_id",
    "schedules": "SELECT d.name, s.schedule ->> 'cron', s.active FROM deployment_schedule s "
    "JOIN deployment d ON d.id = s.deployment_id",
    "pools": "SELECT name, type FROM work_pool",
    "queues": "SELECT p.name, q.name FROM work_queue q JOIN work_pool p ON p.id = q.work_pool_id",
    "workers": "SELECT p.name, w.name FROM worker w JOIN work_pool p ON p.id = w.work_pool_id",
    "automations": "SELECT name, enabled, description FROM automation",
    "blocks": "SELECT t.slug, d.name FROM block_document d JOIN block_type t ON t.id = d.block_type_id",
    "block types": "SELECT slug FROM block_type",
    "variables": "SELECT name FROM variable",
    "completed bootstraps": f"SELECT r.state_name FROM flow_run r {_OF_COMPLETED}",
    "its tasks": f"SELECT t.name, t.state_name FROM task_run t JOIN flow_run r ON r.id = t.flow_run_id {_OF_COMPLETED}",
    "its artifacts": f"SELECT a.key, a.type FROM artifact a JOIN flow_run r ON r.id = a.flow_run_id {_OF_COMPLETED}",
    "scheduled": "SELECT DISTINCT d.name FROM flow_run r JOIN deployment d ON d.id = r.deployment_id "
    "WHERE r.state_type = 'SCHEDULED'",
    "runs in limbo": "SELECT f.name, r.state_name FROM flow_run r JOIN flow f ON f.id = r.flow_id "
    "WHERE r.state_type IN ('RUNNING', 'PENDING', 'CANCELLING')",
}
"""Name → SQL whose rows are compared as a bag."""
FOLDERS = (
    "",
    "agent",
    "bin",
    "etc",
    "etc/server-blue",
    "etc/worker-default",
    "etc/worker-maintenance",
    "etc/nginx",
    "secrets",
    "run",
    "store/locks",
    "state",
)


def facts(stack: Stack) -> dict[str, Any]:
    """Everything that is compared, with this stack's own name, home and ports taken out."""
    rows = {name: Counter(_plain(stack, "|".join(row)) for row in stack.query(sql)) for name, sql in LISTS.items()}
    files = {f"files in {folder or 'home'}": _names(stack, folder) for folder in FOLDERS}
    return {**rows, **files, "processes": _processes(stack)}


@dataclass(frozen=True)
class Undisturbed:
    """A stack's facts, and the steps of its one bootstrap."""

    facts: dict[str, Any]
    steps: frozenset[str]


def settled(stack: Stack) -> dict[str, Any]:
    """Its facts, once the server has done what it does by itself: every schedule has runs, every worker is known."""
    active = f"{LISTS['schedules']} WHERE s.active AND NOT d.paused"

    def has_runs() -> bool:
        scheduled = {name for (name,) in stack.query(LISTS["scheduled"])}
        return {name for name, *_ in stack.query(active)} <= scheduled and not stack.query(LISTS["runs in limbo"])

    eventually(has_runs, "runs of every schedule", SETTLED_SECONDS, every=0.5)
    eventually(lambda: len(stack.query(LISTS["workers"])) == 2, "both workers", SETTLED_SECONDS)
    return facts(stack)


def require_equal(stack: Stack, undisturbed: Undisturbed) -> None:
    """Nothing twice, nothing missing."""
    found: dict[str, tuple[Any, Any]] = {}

    def is_equal() -> bool:
        mine, theirs = facts(stack), undisturbed.facts
        found.clear()
        found.update({name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]})
        return not found

    try:
        eventually(is_equal, "equal facts", SETTLED_SECONDS)
    except AssertionError:
        told = [f"{name}:\n  disturbed   {mine}\n  undisturbed {theirs}" for name, (mine, theirs) in found.items()]
        raise AssertionError("\n".join(["the disturbed stack differs", *told])) from None
    require_history(stack)


def require_history(stack: Stack) -> None:
    """One bootstrap completed, those that were killed ended as crashed or failed; and the stack is well."""
    sql = "SELECT r.state_type FROM flow_run r JOIN flow f ON f.id = r.flow_id WHERE f.name = 'bootstrap'"
    states = Counter(row[0] for row in stack.query(sql))
    assert states["COMPLETED"] == 1 and set(states) <= {"COMPLETED", "CRASHED", "FAILED"}, states
    assert stack.plan() == []
    assert [each for each in stack.transcript if "Traceback" in each.output] == []


def _plain(stack: Stack, text: str) -> str:
    for own, plain in ((str(stack.home), "HOME"), (stack.name, "NAME")):
        text = text.replace(own, plain)
    return re.sub(rf"\b({stack.port}|{stack.port + 1}|{stack.port + 2})\b", "PORT", text)


def _names(stack: Stack, folder: str) -> list[str]:
    # A launcher which found the stack whole has a PREFECT_HOME of its own there, as on every repeat.
    return sorted(each.name for each in (stack.home / folder).iterdir() if each.name != "launcher")


def _processes(stack: Stack) -> Counter[str]:
    """Command lines, without PostgreSQL's backends, which come and go with connections."""
    lines = (_plain(stack, each) for each in stack.processes().values())
    return Counter(re.sub(r"\b\d{4,}\b", "N", each) for each in lines if each and not each.startswith("postgres: "))
