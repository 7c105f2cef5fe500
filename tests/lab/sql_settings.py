"""What the settings of an SQL instance make of PostgreSQL's own.

Source: https://cloud.google.com/sql/docs/postgres/flags; for connections the table of `max_connections` there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.emulator.errors import not_emulated
from tests.emulator.services.sqladmin.tiers import CUSTOM, OPTIMIZED, SHARED

PORT = 5432
CONNECTIONS = ((0.0, 25), (1.7, 50), (3.75, 100), (6.0, 200), (7.5, 400), (15.0, 500), (30.0, 600), (60.0, 800))
"""From so many GB of memory on, as many connections."""
MOST_CONNECTIONS = (120.0, 1000)


def max_connections(tier: str) -> int:
    """What `max_connections` is where no flag says otherwise."""
    found = CUSTOM.fullmatch(tier)
    bytes_of = SHARED | OPTIMIZED
    gigabytes = round(int(found[2]) / 1024 if found else bytes_of[tier] / 2**30, 1)
    return max(most for least, most in (*CONNECTIONS, MOST_CONNECTIONS) if gigabytes >= least)


def settings_of(body: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """PostgreSQL's settings for the instance that a body describes; flags have the last word.

    Those of Cloud SQL's own and of extensions are only kept, as PostgreSQL keeps every name with a dot.

    Args:
        folder: The instance's own, with `data`, `socket`, `archive` and the rules of who is let in.

    Raises:
        ApiError: callers would have to show certificates of their own.
    """
    settings = body["settings"]
    if settings["ipConfiguration"].get("sslMode") == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED":
        raise not_emulated("a real part behind sslMode TRUSTED_CLIENT_CERTIFICATE_REQUIRED")
    logs = settings["backupConfiguration"]["pointInTimeRecoveryEnabled"]
    return {
        "listen_addresses": "127.0.0.1",
        "port": str(PORT),
        "unix_socket_directories": str(folder / "socket"),
        "hba_file": str(folder / "pg_hba.conf"),
        "max_connections": str(max_connections(settings["tier"])),
        "shared_buffers": "32MB",
        "fsync": "off",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "archive_mode": "on" if logs else "off",
        "archive_command": f"cp %p {folder}/archive/%f",
        **{each["name"]: each["value"] for each in settings.get("databaseFlags", ())},
    }


def rendered(settings: Mapping[str, str]) -> str:
    """As PostgreSQL reads a configuration."""
    quoted = {name: re.sub(r"(['\\])", r"\1\1", value) for name, value in settings.items()}
    return "".join(f"{name} = '{value}'\n" for name, value in quoted.items())
