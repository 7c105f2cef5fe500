"""Reading a secret: an empty one counts as missing, for Prefect takes an empty auth string as "no login is asked for".

Imports little: the exec wrapper of every service loads it.
"""

from __future__ import annotations

import os


class UnusableSecret(Exception):
    """A secret which something refers to is missing or of no use. The message says which one and why."""


def read(path: str) -> str:
    """The value of a secret, without the newline an editor may have put at its end.

    Raises:
        UnusableSecret: there is no such file, it cannot be read, it is no text, or it is empty.
    """
    name = os.path.basename(path)  # noqa: PTH119 - imports pathlib
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            value = file.read().rstrip("\n")
    except FileNotFoundError as error:
        raise UnusableSecret(f"there is no secret {name}") from error
    except OSError as error:
        raise UnusableSecret(f"the secret {name} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UnusableSecret(f"the secret {name} is no text in UTF-8") from error
    if not value.strip():
        raise UnusableSecret(f"the secret {name} is empty")
    return value
