"""All that the notes deploy, made with the official clients in one project and taken down again.

What each call must look like is in the reference of its service; the order is the one in which a person would work:
https://cloud.google.com/run/docs/configuring/vpc-direct-vpc, https://cloud.google.com/sql/docs/postgres/configure-private-services-access
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import artifactregistry_v1, compute_v1, run_v2, secretmanager_v1, storage
from google.iam.v1 import policy_pb2
from googleapiclient import discovery

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc

REGION, ZONE = "europe-west1", "europe-west1-b"
SERVICES = ("compute", "sqladmin", "run", "artifactregistry", "secretmanager", "iam", "servicenetworking")


class Target:
    """The clients of one project, and what is made with them."""

    def __init__(self, google: Emulated) -> None:
        self.google, self.project = google, google.project
        self.place = f"projects/{self.project}/locations/{REGION}"
        self.network = f"projects/{self.project}/global/networks/prefect"
        self.subnetwork = f"projects/{self.project}/regions/{REGION}/subnetworks/prefect"
        self.account = f"prefect-vm@{self.project}.iam.gserviceaccount.com"

    def compute(self, client: str) -> Any:
        options = self.google.options("compute")
        return getattr(compute_v1, f"{client}Client")(credentials=self.google.credentials, client_options=options)

    def rest(self, client: Any, service: str) -> Any:
        options = self.google.options(service)
        return client(credentials=self.google.credentials, client_options=options, transport="rest")

    def api(self, service: str, version: str) -> Any:
        return discovery.build(
            service,
            version,
            credentials=self.google.credentials,
            client_options=self.google.options(service),
            static_discovery=True,
        )

    def enable(self) -> None:
        body = {"serviceIds": [f"{name}.googleapis.com" for name in SERVICES]}
        usage = self.api("serviceusage", "v1")
        usage.services().batchEnable(parent=f"projects/{self.project}", body=body).execute()

    def make_network(self) -> None:
        network = compute_v1.Network(name="prefect", auto_create_subnetworks=False)
        self.compute("Networks").insert_unary(project=self.project, network_resource=network)
        subnetwork = compute_v1.Subnetwork(
            name="prefect", network=self.network, ip_cidr_range="10.10.0.0/24", private_ip_google_access=True
        )
        self.compute("Subnetworks").insert_unary(project=self.project, region=REGION, subnetwork_resource=subnetwork)
        nat = compute_v1.RouterNat(
            name="nat",
            nat_ip_allocate_option="AUTO_ONLY",
            source_subnetwork_ip_ranges_to_nat="ALL_SUBNETWORKS_ALL_IP_RANGES",
        )
        router = compute_v1.Router(name="prefect", network=self.network, nats=[nat])
        self.compute("Routers").insert_unary(project=self.project, region=REGION, router_resource=router)
        firewall = compute_v1.Firewall(
            name="proxy-to-server",
            network=self.network,
            source_ranges=["10.10.0.0/24"],
            target_tags=["prefect-server"],
            allowed=[compute_v1.Allowed(I_p_protocol="tcp", ports=["4200"])],
        )
        self.compute("Firewalls").insert_unary(project=self.project, firewall_resource=firewall)

    def connect_services(self) -> None:
        reserved = compute_v1.Address(
            name="services", network=self.network, purpose="VPC_PEERING", address_type="INTERNAL", prefix_length=16
        )
        self.compute("GlobalAddresses").insert_unary(project=self.project, address_resource=reserved)
        number = self.google.cloud.world.projects[self.project].number
        body = {"network": f"projects/{number}/global/networks/prefect", "reservedPeeringRanges": ["services"]}
        connections = self.api("servicenetworking", "v1").services().connections()
        connections.create(parent="services/servicenetworking.googleapis.com", body=body).execute()

    def make_database(self) -> str:
        """The private address of a Cloud SQL as in the notes."""
        sql = Grpc(self.google)
        settings = {
            "tier": "db-custom-2-7680",
            "edition": "ENTERPRISE",
            "ip_configuration": {"ipv4_enabled": False, "private_network": self.network},
            "backup_configuration": {"enabled": True, "point_in_time_recovery_enabled": True},
        }
        body = {"name": "prefect", "region": REGION, "database_version": "POSTGRES_18", "settings": settings}
        sql.instances.insert(request={"project": self.project, "body": body})
        named = {"project": self.project, "instance": "prefect"}
        sql.databases.insert(request={**named, "body": {"name": "prefect-db"}})
        sql.users.insert(request={**named, "body": {"name": "prefect", "password": "not-shown"}})
        (address,) = sql.instances.get(request=named).ip_addresses
        return str(address.ip_address)

    def make_store_and_secret(self) -> None:
        client = storage.Client(
            project=self.project, credentials=self.google.credentials, client_options=self.google.options("storage")
        )
        bucket = client.create_bucket(f"{self.project}-store", location=REGION)
        bucket.blob("sha256/00").upload_from_string(b"a wheel", if_generation_match=0)
        secrets = self.rest(secretmanager_v1.SecretManagerServiceClient, "secretmanager")
        secret = {"replication": {"automatic": {}}}
        made = secrets.create_secret(parent=f"projects/{self.project}", secret_id="auth-string", secret=secret)
        secrets.add_secret_version(parent=made.name, payload={"data": b"admin:generated"})

    def make_account(self) -> None:
        accounts = self.api("iam", "v1").projects().serviceAccounts()
        accounts.create(name=f"projects/{self.project}", body={"accountId": "prefect-vm"}).execute()
        secrets = self.rest(secretmanager_v1.SecretManagerServiceClient, "secretmanager")
        reader = policy_pb2.Binding(
            role="roles/secretmanager.secretAccessor", members=[f"serviceAccount:{self.account}"]
        )
        secret = f"projects/{self.project}/secrets/auth-string"
        secrets.set_iam_policy(request={"resource": secret, "policy": policy_pb2.Policy(bindings=[reader])})

    def make_machine(self) -> None:
        disk = compute_v1.AttachedDisk(
            boot=True,
            auto_delete=True,
            initialize_params=compute_v1.AttachedDiskInitializeParams(
                source_image="projects/debian-cloud/global/images/family/debian-12", disk_size_gb=10
            ),
        )
        instance = compute_v1.Instance(
            name="prefect",
            machine_type=f"zones/{ZONE}/machineTypes/e2-medium",
            disks=[disk],
            network_interfaces=[compute_v1.NetworkInterface(subnetwork=self.subnetwork)],
            service_accounts=[
                compute_v1.ServiceAccount(email=self.account, scopes=["https://www.googleapis.com/auth/cloud-platform"])
            ],
            tags=compute_v1.Tags(items=["prefect-server"]),
            metadata=compute_v1.Metadata(items=[compute_v1.Items(key="startup-script", value="#!/bin/sh\n")]),
        )
        self.compute("Instances").insert_unary(project=self.project, zone=ZONE, instance_resource=instance)

    def make_front_door(self) -> run_v2.Service:
        registry = self.rest(artifactregistry_v1.ArtifactRegistryClient, "artifactregistry")
        repository = artifactregistry_v1.Repository(format_="DOCKER")
        registry.create_repository(parent=self.place, repository_id="images", repository=repository).result()
        image = f"{REGION}-docker.pkg.dev/{self.project}/images/front-door:1"
        self.google.http().post("/_emulator/images", json={"image": image}).raise_for_status()
        interface = run_v2.VpcAccess.NetworkInterface(network=self.network, subnetwork=self.subnetwork)
        template = run_v2.RevisionTemplate(
            containers=[run_v2.Container(image=image, ports=[run_v2.ContainerPort(container_port=80)])],
            vpc_access=run_v2.VpcAccess(egress="PRIVATE_RANGES_ONLY", network_interfaces=[interface]),
            timeout={"seconds": 3600},
        )
        services = self.rest(run_v2.ServicesClient, "run")
        service = run_v2.Service(template=template, ingress="INGRESS_TRAFFIC_ALL")
        services.create_service(parent=self.place, service_id="prefect", service=service).result()
        name = f"{self.place}/services/prefect"
        everybody = policy_pb2.Binding(role="roles/run.invoker", members=["allUsers"])
        services.set_iam_policy(request={"resource": name, "policy": policy_pb2.Policy(bindings=[everybody])})
        made: run_v2.Service = services.get_service(name=name)
        return made

    def make(self) -> tuple[str, run_v2.Service]:
        self.enable()
        self.make_network()
        self.connect_services()
        address = self.make_database()
        self.make_store_and_secret()
        self.make_account()
        self.make_machine()
        return address, self.make_front_door()

    def take_down(self) -> None:
        """What needs others goes before them."""
        self.rest(run_v2.ServicesClient, "run").delete_service(name=f"{self.place}/services/prefect").result()
        self.compute("Instances").delete_unary(project=self.project, zone=ZONE, instance="prefect")
        Grpc(self.google).instances.delete(request={"project": self.project, "instance": "prefect"})
        connections = self.api("servicenetworking", "v1").services().connections()
        number = self.google.cloud.world.projects[self.project].number
        body = {"consumerNetwork": f"projects/{number}/global/networks/prefect"}
        name = "services/servicenetworking.googleapis.com/connections/servicenetworking-googleapis-com"
        connections.deleteConnection(name=name, body=body).execute()
        self.compute("GlobalAddresses").delete_unary(project=self.project, address="services")
        self.compute("Firewalls").delete_unary(project=self.project, firewall="proxy-to-server")
        self.compute("Routers").delete_unary(project=self.project, region=REGION, router="prefect")
        self.compute("Subnetworks").delete_unary(project=self.project, region=REGION, subnetwork="prefect")
        self.compute("Networks").delete_unary(project=self.project, network="prefect")


@pytest.fixture
def target(google: Emulated) -> Target:
    return Target(google)


def test_all_of_it_is_made_and_taken_down(target: Target) -> None:
    address, front_door = target.make()
    assert address.startswith("10.")
    assert front_door.terminal_condition.state == run_v2.Condition.State.CONDITION_SUCCEEDED
    instance = target.compute("Instances").get(project=target.project, zone=ZONE, instance="prefect")
    assert (instance.status, list(instance.network_interfaces[0].access_configs)) == ("RUNNING", [])
    target.take_down()
    with pytest.raises(NotFound):
        target.compute("Networks").get(project=target.project, network="prefect")


def test_what_others_need_stays(target: Target) -> None:
    target.make()
    with pytest.raises(BadRequest, match="is already being used by"):
        target.compute("Subnetworks").delete_unary(project=target.project, region=REGION, subnetwork="prefect")
    operation = target.compute("Networks").delete_unary(project=target.project, network="prefect")
    assert [each.code for each in operation.error.errors] == ["RESOURCE_IN_USE_BY_ANOTHER_RESOURCE"]
