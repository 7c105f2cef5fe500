"""Where the ledger of a home's stack lies. Without Prefect: the launcher asks before it is imported."""

from __future__ import annotations

from blocks.host.home import Home
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore
from blocks.requests import Requests


def of(home: Home) -> Ledger:
    """The ledger of the stack in a home on this machine. Touches nothing."""
    return Ledger(LocalObjectStore(home.store), home)


def requests(home: Home) -> Requests:
    """What that ledger asks of its host. By the store's own path: a request to destroy removes the home first."""
    return Requests(LocalObjectStore(home.store.resolve()))
