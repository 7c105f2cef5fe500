"""The home folder of a stack on this machine: what lies where, and whose it is."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from blocks.agent.config import ARTIFACTS, UNQUOTABLE
from blocks.agent.files import make_folders, write_atomically
from blocks.agent.mark import MARK, Bucket, bucket_in, mark
from blocks.errors import Blocked

LONGEST = 70
"""Characters of a home's path: sockets lie below it, and a socket's path may have 107."""

HOME_VARIABLE = "SELFHOST_HOME"
"""Environment variable which names the home where the command line does not."""


@dataclass(frozen=True)
class Home:
    """Paths below one home folder. Nothing is touched by asking for a path."""

    root: Path

    @property
    def mark(self) -> Path:
        """The ownership mark: says which stack this folder belongs to."""
        return self.root / MARK

    @property
    def lease(self) -> Path:
        return self.root / "lease.json"

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def store(self) -> Path:
        """The stack's objects: in the home, or in the folder outside which the mark names. Where they lie in a
        `bucket`: what the host agent has fetched of it for an installation."""
        if self.bucket is not None:
            return self.root / ARTIFACTS
        try:
            return Path(json.loads(self.mark.read_text("utf-8"))["store"])
        except (OSError, ValueError, KeyError, TypeError):
            return self.root / "store"

    @property
    def bucket(self) -> Bucket | None:
        """The bucket which the stack's objects lie in; None where they lie in a folder."""
        try:
            return bucket_in(json.loads(self.mark.read_text("utf-8")))
        except (OSError, ValueError, AttributeError):
            return None

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def agent(self) -> Path:
        return self.root / "agent"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    @property
    def state(self) -> Path:
        """PREFECT_HOME of the server and of each worker, a folder each."""
        return self.root / "state"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def bootstrap(self) -> Path:
        """What the temporary server needs; gone once the stack is verified."""
        return self.root / "bootstrap"

    @property
    def restoring(self) -> Path:
        """What a restore needs, its own temporary server too; gone once the restored stack is verified."""
        return self.root / "restoring"

    def is_begun(self) -> bool:
        """Whether a bootstrap has come so far as to say what is wanted, here or (a release before) in the home; False
        also below a folder that is closed to us."""
        return any(os.path.exists(each) for each in (self.store / "ledger/wanted", self.root / "wanted.json"))  # noqa: PTH110

    def is_hosts(self) -> bool:
        """Whether it is the one on the stack's host: where that is a machine elsewhere, whoever changes the stack from
        here has a folder with a mark, too, and no host agent in it."""
        return self.bucket is None or (self.agent / "config.json").exists()

    def identity(self) -> str | None:
        """The `id` in the mark: another home has another one. None where there is no mark."""
        try:
            return str(json.loads(self.mark.read_text("utf-8"))["id"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def created(self) -> datetime | None:
        """When the mark was put there, UTC; None where there is none that says so."""
        try:
            return datetime.fromisoformat(json.loads(self.mark.read_text("utf-8"))["created"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def owner(self) -> str | None:
        """Name of the stack this folder belongs to; None where there is no mark.

        Raises:
            Blocked: the mark is damaged.
        """
        try:
            return str(json.loads(self.mark.read_text("utf-8"))["stack"])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise Blocked(
                f"the ownership mark {self.mark} is damaged: {error}",
                'put back {"stack": "<name>"} if this is your stack, or choose another --home',
            ) from error


def faults(home: Home, stack: str) -> list[str]:
    """Why this folder cannot be the stack's home; empty when it can. Changes nothing."""
    root = home.root
    if bad := sorted(set(str(root)) & set(UNQUOTABLE)):
        return [f"home {str(root)!r} has {bad[0]!r} in it, which Circus cannot handle: choose another --home"]
    if len(str(root)) > LONGEST:
        return [f"home {root} is {len(str(root))} characters long, sockets allow {LONGEST}: choose a shorter --home"]
    if not os.path.exists(root):  # noqa: PTH110 (Path.exists raises where it may not look)
        parent = next(each for each in root.parents if each.exists())
        ours = parent.is_dir() and os.access(parent, os.W_OK | os.X_OK)
        return [] if ours else [f"home {root} cannot be made: {parent} is not a folder you can write to"]
    if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK):
        return [f"home {root} is not a folder you can write to: choose another with --home"]
    owner = home.owner()
    if owner is not None and owner != stack:
        return [f"home {root} belongs to the stack {owner!r}, not {stack!r}: choose another --home or --name {owner}"]
    if owner is None and any(not _is_before_the_mark(home, each) for each in root.iterdir()):
        return [f"home {root} is not empty and carries no mark of ours: choose another with --home"]
    return []


def _is_before_the_mark(home: Home, path: Path) -> bool:
    """Whether it is of a claim that is about to happen, or was killed: the lease, and marks half written."""
    if path == home.root / "store":
        return {each.name for each in path.iterdir()} <= {"ledger", ".generations"}
    return path == home.lease or path.name.startswith(f".{home.mark.name}.")


def claim(home: Home, stack: str, identity: str = "", store: Path | Bucket | None = None) -> bool:
    """Make the folder and put the stack's mark on it; idempotent. True if it was not there before.

    Args:
        identity: The stack's, where it has one already; left out: a new one.
        store: Folder of its objects, where that is to lie outside the home; or the bucket they lie in.

    The folder can be passed through by others (PostgreSQL runs as its own user), but not listed.
    """
    if home.owner() == stack:
        return False
    make_folders(home.root)
    home.root.chmod(0o711)
    for left in home.root.glob(f".{home.mark.name}.*"):
        left.unlink()
    elsewhere = None if store == home.root / "store" else store
    write_atomically(home.mark, mark(stack, identity, elsewhere), 0o644)
    return True


def sweep(home: Home) -> None:
    """Remove half-written files of an interrupted command; the lease must be held, so that nobody is writing now."""
    for folder in (home.root, home.root / "bin", home.store / "sha256", home.store / "locks", home.secrets):
        for left in folder.glob(".*" if folder == home.secrets else ".*.new"):
            left.unlink()


def remove(home: Home, stack: str) -> None:
    """Remove the whole folder, the mark last: an interrupted removal is known as ours, and a re-run finishes it.

    Raises:
        Blocked: the folder carries another stack's mark, or none.
    """
    if home.owner() != stack:
        raise Blocked(f"{home.root} does not carry the mark of stack {stack!r}", "nothing was removed")
    for each in home.root.iterdir():
        if each not in (home.mark, home.lease):
            shutil.rmtree(each) if each.is_dir() and not each.is_symlink() else each.unlink()
    home.lease.unlink(missing_ok=True)
    home.mark.unlink()
    home.root.rmdir()
