"""Port: where a stack's secrets lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from blocks.errors import Blocked
from blocks.resource import Attributes, Change, Port, Resource


class SecretStore(Port, ABC):
    """Named secrets of one stack, each in numbered versions. Values never leave by logs or errors.

    Which version counts is said by what is wanted of the stack, never by the store.
    """

    is_outside = False
    """Whether they lie outside the stack's host, and are made before it."""

    @abstractmethod
    def ensure(self, name: str, make: Callable[[], str]) -> int:
        """Store `make()` as the first version unless there is one; the published version. Idempotent, safe to race."""

    @abstractmethod
    def versions(self, name: str) -> tuple[int, ...]:
        """Numbers of the versions that can be read, the oldest first; empty where there is no such secret."""

    @abstractmethod
    def read(self, name: str, version: int) -> str:
        """The value of one version.

        Raises:
            Blocked: there is no such version.
        """

    @abstractmethod
    def add_version(self, name: str, value: str) -> int:
        """Store a further version, and return its number, which is higher than all that are there. Not idempotent."""

    @abstractmethod
    def published(self, name: str) -> int | None:
        """The version which a person who looks for the secret by its name finds; None where that is none of them."""

    def found(self, name: str) -> str | None:
        """The value which a person finds by the secret's name; None where there is none."""
        version = self.published(name)
        return None if version is None else self.read(name, version)

    @abstractmethod
    def publish(self, name: str, version: int) -> None:
        """Have a person find this version by the secret's name; idempotent.

        Raises:
            Blocked: there is no such version.
        """

    @abstractmethod
    def location(self, name: str) -> str:
        """Where a person finds the secret, in words; whether it is there does not matter."""

    @abstractmethod
    def destroy_version(self, name: str, version: int) -> None:
        """Remove one version, whose number is not used again while a higher one is there; nothing happens where it is
        gone."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove all versions; nothing happens when there are none."""


class SecretResource(Resource):
    """A secret that is generated once; the version that is wanted is the one a person finds.

    Args:
        version: The one that is wanted.
    """

    def __init__(
        self, store: SecretStore, secret: str, version: int, make: Callable[[], str], needs: tuple[str, ...]
    ) -> None:
        self.name = f"secret {secret}"
        self.needs = needs
        self._store, self._secret, self._version, self._make = store, secret, version, make

    def find(self) -> Attributes | None:
        if not self._store.versions(self._secret):
            return None
        return {"version": self._store.published(self._secret)}

    def want(self) -> Attributes:
        return {"version": self._version}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if self._version not in self._store.versions(self._secret):
            self._store.ensure(self._secret, self._make)
        if self._version not in self._store.versions(self._secret):
            raise Blocked(
                f"version {self._version} of the secret {self._secret} is not there",
                "put your copy of it back; bootstrap then goes on with it",
            )
        self._store.publish(self._secret, self._version)

    def delete(self) -> None:
        self._store.remove(self._secret)
