"""The seam for real parts: what may stand behind an instance, an SQL instance, a revision, a repository.

The default does nothing. A lab puts containers and a PostgreSQL there. `start`, `change` and `stop` run on a thread of
their own while the operation is on its way, which ends no sooner than they do and fails if they raise.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any, Protocol


class Backing(Protocol):
    """A real part that lives as long as a resource. `name` is the full one, `body` the resource as the API shows it."""

    def start(self, name: str, body: dict[str, Any]) -> None:
        """Bring it up; called again after a stop."""

    def change(self, name: str, body: dict[str, Any]) -> None:
        """Make it what the body now says."""

    def stop(self, name: str, body: dict[str, Any]) -> None:
        """Halt it; what it holds stays."""

    def remove(self, name: str) -> None:
        """Take it away for good; the emulator calls it for everything when it ends."""


class SqlBacking(Backing, Protocol):
    """What may stand behind `sql.instances`: a PostgreSQL. `name` is the instance's full one everywhere.

    An ApiError raised by any of these is how the operation fails, word for word.
    """

    def certify(self, name: str, certificate: str, key: str) -> None:
        """Show callers this certificate from now on, both as PEM; first before the first start."""

    def addressed(self, name: str, body: dict[str, Any]) -> None:
        """Be reached at the private address that the body has now, if it has one; asked while the operation ends."""

    def create_database(self, name: str, database: str) -> None:
        """Make an empty database; it is not there yet."""

    def drop_database(self, name: str, database: str) -> None:
        """Take a database away; nobody was connected to it a moment ago."""

    def sessions(self, name: str, database: str) -> int:
        """How many sessions use a database now; asked while the caller of `databases.delete` waits."""

    def owned(self, name: str, user: str) -> dict[str, int]:
        """How many objects belong to a user, by database; asked while the caller of `users.delete` waits."""

    def set_user(self, name: str, user: str, password: str) -> None:
        """Make a login, or give it another password; without one ("") nobody can log in by password."""

    def drop_user(self, name: str, user: str) -> None:
        """Take a login away."""

    def dump(self, name: str, database: str) -> bytes:
        """A database as plain SQL, without ownership."""

    def load(self, name: str, database: str, user: str, content: bytes) -> None:
        """Run plain SQL in a database as this user, all of it or nothing."""

    def backup(self, name: str, backup: str) -> None:
        """Keep all that the instance holds under the full name of a backup."""

    def restore(self, name: str, backup: str) -> None:
        """Replace all that the instance holds by a backup, perhaps of another instance."""

    def forget(self, backup: str) -> None:
        """Drop a backup."""

    def copy(self, source: str, name: str, at: datetime | None = None) -> None:
        """Fill a new instance with all that another holds, or held at a moment."""

    def held(self, name: str) -> tuple[list[str], list[str]]:
        """Names of the databases and of the users; asked while a copy as of a moment ends."""


class NoBacking:
    """Nothing behind it."""

    def start(self, name: str, body: dict[str, Any]) -> None: ...

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


BACKED = {
    "compute.instances": "compute.instances",
    "sql.instances": "sql.instances",
    "run.projects.locations.services.revisions": "run.revisions",
    "run.projects.locations.jobs.executions": "run.executions",
    "artifactregistry.projects.locations.repositories": "artifactregistry.repositories",
    "cloudbuild.projects.locations.builds": "cloudbuild.builds",
}
"""Collections that can have a real part, and the name under which it is given."""


AT_ONCE = 64
"""Acts under way at once, at most: an execution of a job may take an hour, and holds nobody up."""


class Backings:
    """Which real part stands behind which collection, and the threads they work on."""

    def __init__(self, parts: dict[str, Backing] | None = None) -> None:
        self.parts: dict[str, Backing] = {name: NoBacking() for name in BACKED.values()} | (parts or {})
        self._threads = ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="backing")

    def run(self, collection: str, act: Callable[[Backing], None]) -> Future[None] | None:
        """Start an act on a thread; None where nothing stands behind the collection."""
        part = self.parts[BACKED[collection]]
        return None if isinstance(part, NoBacking) else self._threads.submit(act, part)

    def of(self, collection: str) -> Backing | None:
        """The part behind a collection, if it is one that can have any."""
        return self.parts.get(BACKED.get(collection, ""))

    def real(self, collection: str) -> bool:
        """Whether something stands behind a collection."""
        return not isinstance(self.of(collection), NoBacking | None)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
