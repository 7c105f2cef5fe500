"""Moving the temporary server's whole database to its new home.

Pause, copy, verify, resume, retire: nothing is deleted before the copy has been verified, and each step finds
out for itself whether it has been done, so that the same command finishes what a killed one began.
"""

from __future__ import annotations

from collections.abc import Mapping

from prefect.client.orchestration import SyncPrefectClient

from blocks.agent.spec import Condition
from blocks.errors import Blocked
from blocks.host.lease import Lease
from blocks.server_objects import declared_deployments
from blocks.stack import Stack
from blocks.temporary.server import TemporaryServer
from blocks.verification import remove_check_schedules, verify
from flows.cli.progress import step
from flows.status import pools, require

READY_SECONDS = 120.0
"""Time the stack's services get once their database is there: 2 s on a quiet machine."""


def is_copied(stack: Stack) -> bool:
    """Whether the stack's database has its content: a restore shows all at once, or not at all.

    Raises:
        NotReady: the database does not answer, so that nobody knows.
    """
    return stack.database.schema_revision() is not None


def copy(stack: Stack, temporary: TemporaryServer, lease: Lease) -> None:
    """Stop the temporary server and copy its database; its PostgreSQL and its files stay."""
    with step("stop the temporary server"):
        temporary.stop_server()
    with step("copy its database") as detail:
        dump = temporary.folder / "pivot.dump"
        temporary.dump(dump)
        before = temporary.row_counts()
        if not is_copied(stack):
            stack.database.restore(dump, keep_open=(lease.descriptor,))
        _require_all_rows(before, stack.database.row_counts())
        detail.text = f"{sum(before.values())} rows in {len(before)} tables"


def finish(stack: Stack, temporary: TemporaryServer) -> list[Condition]:
    """Verify through the front door, resume the schedules, retire the temporary server."""
    with step("services ready"):
        stack.host.wait_ready(timeout=READY_SECONDS)
    with step("verify through the front door") as detail:
        versions = stack.spec.prefect_version
        conditions = verify(stack.door, versions, pools(stack), stack.host.observe())
        require(conditions)
        detail.text = f"{len(conditions)} checks hold"
    with step("resume schedules") as detail, stack.door.client() as client:
        remove_check_schedules(client)  # an attempt killed in its verification left one; nobody else checks yet
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
