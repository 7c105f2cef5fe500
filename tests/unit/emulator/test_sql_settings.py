"""Editions, tiers, flags and the rules of settings, through google-api-python-client's v1beta4.

Sources: https://cloud.google.com/sql/docs/postgres/create-instance#machine-types, instance-settings, flags, and the
public issues that the emulator names at each rule.
"""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient.errors import HttpError

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import ENTERPRISE, Grpc, beta

Body = dict[str, Any]


@pytest.fixture
def instances(google: Emulated) -> Any:
    return beta(google).instances()


def made(google: Emulated, instances: Any, version: str = "POSTGRES_18", **settings: Any) -> Body:
    """The settings of a new instance as they are read back."""
    body = {"name": "db", "region": "europe-west1", "databaseVersion": version, "settings": settings}
    instances.insert(project=google.project, body=body).execute()
    read: Body = instances.get(project=google.project, instance="db").execute()["settings"]
    return read


def refusal(google: Emulated, instances: Any, version: str = "POSTGRES_18", **settings: Any) -> tuple[int, str, str]:
    """HTTP status, reason and message of a refused insert."""
    with pytest.raises(HttpError) as caught:
        made(google, instances, version, **settings)
    detail = caught.value.error_details[0]
    return caught.value.status_code, detail["reason"], detail["message"]


@pytest.mark.parametrize(("version", "edition"), [("POSTGRES_15", "ENTERPRISE"), ("POSTGRES_16", "ENTERPRISE_PLUS")])
def test_the_default_edition_goes_by_the_version(google: Emulated, instances: Any, version: str, edition: str) -> None:
    tier = {"ENTERPRISE": "db-f1-micro", "ENTERPRISE_PLUS": "db-perf-optimized-N-2"}[edition]
    assert made(google, instances, version, tier=tier)["edition"] == edition


def test_enterprise_plus_refuses_a_custom_tier(google: Emulated, instances: Any) -> None:
    assert refusal(google, instances, tier="db-custom-2-7680") == (
        400,
        "invalid",
        "Invalid request: Invalid Tier (db-custom-2-7680) for (ENTERPRISE_PLUS) Edition. Use a predefined Tier like "
        "db-perf-optimized-N-* instead. Learn more at "
        "https://cloud.google.com/sql/docs/postgres/create-instance#machine-types.",
    )


def test_enterprise_takes_it_with_postgres_18(google: Emulated, instances: Any) -> None:
    assert made(google, instances, **ENTERPRISE)["tier"] == "db-custom-2-7680"


@pytest.mark.parametrize("tier", ["db-f1-micro", "db-g1-small", "db-custom-1-3840", "db-custom-96-638976"])
def test_tiers_of_enterprise(google: Emulated, instances: Any, tier: str) -> None:
    assert made(google, instances, edition="ENTERPRISE", tier=tier)["tier"] == tier


@pytest.mark.parametrize(
    "tier",
    [
        "db-custom-3-7680",  # an odd number of cores
        "db-custom-98-400384",  # too many
        "db-custom-2-7681",  # no multiple of 256 MB
        "db-custom-1-3584",  # below 3.75 GB
        "db-custom-1-6912",  # above 6.5 GB for a core
        "db-custom-8-7168",  # below 0.9 GB for a core
        "db-perf-optimized-N-2",
        "db-standard-1",
    ],
)
def test_tiers_that_enterprise_refuses(google: Emulated, instances: Any, tier: str) -> None:
    code, reason, message = refusal(google, instances, edition="ENTERPRISE", tier=tier)
    assert (code, reason) == (400, "invalid")
    assert f"Invalid Tier ({tier}) for (ENTERPRISE) Edition" in message


def test_a_machine_type_of_compute_engine(google: Emulated, instances: Any) -> None:
    _, _, message = refusal(google, instances, edition="ENTERPRISE", tier="db-n1-standard-1")
    assert "Only custom or shared-core instance Billing Tier type allowed for PostgreSQL database" in message


@pytest.mark.parametrize(
    ("flag", "value"),
    [("max_connections", "200"), ("cloudsql.iam_authentication", "on"), ("log_min_duration_statement", "-1"),
     ("random_page_cost", "1.1"), ("log_statement", "ddl")],
)  # fmt: skip
def test_flags_within_their_range(google: Emulated, instances: Any, flag: str, value: str) -> None:
    flags = [{"name": flag, "value": value}]
    assert made(google, instances, **ENTERPRISE, databaseFlags=flags)["databaseFlags"] == flags


def test_a_flag_nobody_knows(google: Emulated, instances: Any) -> None:
    code, reason, message = refusal(google, instances, **ENTERPRISE, databaseFlags=[{"name": "fsync", "value": "off"}])
    assert (code, reason) == (404, "invalidFlagName")
    assert message == "The requested flag is either misspelled or unsupported by Cloud SQL."


@pytest.mark.parametrize(
    ("flag", "value"), [("max_connections", "10"), ("log_statement", "ALL"), ("jit", "true"), ("work_mem", "4MB")]
)
def test_a_value_outside_the_flag(google: Emulated, instances: Any, flag: str, value: str) -> None:
    code, reason, message = refusal(google, instances, **ENTERPRISE, databaseFlags=[{"name": flag, "value": value}])
    assert (code, reason) == (400, "invalidFlagValue")
    assert message.startswith(f"Value requested is not valid. Failed to set {flag}: {value} was not")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dataDiskSizeGb": "9"}, "Invalid disk size"),
        ({"backupConfiguration": {"transactionLogRetentionDays": 8}}, "must be between 1 and 7"),
        ({"backupConfiguration": {"pointInTimeRecoveryEnabled": True}}, "requires backups to be enabled"),
        ({"backupConfiguration": {"enabled": True, "startTime": "24:00"}}, "Invalid backup start time"),
        ({"maintenanceWindow": {"day": 8, "hour": 3}}, "Invalid maintenance window"),
        ({"locationPreference": {"zone": "us-central1-a"}}, "different geographical region"),
        ({"locationPreference": {"zone": "europe-west1-z"}}, "unrecognized Compute Engine zone"),
        ({"ipConfiguration": {"authorizedNetworks": [{"value": "2001:db8::/32"}]}}, "doesn't support IPv6"),
        ({"ipConfiguration": {"ipv4Enabled": False}}, "must be enabled"),
        ({"insightsConfig": {"queryStringLength": 100}}, "Query string length"),
        ({"userLabels": {"Stack": "prod"}}, "Invalid label"),
    ],
)
def test_settings_that_are_refused(google: Emulated, instances: Any, settings: Body, words: str) -> None:
    code, _, message = refusal(google, instances, **ENTERPRISE, **settings)
    assert (code, words in message) == (400, True), message


def test_more_days_of_logs_on_enterprise_plus(google: Emulated, instances: Any) -> None:
    backups = {"enabled": True, "pointInTimeRecoveryEnabled": True, "transactionLogRetentionDays": 35}
    read = made(google, instances, tier="db-perf-optimized-N-2", backupConfiguration=backups)["backupConfiguration"]
    assert (read["transactionLogRetentionDays"], read["backupRetentionSettings"]["retainedBackups"]) == (35, 15)


@pytest.mark.parametrize(
    "settings",
    [{"passwordValidationPolicy": {"minLength": 12, "enablePasswordPolicy": True}},
     {"ipConfiguration": {"pscConfig": {"pscEnabled": True}}}, {"edition": "DEVELOPER"}],
)  # fmt: skip
def test_settings_that_are_not_emulated_say_so(google: Emulated, instances: Any, settings: Body) -> None:
    code, reason, message = refusal(google, instances, **{**ENTERPRISE, **settings})
    assert (code, reason) == (501, "notImplemented")
    assert "is not emulated" in message


def test_a_missing_region_or_version(google: Emulated, instances: Any) -> None:
    body = {"name": "db", "region": "mars-north1", "databaseVersion": "POSTGRES_18", "settings": ENTERPRISE}
    with pytest.raises(HttpError, match="Invalid value for region: mars-north1"):
        instances.insert(project=google.project, body=body).execute()
    with pytest.raises(HttpError, match="databaseVersion MYSQL_8_0 is not emulated"):
        instances.insert(project=google.project, body={"name": "db", "settings": ENTERPRISE}).execute()


def test_a_field_the_schema_does_not_know(google: Emulated, instances: Any) -> None:
    with pytest.raises(HttpError, match=r'Unknown name "tires" at .settings.: Cannot find field'):
        made(google, instances, tires="db-f1-micro")


def test_lists_of_flags_and_tiers(google: Emulated) -> None:
    sql = Grpc(google)
    flags = {each.name: each for each in sql.flags.list(request={"database_version": "POSTGRES_18"}).items}
    assert (flags["max_connections"].min_value, flags["max_connections"].requires_restart) == (14, True)
    assert not sql.flags.list(request={"database_version": "MYSQL_8_0"}).items
    tiers = {each.tier: each for each in sql.tiers.list(request={"project": google.project}).items}
    assert tiers["db-perf-optimized-N-2"].RAM == 16 * 2**30
    assert "europe-west1" in tiers["db-f1-micro"].region


def test_numbers_come_back_as_the_api_writes_them(google: Emulated, instances: Any) -> None:
    backups = {"enabled": True, "transactionLogRetentionDays": "5"}
    read = made(google, instances, **ENTERPRISE, dataDiskSizeGb=20, backupConfiguration=backups)
    assert (read["dataDiskSizeGb"], read["backupConfiguration"]["transactionLogRetentionDays"]) == ("20", 5)


def test_a_null_in_a_patch_takes_away(google: Emulated, instances: Any) -> None:
    made(google, instances, **ENTERPRISE, userLabels={"stack": "prod", "team": "data"})
    body = {"settings": {"userLabels": {"team": None, "other": None}, "databaseFlags": [None]}}
    instances.patch(project=google.project, instance="db", body=body).execute()
    read = instances.get(project=google.project, instance="db").execute()["settings"]
    assert (read["userLabels"], read["databaseFlags"]) == ({"stack": "prod"}, [])
