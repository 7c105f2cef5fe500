"""Small JSON files by which agent, exec wrapper and job runners tell each other what runs.

Imports little: the exec wrapper of every service loads it.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any


def read_data(path: str) -> dict[str, Any]:
    """A JSON object from a file; empty where it is missing or damaged, which means: wait."""
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            data = json.load(file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_data(path: str, data: dict[str, Any]) -> None:
    """Beside and renamed, but not synced: after a crash of the machine no pid is worth anything."""
    beside = f"{path}.{os.getpid()}.new"
    try:
        with open(beside, "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(data, file)
        os.replace(beside, path)  # noqa: PTH105
    except OSError:  # a full disk: the supervisor tries again, each time under another number
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside)  # noqa: PTH108
        raise
