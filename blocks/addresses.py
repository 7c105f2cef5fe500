"""Addresses that people write into a spec. What is wrong with one is said with the reason, and shows no password."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit


def public_url(value: str) -> str:
    """How browsers reach the front door, without a slash at the end.

    Raises:
        ValueError: no such address, or one under which Prefect's UI does not work.
    """
    parts = _parts(value)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it holds a user name, which the UI cannot use: people log in with the auth string")
    if parts.path not in ("", "/"):
        raise ValueError(
            f"{value!r} has the path {parts.path!r}: Prefect's UI works at the root of a host alone and is 404 below a "
            "path; give it a host name or a port of its own"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}"


def database_url(value: str) -> str:
    """A PostgreSQL that is already there: `postgresql://user@host:port/database`.

    Raises:
        ValueError: it is of another form.
    """
    if "sslmode" in value or "sslrootcert" in value:
        raise ValueError("it says how TLS is to be spoken: sslmode and sslrootcert are keys beside it")
    parts = _parts(value)
    if parts.password is not None:
        raise ValueError("it holds a password, which belongs into the file that password_file names")
    if parts.scheme != "postgresql" or not parts.username or not re.fullmatch("/[^/]+", parts.path):
        raise ValueError(f"{value!r} is not of the form postgresql://user@host:port/database")
    return value


def require_host(value: str) -> None:
    """Refuse what is not a host, or a host with a port.

    Raises:
        ValueError: with the reason.
    """
    parts = urlsplit(f"//{value}")
    try:
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        port, host = 0, ""
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("its port must be a number from 1 to 65535")
    if not (re.fullmatch(r"[a-z0-9._-]+", host) or _is_ipv6(host)):
        raise ValueError("its host must be a name or an IP address in ASCII; other names are written as xn--...")


def _parts(value: str) -> SplitResult:
    try:
        parts = urlsplit(value)
    except ValueError as error:
        raise ValueError(f"it is no URL: {error}") from error
    if "?" in value or "#" in value:
        raise ValueError("it has a query or a fragment, and neither is taken")
    if re.search(r"[^\x21-\x7e]", value):  # blanks, which `urlsplit` partly drops
        raise ValueError("it has blanks in it, or what is not ASCII")
    require_host(parts.netloc.rpartition("@")[2])
    return parts


def _is_ipv6(host: str) -> bool:
    try:
        return bool(ipaddress.IPv6Address(host))
    except ValueError:
        return False
