"""What an import makes of a file: the plain SQL of pg_dump, run by psql as a user who is no superuser.

Sources: https://cloud.google.com/sql/docs/postgres/import-export/import-export-dmp#external-server (a plain dump
without ownership, access rights and extension statements), https://cloud.google.com/sql/docs/troubleshooting#import;
the words are those of psql and PostgreSQL themselves.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Set

EMPTY = b"--\n-- PostgreSQL database dump\n--\n\n--\n-- PostgreSQL database dump complete\n--\n"
"""What an export of a database writes behind which there is none."""


def unpacked(name: str, content: bytes) -> bytes:
    """The SQL of a file, which is compressed if its name says so; ValueError where it is not."""
    if not name.endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        raise ValueError("gzip: stdin: not in gzip format") from None


def packed(name: str, content: bytes) -> bytes:
    """Source: `uri` in the reference: compressed if it ends in .gz."""
    return gzip.compress(content, mtime=0) if name.endswith(".gz") else content


def fault(content: bytes, users: Set[str]) -> str:
    """Why psql stops at this file, or ""; `users` are those that exist."""
    if content.startswith(b"PGDMP"):
        return (
            "The input is a PostgreSQL custom-format dump.\n"
            "Use the pg_restore command-line client to restore this dump to a database."
        )
    if re.search(rb"^\\(un)?restrict\b", content, re.MULTILINE):
        return r"invalid command \restrict"
    extension = re.search(rb"^COMMENT ON EXTENSION (\"?[\w-]+\"?)", content, re.MULTILINE)
    if extension:
        return f"ERROR:  must be owner of extension {extension[1].decode()}"
    named = re.findall(rb"^(?:ALTER .* OWNER TO|GRANT .* TO) \"?([^\";]+)\"?;", content, re.MULTILINE)
    strangers = (name.decode() for name in named if name.decode() not in users | {"PUBLIC"})
    return next((f'ERROR:  role "{name}" does not exist' for name in strangers), "")
