"""Port: bytes by key, for release artifacts, backups and the ledger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from blocks.resource import Port


@dataclass(frozen=True)
class Versioned:
    """An object's bytes, and the generation they are of."""

    content: bytes
    generation: int
    age: float = 0.0
    """Seconds since it was written, by the store's own clock: those of whoever wrote and reads it may be wrong."""


class ObjectStore(Port, ABC):
    """Objects of one stack. Keys are relative paths with `/`, such as `sha256/<digits>`.

    Every object has a generation: a number above 0 which grows whenever it is written, in one way or the other, and
    also over its removal. (Google Cloud Storage: `generation`, and `ifGenerationMatch` as the precondition.)
    """

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
    def read(self, key: str) -> Versioned | None:
        """A small object, whole, with its generation; None where there is none."""

    @abstractmethod
    def write(self, key: str, content: bytes, *, if_generation: int) -> int:
        """Store a small object, whole or not at all, where it still has that generation; 0: where there is none.

        Of all who write with the same precondition, in whatever process, one succeeds.

        Returns:
            Its new generation.

        Raises:
            Conflict: it has another generation by now; nothing was written.
        """

    @abstractmethod
    def listing(self, prefix: str = "") -> list[str]:
        """Keys that start with `prefix`, sorted."""

    @abstractmethod
    def remove(self, key: str) -> None:
        """Remove an object; nothing happens when it is absent."""
