"""Where the ledger of a home's stack lies. Without Prefect: the launcher asks before it is imported."""

from __future__ import annotations

from blocks.host.home import Home
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore


def of(home: Home) -> Ledger:
    """The ledger of the stack in a home on this machine. Touches nothing."""
    return Ledger(LocalObjectStore(home.store), home)
