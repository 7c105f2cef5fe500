"""Secrets as files, readable by their owner alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.host import secret_files
from blocks.secret_store import SecretStore


@dataclass(frozen=True)
class LocalSecretStore(SecretStore):
    """One 0600 file a version, in a 0700 folder, and one with the published version under the secret's name."""

    folder: Path
    """Folder of the secrets on the stack's machine."""

    def ensure(self, name: str, make: Callable[[], str]) -> int:
        return secret_files.ensure(self.folder, name, make)

    def versions(self, name: str) -> tuple[int, ...]:
        return secret_files.versions(self.folder, name)

    def read(self, name: str, version: int) -> str:
        return secret_files.read(self.folder, name, version)

    def add_version(self, name: str, value: str) -> int:
        return secret_files.add_version(self.folder, name, value)

    def published(self, name: str) -> int | None:
        return secret_files.published(self.folder, name)

    def found(self, name: str) -> str | None:
        """Also of a folder from before there were versions."""
        return secret_files.read(self.folder, name) if (self.folder / name).exists() else None

    def publish(self, name: str, version: int) -> None:
        secret_files.publish(self.folder, name, version)

    def location(self, name: str) -> str:
        return str(self.folder / name)

    def destroy_version(self, name: str, version: int) -> None:
        secret_files.destroy_version(self.folder, name, version)

    def remove(self, name: str) -> None:
        secret_files.remove(self.folder, name)
