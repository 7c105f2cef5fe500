"""Whether tests have passed for what is there, of those which nothing but a change of certain files can fail.

`uv run python -m tests.digests MARK` ends with status 1 where the tests of a mark have to run again; `uv run pytest -m
MARK` writes their digest once all of them have passed.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = ("google", "grpc", "proto")
"""Beginnings of the names of Google's clients, and of what they are built on."""


@dataclass(frozen=True)
class Subject:
    """What the tests of a mark depend on beside the pins of Google's clients."""

    file: str
    """Where the digest is kept."""
    folders: tuple[str, ...]
    gcloud: bool = False
    """Whether another gcloud may fail them."""

    def digest(self, root: Path = ROOT) -> str:
        """sha256 over all of it."""
        pins = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["constraint-dependencies"]
        parts = [each.encode() for each in pins if each.startswith(CLIENTS)]
        parts += [gcloud_version()] if self.gcloud else []
        for path in sorted(path for folder in self.folders for path in (root / folder).rglob("*.py")):
            parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
        whole = hashlib.sha256()
        for part in parts:
            whole.update(len(part).to_bytes(8, "big") + part)
        return whole.hexdigest()

    def has_passed(self, root: Path = ROOT) -> bool:
        """Whether the tests passed for what is there now."""
        path = root / self.file
        return path.is_file() and path.read_text("utf-8").strip() == self.digest(root)

    def keep(self, root: Path = ROOT) -> None:
        """Note that they have passed for what is there now."""
        (root / self.file).write_text(self.digest(root) + "\n", "utf-8")


SUBJECTS = {
    "emulator": Subject("tests/emulator/digest", ("tests/emulator", "tests/unit/emulator")),
    "gcloud": Subject("tests/gcloud/digest", ("tests/emulator", "tests/gcloud"), gcloud=True),
}
"""By mark."""


def gcloud_version() -> bytes:
    """As the file beside its programs says it, empty where there is no gcloud: to ask it takes a second."""
    program = shutil.which("gcloud")
    version = Path(program).resolve().parents[1] / "VERSION" if program else None
    return version.read_bytes() if version and version.is_file() else b""


if __name__ == "__main__":
    sys.exit(not SUBJECTS[sys.argv[1]].has_passed())
