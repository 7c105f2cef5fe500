"""The ownership mark of a home, HOME/stack.json: whose folder it is, and where that stack's objects lie."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

MARK = "stack.json"
BUCKET = "gs://"
"""How the place of objects begins in a mark where they lie in a bucket and not in a folder."""


@dataclass(frozen=True)
class Bucket:
    """Where the objects of a stack lie whose host is a VM at Google."""

    name: str
    project: str
    """Id of the project which the stack is in, such as `acme-data-42`."""
    region: str

    def __str__(self) -> str:
        return f"{BUCKET}{self.name}"


def mark(stack: str, identity: str = "", store: Path | Bucket | None = None) -> bytes:
    """What a mark says: `stack`, `id`, `created` (UTC); `store`, where the objects do not lie in the home; and for a
    bucket `project` and `region`.

    Args:
        identity: The stack's, where it has one already; left out: a new one.
    """
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    said = {"stack": stack, "id": identity or str(uuid.uuid4()), "created": created}
    if store is not None:
        said["store"] = str(store)
    if isinstance(store, Bucket):
        said |= {"project": store.project, "region": store.region}
    return json.dumps(said).encode()


def bucket_in(said: dict[str, str]) -> Bucket | None:
    """The bucket which a mark names; None where it names none."""
    store = said.get("store", "")
    if not store.startswith(BUCKET):
        return None
    return Bucket(store.removeprefix(BUCKET), said.get("project", ""), said.get("region", ""))
