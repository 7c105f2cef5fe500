"""Names at Google that are known before the thing is made, and where the world allows each but once.

Source: https://cloud.google.com/storage/docs/buckets#naming, https://cloud.google.com/sql/docs/postgres/delete-instance
(a name is taken for a week).
"""

from __future__ import annotations

import hashlib


def bucket_name(stack: str, number: str) -> str:
    """The stack's bucket: found without knowing more of the stack, and nobody's by chance.

    Args:
        number: The project's.
    """
    return f"{stack}-{number}-{hashlib.sha256(f'{stack}/{number}'.encode()).hexdigest()[:6]}"


def instance_name(stack: str, identity: str) -> str:
    """The instance of Cloud SQL: another stack of that name, made within the week, has another one."""
    return f"{stack}-{identity[:8]}" if identity else stack
