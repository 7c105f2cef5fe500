"""Port: the machine a stack's services run on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from blocks.host.host import Host
from blocks.resource import Port


class Machine(Port, ABC):
    """One machine, converged by the host agent on it."""

    @abstractmethod
    def host(self) -> Host:
        """The same machine as code that runs on it sees it."""

    @abstractmethod
    def users(self) -> Mapping[str, str]:
        """System users of the services that have one of their own, by service: `server` (in either slot), `nginx`,
        `worker-NAME`. Empty where all run as one."""

    @abstractmethod
    def start(self) -> None:
        """Start the agent and with it all services, as after a reboot; idempotent."""

    @abstractmethod
    def stop(self) -> None:
        """Stop all services in order, then the agent; idempotent."""
