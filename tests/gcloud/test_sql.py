"""Cloud SQL. Source: https://cloud.google.com/sdk/gcloud/reference/sql

`gcloud services vpc-peerings` takes no other address for its API (version 528) and insists on TLS, so connections are
made by a Python client here. That version knows PostgreSQL up to 17.
"""

from __future__ import annotations

import pytest

from tests.gcloud.conftest import Gcloud, Refused
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc, connected, network_with_range

MADE = ("--database-version=POSTGRES_17", "--edition=enterprise", "--tier=db-custom-2-7680", "--region=europe-west1")


def python(gcloud: Gcloud) -> Grpc:
    """google.cloud.sqladmin_v1 in the same project."""
    return Grpc(Emulated(gcloud.cloud, gcloud.address, gcloud.project, ""))


def test_an_instance_from_making_to_deleting(gcloud: Gcloud) -> None:
    sql = ("sql", "instances")
    gcloud(*sql, "create", "db", *MADE, "--backup-start-time=03:00", "--enable-point-in-time-recovery",
           "--deletion-protection", "--storage-size=20", "--database-flags=max_connections=200",
           "--maintenance-window-day=SUN", "--maintenance-window-hour=3", "--ssl-mode=ENCRYPTED_ONLY")  # fmt: skip
    read = python(gcloud).read().settings
    assert read.backup_configuration.point_in_time_recovery_enabled
    assert [(each.name, each.value) for each in read.database_flags] == [("max_connections", "200")]
    assert (read.ip_configuration.ssl_mode.name, read.maintenance_window.hour) == ("ENCRYPTED_ONLY", 3)
    gcloud(*sql, "patch", "db", "--tier=db-custom-4-15360")
    assert [each["settings"]["tier"] for each in gcloud(*sql, "list")] == ["db-custom-4-15360"]
    with pytest.raises(Refused, match=r"The instance is protected\. Please disable the deletion protection"):
        gcloud(*sql, "delete", "db")
    gcloud(*sql, "patch", "db", "--no-deletion-protection")
    gcloud(*sql, "restart", "db")
    gcloud(*sql, "delete", "db")
    with pytest.raises(Refused, match="The Cloud SQL instance does not exist"):
        gcloud(*sql, "describe", "db")


def test_databases_and_users(gcloud: Gcloud) -> None:
    sql = python(gcloud)
    sql.made()
    gcloud("sql", "databases", "create", "prefect", "--instance=db")
    assert sql.databases.get(request=of(gcloud, database="prefect")).charset == "UTF8"
    sql.databases.insert(request=of(gcloud, body={"name": "made"}))
    assert gcloud("sql", "databases", "describe", "made", "--instance=db")["charset"] == "UTF8"
    listed = gcloud("sql", "databases", "list", "--instance=db")
    assert [each["name"] for each in listed] == ["made", "postgres", "prefect"]
    gcloud("sql", "databases", "delete", "prefect", "--instance=db")
    with pytest.raises(Refused, match="Not Found"):
        gcloud("sql", "databases", "delete", "prefect", "--instance=db")
    sql.users.insert(request=of(gcloud, body={"name": "prefect", "password": "one"}))
    gcloud("sql", "users", "set-password", "prefect", "--instance=db", "--password=two")
    gcloud("sql", "users", "create", "reader", "--instance=db", "--password=three")
    assert sql.users.get(request=of(gcloud, name="reader")).name == "reader"
    listed = gcloud("sql", "users", "list", "--instance=db")
    assert [each["name"] for each in listed] == ["postgres", "prefect", "reader"]
    with pytest.raises(Refused, match="already exists"):
        gcloud("sql", "users", "create", "reader", "--instance=db", "--password=three")
    gcloud("sql", "users", "delete", "prefect", "--instance=db")
    assert [each.name for each in sql.users.list(request=of(gcloud)).items] == ["postgres", "reader"]


def of(gcloud: Gcloud, **more: object) -> dict[str, object]:
    return {"project": gcloud.project, "instance": "db", **more}


def test_backups_restores_and_clones(gcloud: Gcloud) -> None:
    sql = python(gcloud)
    sql.made()
    gcloud("sql", "backups", "create", "--instance=db", "--description=before")
    (run,) = gcloud("sql", "backups", "list", "--instance=db")
    assert (run["status"], run["description"]) == ("SUCCESSFUL", "before")
    assert sql.runs.get(request=of(gcloud, id=int(run["id"]))).description == "before"
    sql.runs.insert(request=of(gcloud, body={"description": "by Python"}))
    made = max(int(each.id) for each in sql.runs.list(request=of(gcloud)).items)
    assert gcloud("sql", "backups", "describe", str(made), "--instance=db")["description"] == "by Python"
    with pytest.raises(Refused, match="The backup run does not exist"):
        gcloud("sql", "backups", "describe", "1", "--instance=db")
    sql.databases.insert(request=of(gcloud, body={"name": "later"}))
    gcloud("sql", "backups", "restore", run["id"], "--restore-instance=db")
    assert [each.name for each in sql.databases.list(request=of(gcloud)).items] == ["postgres"]
    gcloud("sql", "instances", "clone", "db", "copy")
    assert sql.read("copy").state.name == "RUNNABLE"
    assert gcloud("sql", "instances", "describe", "db")["state"] == "RUNNABLE"
    operations = gcloud("sql", "operations", "list", "--instance=db")
    kinds = {each["operationType"] for each in operations}
    assert kinds == {"CREATE", "BACKUP_VOLUME", "CREATE_DATABASE", "RESTORE_VOLUME"}
    assert gcloud("sql", "operations", "describe", operations[0]["name"])["status"] == "DONE"
    gcloud("sql", "backups", "delete", run["id"], "--instance=db")
    assert [int(each.id) for each in sql.runs.list(request=of(gcloud)).items] == [made]


def test_a_dump_goes_out_and_comes_in(gcloud: Gcloud) -> None:
    sql = python(gcloud)
    account = sql.made().service_account_email_address
    bucket = f"gs://{gcloud.project}-dumps"
    gcloud("storage", "buckets", "create", bucket, "--uniform-bucket-level-access")
    export = ("sql", "export", "sql", "db", f"{bucket}/one.sql", "--database=postgres")
    with pytest.raises(Refused, match="The service account does not have the required permissions for the bucket"):
        gcloud(*export)
    member = f"--member=serviceAccount:{account}"
    gcloud("storage", "buckets", "add-iam-policy-binding", bucket, member, "--role=roles/storage.objectAdmin")
    gcloud(*export)
    gcloud("sql", "import", "sql", "db", f"{bucket}/one.sql", "--database=postgres")
    newest = gcloud("sql", "operations", "list", "--instance=db", "--limit=2")
    assert [(each["operationType"], "error" in each) for each in newest] == [("IMPORT", False), ("EXPORT", False)]


def test_an_instance_with_a_private_address(gcloud: Gcloud) -> None:
    google = Emulated(gcloud.cloud, gcloud.address, gcloud.project, "")
    network = network_with_range(google)
    create = ("sql", "instances", "create", "db", *MADE, "--no-assign-ip", f"--network={network}")
    with pytest.raises(Refused, match=r"Incorrect Service Networking config for instance: .*:db:NETWORK_NOT_PEERED"):
        gcloud(*create)
    connected(google, network)
    assert [each["type"] for each in gcloud(*create)["ipAddresses"]] == ["PRIVATE"]
    (peered,) = gcloud("compute", "networks", "peerings", "list", "--network=main")
    assert [each["name"] for each in peered["peerings"]] == ["servicenetworking-googleapis-com"]


def test_flags_and_tiers(gcloud: Gcloud) -> None:
    flags = gcloud("sql", "flags", "list", "--database-version=POSTGRES_17")
    assert "max_connections" in {each["name"] for each in flags}
    assert "db-perf-optimized-N-2" in {each["tier"] for each in gcloud("sql", "tiers", "list")}


def test_server_certificate_authorities_are_rotated_and_rolled_back(gcloud: Gcloud) -> None:
    cas, instance = ("sql", "ssl", "server-ca-certs"), "--instance=db"
    sql = python(gcloud)
    first = sql.made().server_ca_cert.sha1_fingerprint
    second = gcloud(*cas, "create", instance)["sha1Fingerprint"]
    gcloud(*cas, "rotate", instance)
    assert sql.read().server_ca_cert.sha1_fingerprint == second
    gcloud(*cas, "rollback", instance)
    assert sql.read().server_ca_cert.sha1_fingerprint == first
