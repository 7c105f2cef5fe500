"""`selfhost permissions`: what Google must allow whoever makes a stack there."""

from __future__ import annotations

from blocks import targets
from flows.cli.where import app


@app.command
def permissions(*, project: str) -> None:
    """Print, as a role that gcloud reads, what Google must allow whoever makes a stack in a project, and why.

    Parameters
    ----------
    project: Id of the project, such as acme-data-42.
    """
    print(targets.permissions(project))
