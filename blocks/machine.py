"""Port: the machine a stack's services run on, as it is seen from anywhere."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from blocks.agent.spec import HostStatus
from blocks.host.host import Host
from blocks.resource import Port

FOLLOW_EVERY = 1.0
"""Seconds between two looks at a log that is followed."""
FOLLOWED_LINES = 1000
"""Lines that a log may get between two looks without one being missed."""


class Machine(Port, ABC):
    """One machine, converged by the host agent on it. Its resource for that agent is called `host agent`."""

    @abstractmethod
    def host(self) -> Host:
        """The same machine as code that runs on it sees it."""

    @abstractmethod
    def users(self) -> Mapping[str, str]:
        """System users of the services that have one of their own, by service: `server` (in either slot), `nginx`,
        `worker-NAME`. Empty where all run as one."""

    @abstractmethod
    def run(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the host carry out a verb of `blocks.host.verbs` and wait for its answer. Both ways plain data travels.

        Raises:
            SelfhostError: what the verb raised on the host, of the same kind and with the same hint.
            NotReady: the machine is not made yet, or its host did not answer in time; it may still carry it out.
        """

    @abstractmethod
    def observe(self) -> HostStatus | None:
        """What the host agent last reported; None before the first report. Does not wait."""

    def log(self, service: str, lines: int) -> list[str]:
        """The last lines of the log of a service, a job (`job-NAME`) or the agent (`agent`).

        Raises:
            WrongCall: there is no such log; the hint names those there are.
        """
        return list(self.run("log", {"service": service, "lines": lines})["lines"])

    def follow(self, service: str, lines: int, every: float = FOLLOW_EVERY) -> Iterator[str]:
        """The last lines of a log, then what is written from now on, for ever.

        Args:
            every: Seconds between two looks.

        Raises:
            WrongCall: as `log`.
        """
        seen = self.log(service, FOLLOWED_LINES)
        yield from seen[-lines:] if lines else []
        while True:
            time.sleep(every)
            now = self.log(service, FOLLOWED_LINES)
            yield from further(seen, now)
            seen = now

    @abstractmethod
    def start(self) -> None:
        """Start the machine, its agent and with it all services, as after a reboot; idempotent."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all services in order, then the agent; idempotent."""


def further(seen: list[str], now: list[str]) -> list[str]:
    """Lines at the end of a log that were not there at the last look, when `seen` were the last ones. Pure."""
    for before in (seen, seen[:-1]):  # the last line may have been half written
        for old in range(min(len(before), len(now)), 0, -1):
            if now[:old] == before[len(before) - old :]:
                return now[old:]
    return now
