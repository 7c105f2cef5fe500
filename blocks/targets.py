"""The machine of a stack, by its home alone: for verbs that must work where nothing else of the stack can be read.

No Prefect is imported here, so that a stack can be stopped, and its logs read, in a moment.
"""

from __future__ import annotations

from pathlib import Path

from blocks.local.machine import LocalMachine
from blocks.machine import Machine


def machine_at(home: Path) -> Machine:
    """The machine of the stack in that home."""
    return LocalMachine(root=home)
