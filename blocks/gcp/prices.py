"""What a stack at Google costs a month, about: list prices of one region and one day, before discounts and taxes.

Sources, looked at in September 2026 for us-central1: https://cloud.google.com/compute/all-pricing,
https://cloud.google.com/sql/pricing, https://cloud.google.com/run/pricing, https://cloud.google.com/nat/pricing,
https://cloud.google.com/secret-manager/pricing, https://cloud.google.com/storage/pricing. Other regions cost up to a
third more. What stands under `UNCONFIRMED` is from memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from blocks.gcp_spec import Gcp

AS_OF = "list prices of us-central1 in September 2026, US dollars"
HOURS = 730.0
MACHINES = {"e2-small": 12.23, "e2-medium": 24.46, "e2-standard-2": 48.92, "e2-standard-4": 97.84}
"""By the month; only e2-medium was looked up, the others are its half, double and fourfold, as Google prices E2."""
SQL_CPU, SQL_GB = 30.15, 5.11
"""A processor and a GB of memory of Cloud SQL's edition ENTERPRISE: 98.62 for two and 7.5."""
RUN_IDLE = 9.86
"""An instance of Cloud Run that is always there, with one processor and 512 MiB, while nobody asks."""
RUN_OPEN = {True: 66.0, False: 50.0}
"""The same with a socket open day and night: by requests (`cpu_idle`), and by the day."""
NAT = 4.67
"""For one machine, without what goes through it: 0.045 a GiB."""
SECRET = 0.06
"""A version of a secret; a stack keeps about eight."""
SECRETS = 8
BUCKET_GB, IMAGES_GB = 1.0, 0.5
"""What a small stack has there: its backups and releases, and its images."""
UNCONFIRMED = {"disk": 0.10, "sql disk": 0.17, "sql backup": 0.08, "bucket": 0.02, "registry": 0.10}
"""From memory: a GB a month of the machine's disk, the database's, its backups, the bucket and the registry."""


@dataclass(frozen=True)
class Cost:
    """What one resource costs."""

    what: str
    month: float | None
    """Dollars a month; None where no price is known here."""
    note: str = ""
    is_confirmed: bool = True

    def as_row(self) -> dict[str, object]:
        """As a row of a table or of `--json`."""
        month = None if self.month is None else round(self.month, 2)
        return {"what": self.what, "month": month, "confirmed": self.is_confirmed, "note": self.note}


def costs(wanted: Gcp) -> list[Cost]:
    """What each part costs, the dearest first; those without a known price before all."""
    host, database, proxy = wanted.host, wanted.database, wanted.proxy
    found = [
        Cost("database instance", _sql(database.tier), database.tier),
        Cost("machine", MACHINES.get(host.machine_type), host.machine_type, host.machine_type == "e2-medium"),
        Cost("front door", proxy.min_instances * RUN_IDLE, f"while nobody asks; min_instances = {proxy.min_instances}"),
        *([Cost("router with NAT", NAT, "and 0.045 a GiB that goes through it")] if wanted.network.nat else []),
        _unconfirmed("disk of the database", "sql disk", database.disk_gb),
        _unconfirmed("backups of the database", "sql backup", database.disk_gb / 2),
        _unconfirmed("disk of the machine", "disk", host.disk_gb),
        Cost("secrets", SECRETS * SECRET, f"{SECRETS} versions"),
        _unconfirmed("image registry", "registry", IMAGES_GB),
        _unconfirmed("bucket", "bucket", BUCKET_GB),
    ]
    return sorted(found, key=lambda each: -(each.month or 1e9))


def estimate(wanted: Gcp) -> dict[str, Any]:
    """All of it as plain data: `as_of`, `parts`, `total` of those whose price is known, and `advice`."""
    found = costs(wanted)
    total = round(sum(each.month or 0.0 for each in found), 2)
    return {"as_of": AS_OF, "parts": [each.as_row() for each in found], "total": total, "advice": advice(wanted)}


def advice(wanted: Gcp) -> list[str]:
    """What would change the sum, each a sentence."""
    proxy = wanted.proxy
    more = RUN_OPEN[proxy.cpu_idle] - (RUN_IDLE if proxy.min_instances else 0.0)
    told = [f"an open tab of the UI, or a worker elsewhere, day and night: about {more:.0f} more"]
    if proxy.cpu_idle:
        told.append(f"with that, cpu_idle = false below [gcp.proxy]: about {RUN_OPEN[True] - RUN_OPEN[False]:.0f} less")
    if _sql(wanted.database.tier) and wanted.database.tier != "db-custom-1-3840":
        less = (_sql(wanted.database.tier) or 0.0) - (_sql("db-custom-1-3840") or 0.0)
        told.append(f'tier = "db-custom-1-3840" below [gcp.database], enough for a small team: about {less:.0f} less')
    if proxy.min_instances:
        less = proxy.min_instances * RUN_IDLE
        told.append(f"min_instances = 0 below [gcp.proxy], and a minute of waiting after each pause: {less:.0f} less")
    if wanted.network.nat:
        told.append(f"nat = false below [gcp.network], where flows need nothing from outside: {NAT:.0f} less")
    return told


def _sql(tier: str) -> float | None:
    """A tier's price; None for the shared ones, which are not looked up."""
    found = re.fullmatch(r"db-custom-(\d+)-(\d+)", tier)
    return int(found[1]) * SQL_CPU + int(found[2]) / 1024 * SQL_GB if found else None


def _unconfirmed(what: str, of: str, size: float) -> Cost:
    return Cost(what, size * UNCONFIRMED[of], f"{size:g} GB at {UNCONFIRMED[of]:.2f}", is_confirmed=False)
