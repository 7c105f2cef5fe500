"""Requests to a stack's host, its answers, and what it reports: objects of the stack's ledger.

Whoever is outside writes one request at a time; the host carries it out and answers. An identifier that has an answer
is never carried out again, so that a host which was made anew does not replay an old request.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from blocks import errors
from blocks.agent.spec import HostStatus, InvalidSpec, from_json, to_json
from blocks.errors import Conflict, SelfhostError
from blocks.object_store import ObjectStore

INBOX, ANSWERS, STATUS = "ledger/inbox", "ledger/answers/", "ledger/status"


@dataclass(frozen=True)
class Request:
    """What the host is asked to do."""

    id: str
    verb: str
    arguments: Mapping[str, Any]
    number: int
    """Fencing number of the asker's lease; 0 where it has none, so that only what changes nothing is carried out."""


class Requests:
    """The requests of one stack."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def ask(self, verb: str, arguments: Mapping[str, Any], number: int = 0) -> Request:
        """Put a request into the inbox.

        Args:
            number: Fencing number of the lease which the asker holds. What is there without an answer is then of a
                holder that is dead, and gives way.

        Raises:
            Conflict: another request waits for its answer.
        """
        found, waiting = self._objects.read(INBOX), self.inbox()
        if waiting is not None and not number:
            raise Conflict(f"the host is asked to {waiting.verb} at this moment", "wait for it")
        request = Request(uuid.uuid4().hex, verb, arguments, number)
        self._objects.write(INBOX, _text(asdict(request)), if_generation=found.generation if found else 0)
        for left in self._objects.listing(ANSWERS):  # of requests which nobody can find any more
            self._objects.remove(left)
        return request

    def inbox(self) -> Request | None:
        """The request that waits for its answer; None where none does."""
        found = self._objects.read(INBOX)
        with contextlib.suppress(ValueError, TypeError):
            request = Request(**json.loads(found.content)) if found else None
            return request if request and self._objects.read(ANSWERS + request.id) is None else None
        return None  # a damaged one is nobody's

    def answer(self, request: Request, outcome: Mapping[str, Any] | SelfhostError) -> None:
        """Say what came of a request, or why nothing did; the first answer counts."""
        told = {"error": errors.as_data(outcome)} if isinstance(outcome, SelfhostError) else {"answer": outcome}
        with contextlib.suppress(Conflict):
            self._objects.write(ANSWERS + request.id, _text(told), if_generation=0)

    def answer_to(self, request: Request) -> Mapping[str, Any] | None:
        """The answer to a request; None where there is none yet.

        Raises:
            SelfhostError: what kept the host from it, of the kind it was there.
        """
        found = self._objects.read(ANSWERS + request.id)
        if found is None:
            return None
        told = json.loads(found.content)
        if "error" in told:
            raise errors.from_data(told["error"])
        return dict(told["answer"])

    def write_status(self, status: HostStatus) -> None:
        """Report what the host agent has reported on the host. Only the host does."""
        found = self._objects.read(STATUS)
        self._objects.write(STATUS, to_json(status).encode(), if_generation=found.generation if found else 0)

    def status(self) -> HostStatus | None:
        """What the host last reported; None where it did not, or where that is damaged."""
        found = self._objects.read(STATUS)
        with contextlib.suppress(InvalidSpec, UnicodeDecodeError):
            return from_json(HostStatus, found.content.decode()) if found else None
        return None


def _text(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, default=str).encode()
