"""Secrets as files on this machine: 0600, values of enough random bits, each version beside the others.

`NAME@7` is version 7 and never changes. `NAME` is what a person reads, and a release of ours from before there were
versions: a copy of the promoted one. A folder from that time has `NAME` alone, which is version 1 then.

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
OF_A_STACK = (AUTH_STRING, AUTH_GRACE, ENCRYPTION_KEY, DATABASE_LOGIN, DATABASE_ADMIN_PASSWORD)


VERSION_SIGN = "@"
PREVIOUS_BEFORE_VERSIONS, NEXT_BEFORE_VERSIONS = ".previous", "-next"
"""Endings of files beside a secret, of releases from before there were versions."""


def new_auth_string() -> str:
    """`admin:<password>`: what Prefect's server takes as basic authentication, 192 bits of it random."""
    return f"admin:{secrets.token_urlsafe(24)}"


def new_encryption_key() -> str:
    """A Fernet key, which the server encrypts secret blocks with."""
    return urlsafe_b64encode(secrets.token_bytes(32)).decode()


def new_password() -> str:
    """A password of 192 random bits, safe in a URL as it stands."""
    return secrets.token_urlsafe(24)


def reference(name: str, version: int) -> str:
    """`NAME@7`: a version of a secret, as a `HostSpec` names it and as its file is called."""
    return f"{name}{VERSION_SIGN}{version}"


def ensure(folder: Path, name: str, make: Callable[[], str]) -> int:
    """Store `make()` unless the secret is there; the version that a person finds under its name. Of racing calls one
    stores.

    A value which a person put there, or a release from before there were versions, becomes a version.
    """
    if (folder / name).exists():
        return adopt(folder, name)
    there = versions(folder, name)
    if not there and not _store(folder, reference(name, 1), make().encode()):
        return ensure(folder, name, make)  # another one was faster
    newest = max(there, default=1)
    publish(folder, name, newest)
    return newest


def adopt(folder: Path, name: str) -> int:
    """The version which is under a secret's name; what is none yet becomes one.

    In a folder from before there were versions it is the first; what was about to take its place is the second.

    Raises:
        Blocked: there is nothing under that name, or it is empty.
    """
    value, is_first = read(folder, name), not versions(folder, name)
    found = published(folder, name) or _append(folder, name, value)
    (folder / (name + PREVIOUS_BEFORE_VERSIONS)).unlink(missing_ok=True)
    waiting = folder / (name + NEXT_BEFORE_VERSIONS)
    if is_first and waiting.exists():
        _append(folder, name, waiting.read_text("utf-8"))
    return found


def versions(folder: Path, name: str) -> tuple[int, ...]:
    """Numbers of a secret's versions, the oldest first; empty where there is none, or none has a number yet."""
    numbers = (each.name.removeprefix(f"{name}{VERSION_SIGN}") for each in folder.glob(f"{name}{VERSION_SIGN}*"))
    return tuple(sorted(int(each) for each in numbers if each.isdecimal()))


def names(folder: Path) -> list[str]:
    """Names of the secrets that a person finds there."""
    endings = (PREVIOUS_BEFORE_VERSIONS, NEXT_BEFORE_VERSIONS)
    found = (each.name for each in folder.glob("[!.]*") if VERSION_SIGN not in each.name)
    return sorted(each for each in found if not each.endswith(endings))


def add_version(folder: Path, name: str, value: str) -> int:
    """Store a further version, and return its number. What a person finds stays as it is."""
    if (folder / name).exists():
        adopt(folder, name)  # a value from before there were versions gets its number first
    return _append(folder, name, value)


def read(folder: Path, name: str, version: int | None = None) -> str:
    """A version's value; without a number, what a person finds under the name.

    Raises:
        Blocked: it is absent, empty, or not ours to read.
    """
    path = folder / name if version is None else _path(folder, name, version)
    try:
        value = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        hint = "run as the user who made the stack" if isinstance(error, PermissionError) else "bootstrap makes it"
        raise Blocked(f"the secret {path} cannot be read: {error}", hint) from error
    if not value:
        raise Blocked(f"the secret {path} is empty", "put your copy of it back")
    return value


def publish(folder: Path, name: str, version: int) -> None:
    """Have a person find this version under the secret's name."""
    write_atomically(folder / name, read(folder, name, version).encode(), 0o600)


def published(folder: Path, name: str) -> int | None:
    """The version a person finds under the secret's name; None where it is none of them."""
    try:
        value = read(folder, name)
    except Blocked:
        return None
    return next((each for each in versions(folder, name) if value == read(folder, name, each)), None)


def destroy_version(folder: Path, name: str, version: int) -> None:
    """Remove one version; nothing happens where it is gone."""
    (folder / reference(name, version)).unlink(missing_ok=True)


def remove(folder: Path, name: str) -> None:
    """Remove a secret with all its versions; nothing happens where there is none."""
    for version in versions(folder, name):
        destroy_version(folder, name, version)
    for ending in ("", PREVIOUS_BEFORE_VERSIONS, NEXT_BEFORE_VERSIONS):
        (folder / (name + ending)).unlink(missing_ok=True)


def _append(folder: Path, name: str, value: str) -> int:
    number = max(versions(folder, name), default=0) + 1
    while not _store(folder, reference(name, number), value.encode()):
        number += 1
    return number


def _path(folder: Path, name: str, version: int) -> Path:
    path = folder / reference(name, version)
    return folder / name if version == 1 and not path.exists() else path


def _store(folder: Path, name: str, value: bytes) -> bool:
    """Make a file unless there is one of that name; whether it was made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = folder / f".{name}.{secrets.token_hex(6)}"
    write_atomically(fresh, value, 0o600)
    try:
        (folder / name).hardlink_to(fresh)  # fails where the name exists: nothing is ever overwritten
    except FileExistsError:
        return False
    finally:
        fresh.unlink()
    sync_folder(folder)  # what is encrypted by it may reach the disk next
    return True
