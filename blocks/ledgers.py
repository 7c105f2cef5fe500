"""Where the objects of a home's stack lie, and so its ledger. Without Prefect: the launcher asks before it is imported.

A stack on this machine has them in a folder, one at Google in a bucket, of which its host's home knows as well as the
folder of whoever changes it from elsewhere. Google's packages are imported for the latter alone: that takes a second.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from blocks.agent.mark import Bucket
from blocks.host.home import Home
from blocks.ledger import Ledger
from blocks.local.object_store import LocalObjectStore
from blocks.object_store import ObjectStore
from blocks.requests import Requests

if TYPE_CHECKING:
    from blocks.gcp.google import Google


@functools.cache
def google(project: str) -> Google:
    """A project at Google, with one client of each API for this process."""
    from blocks.gcp.google import Google

    return Google(project)


def objects(home: Home, store: Path | Bucket | None = None) -> ObjectStore:
    """The objects of the stack in a home. Touches nothing.

    Args:
        store: Where they lie, for a home that does not say so yet.
    """
    place = store or home.bucket or home.store
    if isinstance(place, Path):
        return LocalObjectStore(place)
    from blocks.gcp.object_store import GcsObjectStore

    return GcsObjectStore(google(place.project), home.owner() or "", place.name, place.region)


def of(home: Home, store: Path | Bucket | None = None) -> Ledger:
    """The ledger of the stack in a home. Touches nothing.

    Args:
        store: Where its objects lie, for a home that does not say so yet.
    """
    is_elsewhere = isinstance(store or home.bucket, Bucket) and not home.is_hosts()
    return Ledger(objects(home, store), None if is_elsewhere else home)


def requests(home: Home) -> Requests:
    """What that ledger asks of its host. By the store's own path: a request to destroy removes the home first."""
    return Requests(objects(home, home.bucket or home.store.resolve()))
