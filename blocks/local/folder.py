"""A folder of a stack's home, as a resource."""

from __future__ import annotations

import shutil
from pathlib import Path

from blocks.resource import Attributes, Change, Resource


class Folder(Resource):
    """A folder of the stack's home, with its mode."""

    needs = ("home",)

    def __init__(self, name: str, path: Path, mode: int) -> None:
        self.name = name
        self._path, self._mode = path, mode

    def find(self) -> Attributes | None:
        return {"mode": oct(self._path.stat().st_mode & 0o777)} if self._path.is_dir() else None

    def want(self) -> Attributes:
        return {"mode": oct(self._mode)}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        self._path.chmod(self._mode)

    def delete(self) -> None:
        shutil.rmtree(self._path)
