"""Moving the temporary server's whole database to its new home.

Pause, copy, verify, resume, retire: nothing is deleted before the copy has been verified, and each step finds
out for itself whether it has been done, so that the same command finishes an interrupted pivot.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect.client.orchestration import SyncPrefectClient

from blocks.agent.spec import Condition
from blocks.errors import Blocked
from blocks.server_objects import declared_deployments
from blocks.stack import Stack
from blocks.temporary.server import TemporaryServer
from blocks.verification import remove_check_schedules, verify
from flows.cli.progress import step
from flows.status import probed_pools, require

DUMP = "pivot/dump"
"""Key of the temporary server's dump on its way to the host."""
READY_SECONDS = 120.0
"""Time the stack's services get once their database is there: 2 s on a quiet machine."""


def is_copied(stack: Stack) -> bool:
    """Whether the stack's database has its content: a restore shows all at once, or not at all.

    Raises:
        NotReady: the database does not answer, so that nobody knows.
    """
    return bool(stack.machine.run("has_records", {})["found"])


def copy(stack: Stack, temporary: TemporaryServer) -> None:
    """Stop the temporary server and have the host restore its dump; its PostgreSQL and its files stay."""
    with step("stop the temporary server"):
        temporary.stop_server()
    with step("copy its database") as detail:
        dump = temporary.folder / "pivot.dump"
        temporary.dump(dump)
        before = temporary.row_counts()
        stack.objects.put(DUMP, dump)
        stack.machine.run("receive", {"key": DUMP, "rows": before})
        stack.objects.remove(DUMP)
        detail.text = f"{sum(before.values())} rows in {len(before)} tables"


def receive(stack: Stack, key: str, rows: Mapping[str, int]) -> None:
    """Restore a dump from the object store into the stack's database, on its host; it shows all at once, or not at all.

    Args:
        rows: Rows by table that must be there afterwards.

    Raises:
        Blocked: the database holds a server's records already, or rows are missing.
    """
    if stack.database.schema_revision() is not None:
        hint = "selfhost bootstrap adopts the stack that is there; nothing was replaced"
        raise Blocked("the database already holds a server's records: the dump was not restored", hint)
    with stack.host.workspace() as folder:
        stack.objects.get(key, folder / "dump")
        stack.database.restore(folder / "dump", inherited=stack.host.locks())
    _require_all_rows(rows, stack.database.row_counts())


def finish(stack: Stack, temporary: TemporaryServer) -> list[Condition]:
    """Verify through the front door, resume the schedules, retire the temporary server."""
    with step("services ready"):
        stack.machine.run("ready", {"timeout": READY_SECONDS})
    with step("verify through the front door") as detail:
        versions = stack.spec.prefect_version
        conditions = verify(stack.door, versions, probed_pools(stack), stack.machine.observe())
        require(conditions)
        detail.text = f"{len(conditions)} checks hold"
    with step("resume schedules") as detail, stack.door.client() as client:
        remove_check_schedules(client)  # those of an attempt that was killed in its verification; no other check runs
        detail.text = f"{resume_schedules(client)} deployments"
    with step("retire the temporary server"):
        temporary.retire()
    return conditions


def resume_schedules(client: SyncPrefectClient) -> int:
    """Let the deployments that were made paused run by their schedules; how many that were."""
    resumed = 0
    for entry in declared_deployments():
        if entry.get("schedules"):
            flow_name = entry["entrypoint"].rpartition(".")[2]
            found = client.read_deployment_by_name(f"{flow_name}/{entry['name']}")
            client.set_deployment_paused_state(found.id, False)
            resumed += 1
    return resumed


def _require_all_rows(before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """The server may have begun to add rows; none may be missing."""
    missing = {name: (count, after.get(name, 0)) for name, count in before.items() if after.get(name, 0) < count}
    if missing:
        raise Blocked(f"rows are missing from the copy: {missing}", "nothing was deleted; run the same command again")
