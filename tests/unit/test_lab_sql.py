"""What an instance's settings make of PostgreSQL's own in the lab.

Source: https://cloud.google.com/sql/docs/postgres/flags, the table of `max_connections`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.emulator.errors import ApiError
from tests.lab.sql_settings import max_connections, rendered, settings_of


def body(**more: Any) -> dict[str, Any]:
    backups = {"pointInTimeRecoveryEnabled": False}
    settings = {"tier": "db-custom-2-7680", "backupConfiguration": backups, "ipConfiguration": {}}
    return {"settings": settings | more}


@pytest.mark.parametrize(
    ("tier", "wanted"),
    [
        ("db-f1-micro", 25),
        ("db-g1-small", 50),
        ("db-custom-1-3840", 100),
        ("db-custom-2-6144", 200),
        ("db-custom-2-7680", 400),
        ("db-custom-4-15360", 500),
        ("db-perf-optimized-N-4", 600),
        ("db-perf-optimized-N-8", 800),
        ("db-perf-optimized-N-16", 1000),
    ],
)
def test_connections_go_by_memory(tier: str, wanted: int) -> None:
    assert max_connections(tier) == wanted


def test_flags_have_the_last_word() -> None:
    flags = [{"name": "max_connections", "value": "77"}, {"name": "log_line_prefix", "value": "%m '\\'"}]
    found = settings_of(body(databaseFlags=flags), Path("/folder"))
    assert (found["max_connections"], found["archive_mode"]) == ("77", "off")
    assert "log_line_prefix = '%m ''\\\\'''\n" in rendered(found)


def test_certificates_of_clients_are_not_there() -> None:
    with pytest.raises(ApiError, match="TRUSTED_CLIENT_CERTIFICATE_REQUIRED"):
        settings_of(body(ipConfiguration={"sslMode": "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"}), Path("/folder"))
