"""Quotas: what a project may have of each thing, and the refusal of more.

Sources: https://cloud.google.com/compute/resource-usage, https://cloud.google.com/iam/quotas#limits; the words:
mesosphere-backup/terraform-dcos#61 and openshift-evangelists/openshifter#15
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.api_core.exceptions import Forbidden, TooManyRequests
from google.cloud import compute_v1, run_v2

from tests.emulator import quotas
from tests.emulator.world import Record
from tests.unit.emulator.api_clients import account, iam, refused
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import REGION, ZONE, Machines
from tests.unit.emulator.run_clients import services_of, template
from tests.unit.emulator.sql import Grpc, beta


def lowered(google: Emulated, metric: str, limit: float, **more: str) -> None:
    body = {"project": google.project, "metric": metric, "limit": limit, **more}
    google.http().post("/_emulator/quotas", json=body).raise_for_status()


def make_network(google: Emulated, name: str) -> compute_v1.Operation:
    networks = compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))
    body = compute_v1.Network(name=name, auto_create_subnetworks=False)
    started = networks.insert_unary(project=google.project, network_resource=body)
    operations = compute_v1.GlobalOperationsClient(
        credentials=google.credentials, client_options=google.options("compute")
    )
    return operations.get(project=google.project, operation=started.name)


def test_a_sixth_network_fails_and_leaves_nothing(google: Emulated) -> None:
    """Source of the 5: `gcloud compute project-info describe` of new projects in public repositories."""
    for number in range(5):
        assert not make_network(google, f"network-{number}").error.errors
    failed = make_network(google, "network-5")
    [error] = failed.error.errors
    assert (error.code, error.message) == ("QUOTA_EXCEEDED", "Quota 'NETWORKS' exceeded.  Limit: 5.0 globally.")
    assert failed.http_error_status_code == 403
    networks = compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))
    assert len(list(networks.list(project=google.project))) == 5


def test_another_limit_is_in_force_in_one_project(google: Emulated) -> None:
    lowered(google, "NETWORKS", 0)
    assert make_network(google, "one").error.errors
    lowered(google, "NETWORKS", 1)
    assert not make_network(google, "one").error.errors


def test_disks_are_refused_at_once_in_the_region_where_they_are_too_many(google: Emulated) -> None:
    disks = compute_v1.DisksClient(credentials=google.credentials, client_options=google.options("compute"))

    def make(name: str, zone: str, gigabytes: int) -> None:
        kind = f"zones/{zone}/diskTypes/pd-ssd"
        body = compute_v1.Disk(name=name, size_gb=gigabytes, type_=kind)
        disks.insert_unary(project=google.project, zone=zone, disk_resource=body)

    lowered(google, "SSD_TOTAL_GB", 100, region="europe-west1")
    make("one", "europe-west1-b", 60)
    with pytest.raises(Forbidden) as caught:
        make("two", "europe-west1-c", 60)
    assert caught.value.errors[0]["reason"] == "quotaExceeded"
    assert "Quota 'SSD_TOTAL_GB' exceeded.  Limit: 100.0 in region europe-west1." in caught.value.message
    make("two", "us-central1-a", 60)
    make("three", "europe-west1-c", 40)


def test_an_instance_beyond_the_cpus_of_its_region_fails_and_a_stopped_one_takes_none(google: Emulated) -> None:
    """Source: mesosphere-backup/terraform-dcos#61; https://cloud.google.com/compute/resource-usage#cpu_quota"""
    machines = Machines(google).prepare()
    lowered(google, "CPUS", 4, region=REGION)

    def insert(name: str) -> list[str]:
        started = machines.insert(name, machine_type=f"zones/{ZONE}/machineTypes/e2-standard-4")
        done = machines.operations.wait(operation=started.name, **machines.zone)
        return [each.message for each in done.error.errors]

    assert insert("one") == []
    assert insert("two") == [f"Quota 'CPUS' exceeded.  Limit: 4.0 in region {REGION}."]
    machines.instances.stop_unary(instance="one", **machines.zone)
    assert insert("two") == []
    assert {each.name for each in machines.instances.list(**machines.zone)} == {"one", "two"}


def test_a_project_has_at_most_100_service_accounts(google: Emulated) -> None:
    lowered(google, "iam.serviceAccounts", 2)
    account(google, "worker-1")
    accounts = iam(google).projects().serviceAccounts()
    error = refused(accounts.create(name=f"projects/{google.project}", body={"accountId": "worker-2"}))
    assert (error.status_code, error.reason) == (429, "Maximum number of service accounts on project reached.")
    assert quotas.QUOTAS["iam.serviceAccounts"].limit == 100


def test_an_instance_of_cloud_sql_beyond_the_project_s_limit(google: Emulated) -> None:
    """Source: hashicorp/terraform-provider-google#15337; a clone is an instance too."""
    sql = Grpc(google)
    sql.made()
    lowered(google, "sql.instances", 1)
    words = "Failed to create instance because the project has reached the max instance per project limit."
    with pytest.raises(Forbidden, match=re.escape(words)):
        sql.made("two")
    context = {"cloneContext": {"destinationInstanceName": "two"}}
    error = refused(beta(google).instances().clone(project=google.project, instance="db", body=context))
    assert (error.status_code, error.error_details[0]["reason"]) == (403, "errorMaxInstancePerLabel")
    lowered(google, "sql.instances", 2)
    assert sql.made("two").state.name == "RUNNABLE"


def test_a_service_of_cloud_run_beyond_the_limit_of_its_region(google: Emulated) -> None:
    lowered(google, "run.services", 1, region="us-central1")
    services, service = services_of(google), run_v2.Service(template=template())
    regions = {name: f"projects/{google.project}/locations/{name}" for name in ("us-central1", "europe-west1")}
    services.create_service(parent=regions["us-central1"], service=service, service_id="one").result(timeout=5)
    with pytest.raises(TooManyRequests, match="Quota exceeded for services of Cloud Run in region us-central1"):
        services.create_service(parent=regions["us-central1"], service=service, service_id="two")
    services.create_service(parent=regions["europe-west1"], service=service, service_id="two").result(timeout=5)


def test_a_limit_that_there_is_not_is_refused(google: Emulated) -> None:
    for wrong in ({"metric": "WISHES"}, {"metric": "CPUS"}, {"metric": "NETWORKS", "region": "us-central1"}):
        answer = google.http().post("/_emulator/quotas", json={"project": google.project, "limit": 1} | wrong)
        assert answer.status_code == 400


@pytest.mark.parametrize(
    ("collection", "body", "wanted"),
    [
        ("compute.instances", {"machineType": "zones/z/machineTypes/e2-small"}, {"CPUS": 2, "CPUS_ALL_REGIONS": 2}),
        ("compute.instances", {"machineType": "zones/z/machineTypes/f1-micro"}, {"CPUS": 1, "CPUS_ALL_REGIONS": 1}),
        (
            "compute.instances",
            {"machineType": "zones/z/machineTypes/e2-standard-8"},
            {"CPUS": 8, "CPUS_ALL_REGIONS": 8},
        ),
        (
            "compute.instances",
            {"machineType": "zones/z/machineTypes/custom-6-8192"},
            {"CPUS": 6, "CPUS_ALL_REGIONS": 6},
        ),
        ("compute.instances", {"machineType": "zones/z/machineTypes/n2-standard-8"}, {}),
        ("compute.instances", {"machineType": "zones/z/machineTypes/e2-small", "status": "TERMINATED"}, {}),
        ("compute.disks", {"type": "zones/z/diskTypes/pd-balanced", "sizeGb": "20"}, {"SSD_TOTAL_GB": 20}),
        ("compute.disks", {"type": "zones/z/diskTypes/pd-standard", "sizeGb": "20"}, {"DISKS_TOTAL_GB": 20}),
        ("compute.addresses", {"addressType": "EXTERNAL"}, {"STATIC_ADDRESSES": 1}),
        ("compute.addresses", {"addressType": "INTERNAL"}, {}),
        ("compute.globalAddresses", {"addressType": "INTERNAL"}, {"GLOBAL_INTERNAL_ADDRESSES": 1}),
        ("secretmanager.projects.secrets", {}, {}),
    ],
)
def test_what_a_resource_counts_for(collection: str, body: dict[str, Any], wanted: dict[str, float]) -> None:
    assert quotas.demand(Record("compute/projects/p/zones/z/x/y", collection, body)) == wanted


def test_usage_is_what_there_is(google: Emulated) -> None:
    make_network(google, "one")
    project = google.cloud.world.projects[google.project]
    told = {each["metric"]: (each["usage"], each["limit"]) for each in quotas.shown(google.cloud, project)}
    assert (told["NETWORKS"], told["FIREWALLS"]) == ((1, 5), (0, 100))
    assert {each["metric"] for each in quotas.shown(google.cloud, project, "us-central1")} == {
        "CPUS",
        "STATIC_ADDRESSES",
        "DISKS_TOTAL_GB",
        "SSD_TOTAL_GB",
    }
