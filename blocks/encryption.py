"""The key that Prefect's blocks are encrypted with: of its versions the promoted one, for all of them.

Servers encrypt and read with the one key they were started with: a block of another one fails to be read, and saving
works all the same. So the key changes while no server runs, and before one starts all blocks are brought to its key.
"""

from __future__ import annotations

from blocks.database import Database
from blocks.errors import Blocked
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.secret_store import SecretStore
from blocks.waiting import wait_until

DATABASE_SECONDS = 60.0
"""Time the database gets to answer, where it is just being started."""


def every_key(secrets: SecretStore) -> list[str]:
    """The values of all versions of the key, the oldest first; the first alone where none has a number yet."""
    return [secrets.read(ENCRYPTION_KEY, each) for each in secrets.versions(ENCRYPTION_KEY) or (1,)]


def bring_blocks_to(version: int, secrets: SecretStore, database: Database) -> list[str]:
    """Have all blocks encrypted with this version of the key, whichever they are encrypted with now; idempotent. No
    server may run. Names of those which no version reads; they stay as they are.

    Raises:
        NotReady: the database does not answer; nothing has changed.
    """
    keys, key = every_key(secrets), secrets.read(ENCRYPTION_KEY, version)
    return wait_until(
        lambda: [database.encrypt_blocks(keys, key)], "the database's answer", timeout=DATABASE_SECONDS, every=0.2
    )[0]


def require_readable(version: int, secrets: SecretStore, database: Database) -> None:
    """See that every block can be read with this version of the key.

    Raises:
        Blocked: some cannot, by name.
    """
    locked = database.unreadable_blocks([secrets.read(ENCRYPTION_KEY, version)])
    if locked:
        raise Blocked(
            f"{len(locked)} blocks cannot be read with the stack's encryption key: {', '.join(sorted(locked)[:10])}",
            "save them anew in the UI, or remove them there; then start it again",
        )
