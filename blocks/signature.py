"""Signatures of what a stack keeps where others may write, too: only who has its encryption key makes one."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

KEY = "signature"
"""Where the signature lies in what it signs."""
_LABEL = b"prefect-selfhost signature of a backup's manifest"


def signed(data: Mapping[str, Any], encryption_key: str) -> dict[str, Any]:
    """The same data with its signature, for JSON."""
    return {**data, KEY: _signature(data, encryption_key)}


def is_signed(data: Mapping[str, Any], encryption_key: str) -> bool:
    """Whether all of this data, as JSON gives it, was signed with this key."""
    return hmac.compare_digest(str(data.get(KEY, "")).encode(), _signature(data, encryption_key).encode())


def _signature(data: Mapping[str, Any], encryption_key: str) -> str:
    """HMAC-SHA256 over the data as canonical JSON, with a key that is of no other use."""
    own_key = hmac.digest(encryption_key.encode(), _LABEL, "sha256")
    text = json.dumps({name: each for name, each in data.items() if name != KEY}, sort_keys=True)
    return hmac.new(own_key, text.encode(), "sha256").hexdigest()


def key_mark(encryption_key: str) -> str:
    """What tells one encryption key from another without giving it away."""
    return hashlib.sha256(b"prefect-selfhost encryption key\0" + encryption_key.encode()).hexdigest()[:16]
