"""The exclusive right to change a stack: an object of its ledger, which says who holds it, why and since when.

Its *fencing number* is the generation the object had when the lease was taken. Whoever writes for an older lease is
refused, so that a holder which slept through the loss of its lease does no harm when it wakes up.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.agent import processes
from blocks.agent.files import open_log
from blocks.errors import Blocked, Conflict, SelfhostError
from blocks.host import at_work
from blocks.host.at_work import described
from blocks.host.home import Home
from blocks.object_store import ObjectStore

KEY = "ledger/lease"
INHERITED = "SELFHOST_LEASE_NUMBER"
"""Fencing number of a lease that was taken before this process image replaced the launcher's."""
TIME_TO_LIVE = 60.0
"""Seconds for which the lease of a holder elsewhere may stay as it is before it is taken for dead. By the observer's
own monotonic clock: no clock of another machine is believed."""
RENEW_EVERY = TIME_TO_LIVE / 3
MOST_RENEWALS = 2 * 86_400 // int(RENEW_EVERY)
"""Two days, as long as a restore may take: then a holder that hangs is dead for those elsewhere."""
RETRY_EVERY = 0.05
LOOK_EVERY = 1.0
"""Seconds between two looks at a lease of somebody here, or elsewhere."""
HINT = "wait for it, or end that process"

_held: dict[ObjectStore, Lease] = {}
"""Leases of this process."""


@dataclass(frozen=True)
class Found:
    """The lease object as it is: `claim` is empty where nobody holds it."""

    claim: Mapping[str, Any]
    generation: int = 0

    @property
    def number(self) -> int:
        """The fencing number. The claim says it itself from the first renewal on."""
        return int(self.claim.get("number", self.generation))

    @property
    def is_here(self) -> bool:
        """Whether the holder is a process of this machine, which we would see: same boot, same process numbers."""
        own = processes.boot_id(), _numbers()
        return all(own) and own == (self.claim.get("boot_id"), self.claim.get("process_numbers"))

    @property
    def is_dead(self) -> bool:
        """Whether it is known to be dead, at once. Of one elsewhere only time can tell."""
        return self.is_here and not processes.is_alive(processes.from_data(dict(self.claim)))


class Lease:
    """A held lease; release it, or let the process end."""

    def __init__(self, leases: Leases, number: int, descriptor: int | None, handed: Mapping[str, Any]) -> None:
        self.number = number
        """The fencing number."""
        self.descriptor = descriptor
        """Of the home's lock; None where the holder has no home. What inherits it is at work for this lease, too."""
        self._leases, self._handed = leases, handed
        self._ended = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="renewal of the lease", daemon=True)
        self._renewal.start()
        atexit.register(self._end)

    def release(self) -> None:
        """Give the right back to the one that handed it to us, or to anybody; idempotent."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._renewal.join()
        atexit.unregister(self._end)
        self._leases.give_back(self.number, self._handed)
        if self.descriptor is not None:
            at_work.unlock(self.descriptor)

    def _end(self) -> None:
        """At the end of the process, which has told its own fault: a full disk keeps the lease's object as it is, and
        its holder is dead from now on."""
        with contextlib.suppress(SelfhostError, OSError):
            self.release()

    def over_exec(self) -> dict[str, str]:
        """Environment by which the program this process becomes takes the lease over."""
        kept = {} if self.descriptor is None else at_work.pass_on(self.descriptor)
        return kept | {INHERITED: str(self.number)}

    def _renew(self) -> None:
        """Let those elsewhere see that the holder lives. A store that does not answer is asked again."""
        for _ in range(MOST_RENEWALS):
            if self._ended.wait(RENEW_EVERY):
                return
            with contextlib.suppress(SelfhostError, OSError):
                self._leases.renew(self.number)


class Leases:
    """The lease of one ledger.

    Args:
        objects: The stack's object store.
        home: The stack's home, where the stack is changed on its own host: its lock is taken with the lease.
        monotonic: Seconds, as `time.monotonic`.
        sleep: As `time.sleep`.
    """

    def __init__(
        self,
        objects: ObjectStore,
        home: Home | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._objects, self._home = objects, home
        self._monotonic, self._sleep = monotonic, sleep

    def address(self) -> str:
        """Where it lies, in words."""
        return self._objects.address()

    def acquire(self, reason: str, patience: float = 0.0) -> Lease:
        """Take the lease, or the one this process inherited. A holder elsewhere is watched until it is known to live.

        Args:
            patience: Seconds to wait for another holder.

        Raises:
            Conflict: another holds it, and did for that time; the text says who, since when and why.
            Blocked: the home's lock is another user's, or a link.
        """
        claim = _claim(reason)
        descriptor = None if self._home is None else at_work.lock(self._home.lease, claim, patience)
        try:
            return self._noted(Lease(self, self._inherited() or self._take(claim, patience), descriptor, {}))
        except BaseException:
            _let_go(descriptor)
            raise

    @contextmanager
    def held(self, reason: str, patience: float = 0.0) -> Iterator[Lease]:
        """The lease as long as the context lasts.

        Raises:
            Conflict: see `acquire`.
        """
        lease = self.acquire(reason, patience)
        try:
            yield lease
        finally:
            lease.release()

    @contextmanager
    def carried(self, number: int, reason: str) -> Iterator[Lease]:
        """Another's lease, for the time in which this process carries out that one's request; then it is handed back.

        Raises:
            Conflict: the lease of that number is not held any more, or something else is at work here.
        """
        claim = _claim(reason)
        descriptor = None if self._home is None else at_work.lock(self._home.lease, claim)
        try:
            handed = self._require(number).claim
            self._change(number, {**claim, "number": number})
        except BaseException:
            _let_go(descriptor)
            raise
        lease = self._noted(Lease(self, number, descriptor, {**handed, "number": number}))
        try:
            yield lease
        finally:
            lease.release()

    def require_lease(self) -> int:
        """See that this process may change the stack now: before every write of what is wanted, of a HostSpec, and
        before a promotion.

        Returns:
            The fencing number of its lease; where it holds none, of the last one, which nobody holds.

        Raises:
            Conflict: another holds the lease, or has taken over the one which this process had.
        """
        own = _held.get(self._objects)
        if own is not None:
            return self._require(own.number).number
        found = self.find()
        if found.claim and not found.is_dead:
            raise Conflict(f"the lease is held by {described(found.claim)}", HINT)
        return found.number

    def find(self) -> Found:
        """The lease object as it is; a damaged one is nobody's."""
        found = self._objects.read(KEY)
        if found is None:
            return Found({})
        try:
            claim = json.loads(found.content)
        except ValueError:
            claim = {}
        return Found(claim if isinstance(claim, dict) else {}, found.generation)

    def holder(self) -> Mapping[str, Any]:
        """Who holds it, or did when it died: owner, pid, reason, since; empty where nobody does, or does not say so."""
        return self.find().claim or (
            {} if self._home is None or self._is_idle() else at_work.claim_in(self._home.lease)
        )

    def described(self) -> str:
        """Who holds it, in words."""
        return described(self.holder())

    def is_free(self) -> bool:
        """Whether it could be had now. One of a holder elsewhere counts as held: only time tells whether that lives."""
        found = self.find()
        return (not found.claim or found.is_dead) and self._is_idle()

    def break_it(self, reason: str, log: Path) -> list[int]:
        """End the processes which a dead holder had started, and free the lease; a line in a log says when, who did so
        and why, who had held it, and which processes were ended. A holder elsewhere is watched for its time to live.

        Returns:
            Pids of the ended processes.

        Raises:
            Blocked: the holder lives.
        """
        was, found = self.described(), self.find()
        if found.claim and not (found.is_dead or self._dies(found)):
            raise Blocked(f"its holder lives: {was}", HINT)
        ended = [] if self._home is None else at_work.end_orphans(self._home.lease)
        if found.claim:
            self._objects.write(KEY, b"{}", if_generation=found.generation)
        claim = _claim(" ".join(reason.split()))
        line = f"{claim['since']} {claim['owner']} broke the lease for: {claim['reason']}; it was held by {was}; "
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open_log(log) as file:
            file.write(f"{line}ended processes: {', '.join(map(str, ended)) or 'none'}\n".encode())
        return ended

    def renew(self, number: int) -> None:
        """Write the lease object anew, if it is still the lease of that number.

        Raises:
            Conflict: it is another one.
        """
        self._change(number)

    def give_back(self, number: int, handed: Mapping[str, Any]) -> None:
        """Leave the lease to whoever handed it over, or free; nothing happens where it is another's by now."""
        _held.pop(self._objects, None)
        with contextlib.suppress(Conflict):  # it was taken over, or removed with the whole stack
            self._change(number, handed)

    def _is_idle(self) -> bool:
        """Whether nobody is at work in the home."""
        return self._home is None or at_work.is_free(self._home.lease)

    def _noted(self, lease: Lease) -> Lease:
        _held[self._objects] = lease
        return lease

    def _inherited(self) -> int:
        """Number of the lease which this very process took before it became another program; 0 where it did not."""
        number, found = int(os.environ.pop(INHERITED, 0)), self.find()
        is_own = processes.from_data(dict(found.claim)) == processes.current()
        return number if number and is_own and found.number == number else 0

    def _take(self, claim: Mapping[str, Any], patience: float) -> int:
        began = since = self._monotonic()
        seen, lives = self.find(), False
        while True:
            found, now = self.find(), self._monotonic()
            if found.generation != seen.generation:
                seen, since, lives = found, now, True
            is_silent = not found.is_here and now - since >= TIME_TO_LIVE
            if not found.claim or found.is_dead or is_silent:
                with contextlib.suppress(Conflict):  # another was quicker
                    return self._objects.write(KEY, _text(claim), if_generation=found.generation)
            elif now - began >= patience and (lives or found.is_here):
                raise Conflict(f"the lease is held by {described(found.claim)}", HINT)
            self._sleep(RETRY_EVERY if found.is_here else LOOK_EVERY)

    def _dies(self, found: Found) -> bool:
        """Whether a lease stays as it is for its time to live."""
        began = self._monotonic()
        while not found.is_here and self.find().generation == found.generation:
            if self._monotonic() - began >= TIME_TO_LIVE:
                return True
            self._sleep(LOOK_EVERY)
        return False

    def _require(self, number: int) -> Found:
        found = self.find()
        if not found.claim or found.number != number:
            whose = f"it is held by {described(found.claim)}" if found.claim else "nobody holds it"
            raise Conflict(f"the lease {number} was lost: {whose}", "nothing was changed; run the same command again")
        return found

    def _change(self, number: int, claim: Mapping[str, Any] | None = None) -> None:
        """Write the lease object while it is of that number, with this claim or the one that it has at that moment;
        its other writers, such as renewals, are no obstacle."""
        while True:
            found = self._require(number)
            kept = {**found.claim, "number": number} if claim is None else claim
            with contextlib.suppress(Conflict):
                self._objects.write(KEY, _text(kept), if_generation=found.generation)
                return


def _let_go(descriptor: int | None) -> None:
    if descriptor is not None:
        at_work.unlock(descriptor)


def _text(claim: Mapping[str, Any]) -> bytes:
    """The lease object's content. When it ends, by this machine's clock, is for people alone."""
    if not claim:
        return b"{}"
    ends = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time.time() + TIME_TO_LIVE))
    return json.dumps({**claim, "expires": ends}, indent=1).encode()


def _claim(reason: str) -> dict[str, Any]:
    return {
        "owner": f"{getpass.getuser()}@{socket.gethostname()}",
        "reason": reason,
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        "process_numbers": _numbers(),
        **processes.current()._asdict(),
    }


def _numbers() -> str:
    """Which processes this one sees by their numbers: containers of one machine have numbers of their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""
