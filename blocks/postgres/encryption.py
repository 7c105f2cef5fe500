"""Prefect's blocks as they lie in the database, each encrypted by itself: read, and encrypted with another key.

No other table of Prefect's is encrypted. What is stored is one Fernet token, as a JSON string.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from blocks.postgres.sql import Row, Session

_HAS_BLOCKS = "SELECT to_regclass('public.block_document') IS NOT NULL"
_BLOCKS = "SELECT id, name, data #>> '{}' FROM block_document WHERE jsonb_typeof(data) = 'string'"
_STORE = """
UPDATE block_document SET data = to_jsonb(anew.stored) FROM unnest($1::uuid[], $2::text[]) AS anew (id, stored)
WHERE block_document.id = anew.id
"""


def is_readable(stored: str, keys: Iterable[str]) -> bool:
    """Whether what is stored of a block can be read with one of these keys."""
    try:
        return bool(MultiFernet([Fernet(each.encode()) for each in keys]).decrypt(stored.encode()))
    except (InvalidToken, ValueError):  # it is no token of theirs, or one is no key
        return False


def unreadable_blocks(session: Session, keys: Sequence[str]) -> list[str]:
    """Names of the blocks which can be read with none of these keys; every block is looked at."""
    return _unreadable(session.query(_BLOCKS), keys) if session.value(_HAS_BLOCKS) else []


def encrypt_blocks(session: Session, keys: Sequence[str], key: str) -> list[str]:
    """Have every block encrypted with `key`, in one transaction beside which nobody writes one; idempotent.

    Args:
        session: One that is closed where this fails: nothing has changed then.
        keys: Which they may be encrypted with now.

    Returns:
        Names of the blocks which can be read with none of all these; they stay as they are.
    """
    if not session.value(_HAS_BLOCKS):
        return []
    fernet = MultiFernet([Fernet(each.encode()) for each in (key, *keys)])
    session.execute("BEGIN; LOCK TABLE block_document IN EXCLUSIVE MODE")
    others = [row for row in session.query(_BLOCKS) if not is_readable(row[2], [key])]
    known = [(id_, stored) for id_, _, stored in others if is_readable(stored, keys)]
    session.query(_STORE, [id_ for id_, _ in known], [fernet.rotate(stored).decode() for _, stored in known])
    left = _unreadable(session.query(_BLOCKS), [key])
    session.execute("COMMIT")
    return left


def _unreadable(blocks: Iterable[Row], keys: Sequence[str]) -> list[str]:
    return [name for _, name, stored in blocks if not is_readable(stored, keys)]
