"""Settings of an instance: what they are where nothing is said, and what is refused.

Sources: https://cloud.google.com/sql/docs/postgres/instance-settings, the reference's `Settings`, and the public issues
named at each rule.
"""

from __future__ import annotations

import copy
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.emulator import errors
from tests.emulator.cloud import REGIONS
from tests.emulator.kind import Body
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.services.sqladmin.flags import check_flags
from tests.emulator.services.sqladmin.tiers import check_tier, default_edition

NOT_EMULATED = (
    "acceleratedReplicaMode",
    "activeDirectoryConfig",
    "advancedMachineFeatures",
    "authorizedGaeApplications",
    "autoUpgradeEnabled",
    "collation",
    "connectionPoolConfig",
    "crashSafeReplicationEnabled",
    "dataApiAccess",
    "dataDiskProvisionedIops",
    "dataDiskProvisionedThroughput",
    "databaseReplicationEnabled",
    "enableDataplexIntegration",
    "enableGoogleMlIntegration",
    "entraidConfig",
    "passwordValidationPolicy",
    "performanceCaptureConfig",
    "readPoolAutoScaleConfig",
    "replicationLagMaxSeconds",
    "replicationType",
    "sqlServerAuditConfig",
    "timeZone",
)
"""Settings that would change what the instance does, and of which nothing is emulated."""


@dataclass(frozen=True)
class Place:
    """What the rules of settings depend on: `major` is PostgreSQL's."""

    major: int
    region: str

    @property
    def multi_region(self) -> str:
        """Where backups go. Source: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups#custom-location."""
        return "eu" if self.region.startswith("europe-") else "us"


def completed(given: Body, place: Place) -> Body:
    """The settings with every default written out, as the API returns them."""
    settings = {**_DEFAULTS, **copy.deepcopy(given)}
    settings["edition"] = given.get("edition") or default_edition(place.major)
    plus = settings["edition"] == "ENTERPRISE_PLUS"
    settings["ipConfiguration"] = {"ipv4Enabled": True, **given.get("ipConfiguration", {})}
    settings["ipConfiguration"].update(_ssl(settings["ipConfiguration"]))
    settings["backupConfiguration"] = _backups(given.get("backupConfiguration", {}), place, plus)
    settings["locationPreference"] = {"kind": "sql#locationPreference", **given.get("locationPreference", {})}
    settings["locationPreference"].setdefault("zone", f"{place.region}-{REGIONS[place.region][0]}")
    if "maintenanceWindow" in given:
        settings["maintenanceWindow"] = {"kind": "sql#maintenanceWindow", **given["maintenanceWindow"]}
    return settings


_DEFAULTS: Body = {
    "kind": "sql#settings",
    "activationPolicy": "ALWAYS",
    "availabilityType": "ZONAL",
    "connectorEnforcement": "NOT_REQUIRED",
    "dataDiskSizeGb": "10",
    "dataDiskType": "PD_SSD",
    "deletionProtectionEnabled": False,
    "pricingPlan": "PER_USE",
    "replicationType": "SYNCHRONOUS",
    "storageAutoResize": True,
    "storageAutoResizeLimit": "0",
    "authorizedGaeApplications": [],
}


def _ssl(given: Body) -> Body:
    """`sslMode` and `requireSsl` in step; the first has priority. Source: `sslMode` in the reference."""
    mode = given.get("sslMode") or (
        "TRUSTED_CLIENT_CERTIFICATE_REQUIRED" if given.get("requireSsl") else "ALLOW_UNENCRYPTED_AND_ENCRYPTED"
    )
    return {"sslMode": mode, "requireSsl": mode == "TRUSTED_CLIENT_CERTIFICATE_REQUIRED"}


def _backups(given: Body, place: Place, plus: bool) -> Body:
    """Source: https://cloud.google.com/sql/docs/postgres/backup-recovery/backups (7 and 15 kept by default)."""
    kept = {"retentionUnit": "COUNT", "retainedBackups": 15 if plus else 7, **given.get("backupRetentionSettings", {})}
    return {
        "kind": "sql#backupConfiguration",
        "enabled": False,
        "startTime": "00:00",
        "location": place.multi_region,
        "pointInTimeRecoveryEnabled": False,
        "transactionLogRetentionDays": 14 if plus else 7,
        "transactionalLogStorageState": "CLOUD_STORAGE",
        "backupTier": "STANDARD",
        **given,
        "backupRetentionSettings": kept,
    }


def check(settings: Body, place: Place) -> None:
    """Refuse, by one rule after the other, what Cloud SQL would."""
    for rule in _RULES:
        rule(settings, place)
    check_flags(settings.get("databaseFlags", ()))


def check_emulated(given: Body) -> None:
    """501 for settings that are asked for and not emulated."""
    asked = [name for name in NOT_EMULATED if given.get(name) not in (None, False, [], {}, _DEFAULTS.get(name))]
    asked += ["ipConfiguration.pscConfig"] if given.get("ipConfiguration", {}).get("pscConfig", {}) else []
    asked += ["edition DEVELOPER"] if given.get("edition") == "DEVELOPER" else []
    asked += ["activationPolicy ON_DEMAND"] if given.get("activationPolicy") == "ON_DEMAND" else []
    if asked:
        raise errors.not_emulated(f"sql.instances with settings.{asked[0]}")


def _edition(settings: Body, place: Place) -> None:
    """Source: https://cloud.google.com/sql/docs/postgres/editions-intro (Enterprise Plus from PostgreSQL 12 on)."""
    if settings["edition"] == "ENTERPRISE_PLUS" and place.major < 12:
        raise refused(f"Database version POSTGRES_{place.major} is not supported for (ENTERPRISE_PLUS) Edition")
    if not settings.get("tier"):
        raise refused("Missing parameter: tier")
    check_tier(settings["edition"], settings["tier"])


def _disk(settings: Body, _: Place) -> None:
    """Source: `dataDiskSizeGb` in the reference: 10 GB at least; 64 TB at most. No source for the words."""
    size = int(settings["dataDiskSizeGb"])
    if not 10 <= size <= 65_536:
        raise refused(f"Invalid disk size ({size} GB): it must be between 10 and 65536")
    if settings["dataDiskType"] not in ("PD_SSD", "PD_HDD"):
        raise errors.not_emulated(f"sql.instances with settings.dataDiskType {settings['dataDiskType']}")
    if settings["dataDiskType"] == "PD_HDD" and settings["edition"] == "ENTERPRISE_PLUS":
        raise refused("PD_HDD is not supported for (ENTERPRISE_PLUS) Edition")


def _addresses(settings: Body, _: Place) -> None:
    """Sources: no issue found, notes in public repositories print "At least one of Public IP …"; for IPv6 the answer
    to `gcloud sql connect`."""
    given = settings["ipConfiguration"]
    if not given["ipv4Enabled"] and not given.get("privateNetwork"):
        raise refused("At least one of Public IP or Private IP or PSC connectivity must be enabled")
    for entry in given.get("authorizedNetworks", ()):
        value = entry.get("value", "")
        if ":" in value:
            raise refused(
                "Invalid flag for instance role: CloudSQL Second Generation doesn't support IPv6 networks/subnets: "
                + value
            )
        if not _is_network(value):
            raise refused(f"Invalid IP address or CIDR range: {value}")


def _is_network(text: str) -> bool:
    try:
        ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return True


def _backup_rules(settings: Body, _: Place) -> None:
    """Sources: langfuse/langfuse-terraform-gcp#8 for the days; the reference for the rest, without words of its own."""
    given, plus = settings["backupConfiguration"], settings["edition"] == "ENTERPRISE_PLUS"
    most = 35 if plus else 7
    if not 1 <= given["transactionLogRetentionDays"] <= most:
        raise refused(f"The number of transaction log retention days must be between 1 and {most}")
    if not 1 <= given["backupRetentionSettings"]["retainedBackups"] <= 365:
        raise refused("The number of retained backups must be between 1 and 365")
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", given["startTime"]):
        raise refused(f"Invalid backup start time ({given['startTime']}): it must be HH:MM")
    if given["pointInTimeRecoveryEnabled"] and not given["enabled"]:
        raise refused("Point-in-time recovery requires backups to be enabled")
    if given.get("binaryLogEnabled"):
        raise refused("Binary log can only be enabled for MySQL instances")


def _window(settings: Body, _: Place) -> None:
    """Source: `MaintenanceWindow` in the reference: day 1 to 7, hour 0 to 23. No source for the words."""
    given = settings.get("maintenanceWindow", {})
    if not (0 <= given.get("day", 1) <= 7 and 0 <= given.get("hour", 0) <= 23):
        raise refused("Invalid maintenance window: day must be between 1 and 7, hour between 0 and 23")


def _zones(settings: Body, place: Place) -> None:
    """Source: admin-api-error-messages, ERROR_GCE_ZONE_REGION and ERROR_UNRECOGNIZED_GCE_ZONE."""
    for key in ("zone", "secondaryZone"):
        zone = settings["locationPreference"].get(key)
        region, _, letter = (zone or "").rpartition("-")
        if zone and letter not in REGIONS.get(region, ""):
            raise errors.invalid("The request contains an unrecognized Compute Engine zone.")
        if zone and region != place.region:
            raise errors.invalid("The Compute Engine zone is in a different geographical region.")


def _insights(settings: Body, _: Place) -> None:
    """Source: `InsightsConfig` in the reference: 256 to 4500 bytes, 0 to 20 plans. No source for the words."""
    given = settings.get("insightsConfig", {})
    most = 1_048_576 if settings["edition"] == "ENTERPRISE_PLUS" else 4500
    if not 256 <= given.get("queryStringLength", 1024) <= most:
        raise refused(f"Query string length must be between 256 and {most}")
    if not 0 <= given.get("queryPlansPerMinute", 5) <= 200:
        raise refused("Query plans per minute must be between 0 and 200")


def _labels(settings: Body, _: Place) -> None:
    """Source: https://cloud.google.com/resource-manager/docs/labels-overview#requirements. No source for the words."""
    for key, value in settings.get("userLabels", {}).items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise refused(f"Invalid label: {key}={value}")


_RULES: tuple[Callable[[Body, Place], None], ...] = (
    _edition,
    _disk,
    _addresses,
    _backup_rules,
    _window,
    _zones,
    _insights,
    _labels,
)
