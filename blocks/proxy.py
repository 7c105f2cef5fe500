"""Port: the front door."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from blocks.agent.spec import File, Service
from blocks.resource import Port

LOOPBACK = "127.0.0.1"


class Proxy(Port, ABC):
    """nginx in front of the server, from one template for all targets."""

    @abstractmethod
    def files(self) -> list[File]:
        """Its configuration on the stack's host; none where the cloud runs it."""

    @abstractmethod
    def services(self, release: Path) -> list[Service]:
        """What runs on the stack's host for it, from the release's folder; none where the cloud runs it."""

    @abstractmethod
    def url(self) -> str:
        """How a browser reaches the stack, without a slash at the end."""

    @abstractmethod
    def upstream(self) -> tuple[str, int]:
        """Address and TCP port on the stack's host at which it expects the server."""

    def trusted(self) -> str:
        """From where the server believes who called and how, as ranges with commas between them: whence nginx comes."""
        return LOOPBACK

    def door_url(self) -> str:
        """Where the stack's own checks come in: the front door itself, in front of which others may stand."""
        return self.url()
