"""A restore's folder on its host: the files it works with, and its record, written before it swaps databases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from blocks.agent.files import write_atomically
from blocks.errors import Blocked

FILE = "restore.json"


@dataclass(frozen=True)
class Record:
    """A restore that is about to swap, or has: by it the same command finishes one that was interrupted. Times are UTC
    in ISO 8601, durations seconds.

    Attributes:
        safety: Id of the backup of the replaced database; empty where none was wanted.
        label: End of the name under which the replaced database is kept.
        stopped: When the old server had ended: a later run is one of the restored stack.
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


@dataclass(frozen=True)
class RestoreFolder:
    """The folder of a restore; it goes once the restored stack is verified."""

    path: Path

    def work(self) -> Path:
        """Where its files lie; made if missing, closed to others."""
        made = self.path / "work"
        made.mkdir(mode=0o700, parents=True, exist_ok=True)
        return made

    def note(self, record: Record) -> None:
        """Keep the record; whole or not at all."""
        write_atomically(self.path / FILE, json.dumps(asdict(record), indent=1).encode(), 0o600)

    def has_record(self) -> bool:
        """Whether a restore may have swapped the databases, and has not come to its end."""
        return (self.path / FILE).exists()

    def forget(self) -> None:
        """Remove the record; idempotent."""
        (self.path / FILE).unlink(missing_ok=True)

    def record(self) -> Record | None:
        """The record of the restore that was interrupted here; None where none was.

        Raises:
            Blocked: it is damaged.
        """
        path = self.path / FILE
        try:
            return Record(**json.loads(path.read_text("utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise Blocked(f"{path} is damaged: {error}", "remove it, and run the same command again") from error
