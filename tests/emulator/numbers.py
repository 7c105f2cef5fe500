"""Enums whose numbers on the wire are not their places in the discovery document's list, by schema and property.

Source: the proto files behind the documents (googleapis/googleapis); tests/unit/emulator compares with the installed
clients.
"""

from __future__ import annotations

ENUM_NUMBERS: dict[str, dict[int, str]] = {}
