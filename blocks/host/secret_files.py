"""Secrets as files on this machine: 0600, made once, values of enough random bits.

No Prefect here: the temporary server needs two of them before Prefect has been imported.
"""

from __future__ import annotations

import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from blocks.agent.files import sync_folder, write_atomically
from blocks.errors import Blocked

AUTH_STRING = "auth-string"
AUTH_GRACE = "auth-grace"
"""Further auth strings which the server accepts for a while, as `serve_grace` reads them; an empty list at first."""
ENCRYPTION_KEY = "encryption-key"
DATABASE_LOGIN = "database-login"
"""`user:password` as in a URL: both change at once."""
DATABASE_ADMIN_PASSWORD = "database-admin-password"
NEXT = "-next"
"""End of the name of what takes a secret's place while that is being rotated."""
AUTH_STRING_NEXT = AUTH_STRING + NEXT
DATABASE_LOGIN_NEXT = DATABASE_LOGIN + NEXT


def new_auth_string() -> str:
    """`admin:<password>`: what Prefect's server takes as basic authentication, 192 bits of it random."""
    return f"admin:{secrets.token_urlsafe(24)}"


def new_encryption_key() -> str:
    """A Fernet key, which the server encrypts secret blocks with."""
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()


def new_password() -> str:
    """A password of 192 random bits, safe in a URL as it stands."""
    return secrets.token_urlsafe(24)


def ensure(folder: Path, name: str, make: Callable[[], str]) -> bool:
    """Store `make()` unless the secret is there; True if it was stored. Of two that race one wins."""
    if (folder / name).exists():
        return False
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".{name}.{secrets.token_hex(6)}"
    write_atomically(fresh, make().encode(), 0o600)
    try:
        (folder / name).hardlink_to(fresh)  # fails where the name exists: nothing is ever overwritten
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    sync_folder(folder)  # what is encrypted by it may reach the disk next
    return True


def read(folder: Path, name: str) -> str:
    """The secret's value.

    Raises:
        Blocked: it is absent, empty, or not ours to read.
    """
    try:
        value = (folder / name).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "run as the user who made the stack" if isinstance(error, PermissionError) else "bootstrap makes it"
        raise Blocked(f"the secret {folder / name} cannot be read: {error}", hint) from error
    if not value:
        raise Blocked(f"the secret {folder / name} is empty", "put your copy of it back")
    return value
