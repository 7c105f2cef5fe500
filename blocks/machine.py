"""Port: the machine a stack's services run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from blocks.agent.spec import HostSpec, HostStatus
from blocks.host.home import Home
from blocks.resource import Resource


class Machine(ABC):
    """One machine, converged by the host agent on it."""

    @abstractmethod
    def home(self) -> Home:
        """Where the stack lies on that machine."""

    @abstractmethod
    def resources(self) -> list[Resource]:
        """The machine and the host agent on it; the agent's is called `host agent`."""

    @abstractmethod
    def users(self) -> Mapping[str, str]:
        """System users of the services that have one of their own, by service: `server` (in either slot), `nginx`,
        `worker-NAME`. Empty where all run as one."""

    @abstractmethod
    def applied(self) -> HostSpec | None:
        """The spec the machine was last given; None before the first."""

    @abstractmethod
    def apply(self, spec: HostSpec) -> None:
        """Hand a spec over; returns once its releases are installed. Services may still be starting.

        Raises:
            NotReady: the agent did not take it up in time.
            Blocked: a release cannot be installed.
            Conflict: its generation is not above that of the applied one.
        """

    @abstractmethod
    def has_taken_up(self, generation: int) -> bool:
        """Whether that generation is the last observed one and its releases are installed. Does not wait."""

    @abstractmethod
    def observe(self) -> HostStatus | None:
        """What the agent last reported; None before the first report. Does not wait."""

    @abstractmethod
    def free_bytes(self) -> int:
        """Free disk where the stack lies."""

    @abstractmethod
    def start(self) -> None:
        """Start the agent and with it all services, as after a reboot; idempotent."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all services in order, then the agent; idempotent."""
