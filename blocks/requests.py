"""Requests to a stack's host, its answers, and what it reports: objects of the stack's ledger.

Whoever is outside writes one request at a time; one process of the host takes it, carries it out and answers. A request
that was taken, or has an answer, is never carried out again, so that a host which was made anew replays nothing; nor is
one whose time to be taken is over, such as one that lay there while the host was away. Its age is by the store's clock.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from blocks import errors
from blocks.agent import inbox, processes
from blocks.agent.inbox import ANSWERS, INBOX, LOGS, STATUS, TAKE_SECONDS, WAITS
from blocks.agent.spec import HostStatus, InvalidSpec, from_json, to_json
from blocks.errors import Blocked, Conflict, NotReady, SelfhostError
from blocks.object_store import ObjectStore, Versioned

ANSWER_SECONDS = 3600.0
"""Time a host gets to answer one it has taken, where its asker says no other: it may install by a slow line."""


@dataclass(frozen=True)
class Request:
    """What the host is asked to do."""

    id: str
    verb: str
    arguments: Mapping[str, Any]
    number: int
    """Fencing number of the asker's lease; 0 where it has none, so that only what changes nothing is carried out."""
    stack: str = ""
    """Identity of the stack it is for; empty where that had none yet."""
    seconds: float = ANSWER_SECONDS
    """Time the host gets to answer, once it has taken it."""
    taken: Mapping[str, Any] = field(default_factory=dict)
    """The host's process that carries it out; empty until one does. With `waits` it is the host agent's, which is still
    installing what does."""

    @property
    def is_begun(self) -> bool:
        """Whether a process has begun to carry it out."""
        return bool(self.taken) and not self.taken.get(WAITS)


class Requests:
    """The requests of one stack."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def ask(
        self,
        verb: str,
        arguments: Mapping[str, Any],
        number: int = 0,
        stack: str = "",
        seconds: float = ANSWER_SECONDS,
    ) -> Request:
        """Put a request into the inbox.

        Args:
            number: Fencing number of the lease which the asker holds. What is there without an answer is then of a
                holder that is dead, and gives way.
            stack: Identity of the stack it is for.
            seconds: Time the host gets to answer, once it has taken it.

        Returns:
            The request; without a lease also one that waits and asks for the very same, as its asker may be dead.

        Raises:
            Conflict: another request waits for its answer.
        """
        found, waiting = self._objects.read(INBOX), self.inbox()
        if waiting is not None and not number:
            if (waiting.verb, waiting.stack, _text(waiting.arguments)) == (verb, stack, _text(arguments)):
                return waiting
            raise Conflict(f"the host is asked to {waiting.verb} at this moment", "wait for it")
        request = Request(uuid.uuid4().hex, verb, arguments, number, stack, seconds)
        self._objects.write(INBOX, _text(asdict(request)), if_generation=found.generation if found else 0)
        for left in self._objects.listing(ANSWERS):  # of requests which nobody can find any more
            self._objects.remove(left)
        return request

    def inbox(self) -> Request | None:
        """The request that waits for its answer; None where none does, or its time is over."""
        found = self._objects.read(INBOX)
        request = self._unanswered(found)
        return request if request and found and found.age <= _seconds(request) else None

    def take(self, stack: str) -> Request | None:
        """Take the request that waits, for this process alone to carry it out; None where there is none. The host does.

        What is not to be carried out any more is answered with the reason: its time is over, it is another stack's, or
        the process that had taken it has died.

        Args:
            stack: Identity of the host's stack.
        """
        found = self._objects.read(INBOX)
        request = self._unanswered(found)
        if request is None or found is None:
            return None
        refusal = _refusal(request, found.age, stack)
        if refusal is not None:
            self.answer(request, refusal)
            return None
        if request.is_begun:
            return None  # another process is at it
        taken = replace(request, taken=processes.current()._asdict())
        with contextlib.suppress(Conflict):  # another was quicker, or its asker has put a newer one there
            self._objects.write(INBOX, _text(asdict(taken)), if_generation=found.generation)
            return taken
        return None

    def _unanswered(self, found: Versioned | None) -> Request | None:
        """A request which has no answer; a damaged one is nobody's."""
        with contextlib.suppress(ValueError, TypeError):
            request = Request(**json.loads(found.content)) if found else None
            return request if request and self._objects.read(ANSWERS + request.id) is None else None
        return None

    def answer(self, request: Request, outcome: Mapping[str, Any] | SelfhostError) -> bool:
        """Say what came of a request, or why nothing did; the first answer counts. False where this is not the first,
        as the asker has given up."""
        text = {"error": errors.as_data(outcome)} if isinstance(outcome, SelfhostError) else {"answer": outcome}
        try:
            self._objects.write(ANSWERS + request.id, _text(text), if_generation=0)
        except Conflict:
            return False
        return True

    def give_up(self, request: Request) -> Mapping[str, Any]:
        """The asker waits no longer: what was not taken is never carried out, and what comes of the rest is not read.

        Returns:
            The answer, where it came at that very moment.

        Raises:
            NotReady: there is none; the text says whether the host is still at it.
            SelfhostError: what kept the host from it, as `answer_to`.
        """
        found = self._objects.read(INBOX)
        there = self._unanswered(found)
        is_taken = there is not None and there.id == request.id and bool(there.taken)
        what = f"the host has not {'answered' if is_taken else 'taken up'} {request.verb} in time"
        hint = "it may still carry it out: run the same command again" if is_taken else "see whether the machine runs"
        given_up = NotReady(what, hint)
        self.answer(request, given_up)
        answer = self.answer_to(request)
        if answer is None:
            raise given_up
        return answer

    def answer_to(self, request: Request) -> Mapping[str, Any] | None:
        """The answer to a request; None where there is none yet.

        Raises:
            SelfhostError: what kept the host from it, of the kind it was there.
        """
        found = self._objects.read(ANSWERS + request.id)
        if found is None:
            return None
        answer = json.loads(found.content)
        if "error" in answer:
            raise errors.from_data(answer["error"])
        return dict(answer["answer"])

    def log(self, request: Request) -> str:
        """What a host elsewhere has logged so far while it carries a request out; it sends the log in pieces."""
        found = (self._objects.read(each) for each in self._objects.listing(f"{LOGS}{request.id}/"))
        return b"".join(each.content for each in found if each).decode(errors="replace")

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


def _seconds(request: Request) -> float:
    """How old a request may become as it is: from its asking to its taking, or from there to its answer."""
    return request.seconds if request.taken else TAKE_SECONDS


def _refusal(request: Request, age: float, stack: str) -> SelfhostError | None:
    """Why a request is not carried out, or not any more. Pure but for a look at the process that had taken it."""
    if request.stack and request.stack != stack:
        what = f"{request.verb} was asked of the stack {request.stack}, and this host is of {stack or 'none'}"
        return Blocked(what, "nothing was changed; the store may have been another stack's")
    if request.is_begun and not processes.is_alive(processes.from_data(dict(request.taken))):
        return NotReady(*inbox.interrupted(request.verb))
    if not request.taken and age > TAKE_SECONDS:
        return NotReady(*inbox.too_late(request.verb, age))
    return None


def _text(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, default=str).encode()
