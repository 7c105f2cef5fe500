"""Machine types: which edition takes which, and what a custom one may be.

Sources: https://cloud.google.com/sql/docs/postgres/machine-series-overview and
https://cloud.google.com/sql/docs/postgres/create-instance#machine-types
"""

from __future__ import annotations

import re

from tests.emulator.errors import ApiError
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.services.sqladmin.base import SqlKind

SHARED = {"db-f1-micro": 644_245_094, "db-g1-small": 1_825_361_101}
"""Bytes of memory of the shared-core types: 0.6 and 1.7 GB."""
OPTIMIZED = {f"db-perf-optimized-N-{count}": count * 8 * 2**30 for count in (2, 4, 8, 16, 32, 48, 64, 80, 96, 128)}
"""Bytes of memory of the N2 series of Enterprise Plus: 8 GB for each vCPU, 864 GB at most."""
CUSTOM = re.compile(r"db-custom-(\d{1,3})-(\d{1,7})")
CUSTOM_RULES = "1 or an even number of vCPUs up to 96, 0.9 to 6.5 GB for each, a multiple of 256 MB, 3.75 GB at least"
LEARN = "Learn more at https://cloud.google.com/sql/docs/postgres/create-instance#machine-types."
DISK_QUOTA = 64 * 2**40
"""Source: https://cloud.google.com/sql/docs/quotas#storage_limits: up to 64 TB."""


def default_edition(major: int) -> str:
    """Source: GoogleCloudPlatform/magic-modules#18014: Enterprise Plus from POSTGRES_16 on, where none is asked for."""
    return "ENTERPRISE_PLUS" if major >= 16 else "ENTERPRISE"


def check_tier(edition: str, tier: str) -> None:
    """400 for what the edition does not take."""
    if edition == "ENTERPRISE_PLUS":
        _check_optimized(tier)
    elif CUSTOM.fullmatch(tier):
        _check_custom(tier)
    elif tier not in SHARED:
        raise _not_enterprise(tier)


def _check_optimized(tier: str) -> None:
    """Source: GoogleCloudPlatform/cloud-foundation-fabric#2946."""
    if tier not in OPTIMIZED:
        raise refused(
            f"Invalid Tier ({tier}) for (ENTERPRISE_PLUS) Edition. Use a predefined Tier like db-perf-optimized-N-* "
            f"instead. {LEARN.rstrip('.')}"
        )


def _check_custom(tier: str) -> None:
    """No source for the words behind "Edition."."""
    found = CUSTOM.fullmatch(tier)
    cores, memory = (int(found[1]), int(found[2])) if found else (0, 0)
    counts = cores == 1 or (cores % 2 == 0 and 2 <= cores <= 96)
    fits = memory % 256 == 0 and memory >= 3840 and 0.9 * 1024 * cores <= memory <= 6.5 * 1024 * cores
    if not (counts and fits):
        raise refused(f"Invalid Tier ({tier}) for (ENTERPRISE) Edition. A custom Tier has {CUSTOM_RULES}")


def _not_enterprise(tier: str) -> ApiError:
    """Sources: serverpod/serverpod#2373 for a Compute Engine type; no source for the end of the other text."""
    if re.match(r"db-n\d", tier):
        return refused("Only custom or shared-core instance Billing Tier type allowed for PostgreSQL database")
    return refused(f"Invalid Tier ({tier}) for (ENTERPRISE) Edition. {LEARN.rstrip('.')}")


class Tiers(SqlKind):
    """Machine types of a project: the predefined ones, and custom types of usual sizes."""

    collection = "sql.tiers"

    @on("list", "cloudsql.instances.list")
    def listed(self, call: Call) -> Body:
        """No source for the permission: the reference asks only for a scope."""
        usual = {f"db-custom-{cores}-{cores * 3840}": cores * 3840 * 2**20 for cores in (1, 2, 4, 8, 16, 32, 64, 96)}
        regions = [place.removeprefix("regions/") for place in self.cloud.places("region")]
        memory = SHARED | usual | OPTIMIZED
        items = [
            {"kind": "sql#tier", "tier": name, "RAM": str(size), "DiskQuota": str(DISK_QUOTA), "region": regions}
            for name, size in memory.items()
        ]
        return {"kind": "sql#tiersList", "items": items}


KINDS = (Tiers,)
