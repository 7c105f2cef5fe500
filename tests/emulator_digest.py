"""Whether the emulator's own tests have passed for the emulator that is there: `tests/emulator/digest` says for which.

`uv run python -m tests.emulator_digest` ends with status 1 where they have to run again; `uv run pytest -m emulator`
writes the file once all of them have passed.
"""

from __future__ import annotations

import hashlib
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = "tests/emulator/digest"
FOLDERS = ("tests/emulator", "tests/unit/emulator")
CLIENTS = ("google", "grpc", "proto")
"""Beginnings of the names of Google's clients, and of what they are built on."""


def digest(root: Path = ROOT) -> str:
    """sha256 over the emulator, its own tests, and the pins of Google's clients."""
    pins = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]["constraint-dependencies"]
    parts = [each.encode() for each in pins if each.startswith(CLIENTS)]
    for path in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.py")):
        parts += [path.relative_to(root).as_posix().encode(), path.read_bytes()]
    whole = hashlib.sha256()
    for part in parts:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def is_tested(root: Path = ROOT) -> bool:
    """Whether they passed for what is there now."""
    path = root / FILE
    return path.is_file() and path.read_text("utf-8").strip() == digest(root)


def keep(root: Path = ROOT) -> None:
    """Note that they have passed for what is there now."""
    (root / FILE).write_text(digest(root) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(not is_tested())
