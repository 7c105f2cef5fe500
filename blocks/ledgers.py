"""Where the ledger of a home's stack lies. Without Prefect: the launcher asks before it is imported."""

from __future__ import annotations

from pathlib import Path

from blocks.host.home import Home
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore
from blocks.requests import Requests


def of(home: Home, store: Path | None = None) -> Ledger:
    """The ledger of the stack in a home on this machine. Touches nothing.

    Args:
        store: Folder of its objects, for a home that does not say yet where they lie.
    """
    return Ledger(LocalObjectStore(store or home.store), home)


def requests(home: Home) -> Requests:
    """What that ledger asks of its host. By the store's own path: a request to destroy removes the home first."""
    return Requests(LocalObjectStore(home.store.resolve()))
