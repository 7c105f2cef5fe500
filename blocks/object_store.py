"""Port: bytes by key, for release artifacts and backups."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from blocks.resource import Resource


class ObjectStore(ABC):
    """Objects of one stack. Keys are relative paths with `/`, such as `sha256/<digits>`."""

    @abstractmethod
    def resources(self) -> list[Resource]:
        """What must exist for the store to work."""

    @abstractmethod
    def address(self) -> str:
        """Where it lies, as a person would look for it, such as a folder's absolute path."""

    @abstractmethod
    def put(self, key: str, source: Path) -> None:
        """Store a file's bytes; whole or not at all. Replaces what is there."""

    @abstractmethod
    def get(self, key: str, target: Path) -> None:
        """Write an object's bytes to a file; whole or not at all.

        Raises:
            Blocked: there is no such object.
        """

    @abstractmethod
    def listing(self, prefix: str = "") -> list[str]:
        """Keys that start with `prefix`, sorted."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object; nothing happens when it is absent."""
