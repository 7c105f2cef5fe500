"""What a restore notes before it swaps databases: by it the same command finishes an interrupted restore."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from blocks.agent.files import write_atomically
from blocks.errors import Blocked
from blocks.host.home import Home

FILE = "restore.json"


@dataclass(frozen=True)
class Record:
    """A restore that is about to swap, or has. Times are UTC in ISO 8601, durations seconds.

    Attributes:
        safety: Id of the backup of what is replaced; empty where none was wanted.
        label: End of the name under which the replaced database is kept.
        stopped: When the server no longer wrote: what is later was made by the restored stack.
        seconds: Step → how long it took.
        finishing: When only workers and checks were left, before the first of them; empty until then.
    """

    backup: str
    made: str
    rows: int
    safety: str
    label: str
    stopped: str
    seconds: dict[str, float]
    finishing: str = ""


def write(home: Home, record: Record) -> None:
    """Keep it; whole or not at all."""
    write_atomically(home.restoring / FILE, json.dumps(asdict(record), indent=1).encode(), 0o600)


def exists(home: Home) -> bool:
    """Whether a restore may have swapped the databases, and has not come to its end."""
    return (home.restoring / FILE).exists()


def remove(home: Home) -> None:
    """Forget it; idempotent."""
    (home.restoring / FILE).unlink(missing_ok=True)


def find(home: Home) -> Record | None:
    """The record of the restore that was interrupted here; None where none was.

    Raises:
        Blocked: it is damaged.
    """
    path = home.restoring / FILE
    try:
        return Record(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise Blocked(f"{path} is damaged: {error}", "remove it, and run the same command again") from error
