"""An upgrade: preflight, rehearsal on a restored copy, then a new server takes over from the old one while all runs."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from blocks import catalog
from blocks.spec import StackSpec
from flows.upgrade.steps import Upgrade

NEWEST: str = StackSpec.model_fields["prefect_version"].default
Version = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
Hours = Annotated[int, Field(ge=1, le=168)]
Minutes = Annotated[int, Field(ge=0, le=1440)]
Wheel = Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


@flow(name="upgrade")
def upgrade(
    to: Version = NEWEST,
    approve: bool = False,
    approval_hours: Hours = 24,
    drain_minutes: Minutes = 30,
    wheel: Wheel = "",
    stack: str | None = None,
) -> None:
    """Upgrade this server, its database and its workers while flows run.

    Checks first, makes a backup and restores it, rehearses the whole upgrade on that copy, then lets the new server
    take over. Whatever fails is rolled back. The report is the artifact `upgrade`.

    Args:
        to: Prefect version to upgrade to, such as 3.8.8. The default is the newest that is known to work.
        approve: Pause before the switch, with the rehearsal's report, until a person resumes this run.
        approval_hours: Hours a person gets for that; then the run ends and nothing was switched.
        drain_minutes: Minutes that flows on your own workers get to end, their pools paused; then a worker that still
            runs some is left on the old version.
        wheel: Leave it empty. `selfhost upgrade --self` puts the sha256 of another wheel of this project here.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    run = Upgrade(catalog.load(stack), to, wheel)
    try:
        run.take_lease()
        run.check()
        if not run.transition.is_done:  # else an interrupted upgrade has switched already, and is finished
            run.install()
            run.dump_and_rehearse()
            if approve:
                run.ask(approval_hours)
        run.watch()
        try:
            if not run.transition.is_done:
                run.switch()
            run.change_workers(drain_minutes * 60.0)
            run.verify()
        except Exception as error:
            run.roll_back(error)
            raise
        run.finish()
        run.remove_disused()
    finally:
        run.end()
