"""TLS to a PostgreSQL which somebody else keeps: what is asked of it, and what its refusal means.

PostgreSQL's way: eight bytes that ask for TLS, one byte as the answer, then the handshake. Only then anything else is
said, so that neither a user's name nor a password ever leaves in clear.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blocks.database import Tls
from blocks.errors import Blocked, NotReady

AGAIN = "the same command again, once it answers; selfhost status shows that"
"""What to do about a database that does not answer, or not now."""
HANDSHAKE_SECONDS = 5
"""Time for the connection, and again for the handshake."""
CHUNK = 1 << 18
"""Bytes that are read ahead."""
REQUEST = struct.pack("!ii", 8, 80877103)
"""`SSLRequest` of PostgreSQL's protocol."""
_OTHER_NAME = (62, 64)
"""OpenSSL's numbers for a certificate of another host name, or another address."""


def context(wanted: Tls) -> ssl.SSLContext:
    """A context for one connection or many.

    Raises:
        Blocked: `authority` holds no certificate.
    """
    if wanted.mode == "require":
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        found.check_hostname, found.verify_mode = False, ssl.CERT_NONE
        return found
    try:
        found = ssl.create_default_context(cadata=wanted.authority or None)
    except (ssl.SSLError, ValueError) as error:
        raise Blocked("database.sslrootcert holds no certificate that can be read", "it must be PEM") from error
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.check_hostname = wanted.mode == "verify-full"
    return found


def authority_file(wanted: Tls, folder: Path) -> Path:
    """Where Prefect finds `authority`, which it takes from a file alone. Others have another name: a server's
    configuration changes with them, and so it is started anew."""
    return folder / f"database-authority-{hashlib.sha256(wanted.authority.encode()).hexdigest()[:8]}.pem"


def for_prefect(wanted: Tls | None, folder: Path) -> dict[str, bool | str]:
    """Prefect's settings below `server.database.sqlalchemy.connect_args.tls`.

    They always verify: `require` is said in the URL instead, see `in_url`.

    Args:
        folder: Where the `authority_file` is, if there is an authority.
    """
    if wanted is None or wanted.mode == "require":
        return {}
    authority = {"ca_file": str(authority_file(wanted, folder))} if wanted.authority else {}
    return {"enabled": True, "check_hostname": wanted.mode == "verify-full", **authority}


def in_url(wanted: Tls | None) -> str:
    """The end of a SQLAlchemy URL for asyncpg."""
    return "?ssl=require" if wanted and wanted.mode == "require" else ""


async def connected(host: str, port: int, wanted: Tls) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection in which TLS has been agreed on, and nothing else has been said.

    Raises:
        NotReady: nobody answers, or the answer breaks off.
        Blocked: the database does not speak TLS, or its certificate is not what is wanted.
    """
    server, trust = f"{host}:{port}", context(wanted)
    with _translated(server):
        plain = await asyncio.to_thread(_agreed, host, port)
        return await asyncio.open_connection(
            sock=plain, ssl=trust, server_hostname=host, ssl_handshake_timeout=HANDSHAKE_SECONDS, limit=CHUNK
        )


async def require(host: str, port: int, wanted: Tls) -> None:
    """See that such a connection can be had; it is closed again.

    Raises:
        NotReady, Blocked: as `connected`.
    """
    _, writer = await connected(host, port, wanted)
    writer.close()


def _agreed(host: str, port: int) -> socket.socket:
    """A plain connection whose other end waits for the handshake. One byte of the answer is read and no more: what
    somebody in between might have sent along with it must not be taken for the database's."""
    plain = socket.create_connection((host, port), timeout=HANDSHAKE_SECONDS)
    try:
        plain.sendall(REQUEST)
        _require_yes(plain.recv(1), f"{host}:{port}")
        plain.setblocking(False)
    except BaseException:
        plain.close()
        raise
    return plain


def _require_yes(answer: bytes, server: str) -> None:
    if answer == b"N":
        raise Blocked(
            f"the database at {server} does not speak TLS, which database.sslmode asks for",
            "switch it on there (ssl = on); or leave sslmode out where nobody can read along",
        )
    if answer != b"S":
        raise NotReady(f"the database at {server} gave no answer to the request for TLS", AGAIN)


@contextmanager
def _translated(server: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise _not_believed(server, error) from error
    except ssl.SSLError as error:
        what = f"the database at {server} and we find no common TLS: {error.reason or error}"
        raise Blocked(what, "TLS 1.2 or newer is wanted; the database's log says more") from error
    except OSError as error:
        raise NotReady(f"the database at {server} does not answer: {error.strerror or error}", AGAIN) from error


def _not_believed(server: str, error: ssl.SSLCertVerificationError) -> Blocked:
    if error.verify_code in _OTHER_NAME:
        return Blocked(
            f"the certificate of the database at {server} is for another name: {error.verify_message}",
            'database.url must name the host as the certificate does; sslmode = "verify-ca" looks at no name',
        )
    return Blocked(
        f"the certificate of the database at {server} is not believed: {error.verify_message}",
        "database.sslrootcert must hold the certificate of the authority that issued it",
    )
