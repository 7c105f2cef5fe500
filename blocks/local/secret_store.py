"""Secrets as files, readable by their owner alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.agent.files import write_atomically
from blocks.host import secret_files
from blocks.secret_store import SecretStore

PREVIOUS = ".previous"


@dataclass(frozen=True)
class LocalSecretStore(SecretStore):
    """One 0600 file a secret, in a 0700 folder."""

    folder: Path
    """Folder of the secrets on the stack's machine."""

    def ensure(self, name: str, make: Callable[[], str]) -> bool:
        return secret_files.ensure(self.folder, name, make)

    def read(self, name: str) -> str:
        return secret_files.read(self.folder, name)

    def add_version(self, name: str, value: str) -> None:
        write_atomically(self.folder / (name + PREVIOUS), self.read(name).encode(), 0o600)
        write_atomically(self.folder / name, value.encode(), 0o600)

    def names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        found = (each.name for each in self.folder.iterdir() if not each.name.startswith("."))
        return sorted(name for name in found if not name.endswith(PREVIOUS))

    def remove(self, name: str) -> None:
        for each in (name, name + PREVIOUS):
            (self.folder / each).unlink(missing_ok=True)
