"""Port: where a stack's secrets lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from blocks.resource import Attributes, Change, Port, Resource


class SecretStore(Port, ABC):
    """Named secrets of one stack, each with a current version. Values never leave by logs or errors."""

    @abstractmethod
    def ensure(self, name: str, make: Callable[[], str]) -> bool:
        """Store `make()` unless there is a current version; True if it was stored. Idempotent, safe to race."""

    @abstractmethod
    def read(self, name: str) -> str:
        """The current version.

        Raises:
            Blocked: there is none.
        """

    @abstractmethod
    def add_version(self, name: str, value: str) -> None:
        """Make `value` the current version; the one before is kept as the previous."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names that have a current version, sorted."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove all versions; nothing happens when there are none."""


class SecretResource(Resource):
    """A secret that is generated once and then left alone."""

    def __init__(self, store: SecretStore, secret: str, make: Callable[[], str], needs: tuple[str, ...]) -> None:
        self.name = f"secret {secret}"
        self.needs = needs
        self._store, self._secret, self._make = store, secret, make

    def find(self) -> Attributes | None:
        return {"present": True} if self._secret in self._store.names() else None

    def want(self) -> Attributes:
        return {"present": True}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._store.ensure(self._secret, self._make)

    def delete(self) -> None:
        self._store.remove(self._secret)
