"""A VM of the emulated Google Cloud as the host agent on it sees it: its metadata server, a bucket, secrets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any

from google.cloud import compute_v1

from blocks.agent.config import AgentConfig
from blocks.agent.google.client import Client
from blocks.agent.google.objects import Objects
from blocks.agent.google.secret_manager import SecretManager
from blocks.gcp.bucket import BucketResource
from blocks.gcp.object_store import GcsObjectStore
from blocks.gcp.secret_store import GcpSecretStore
from blocks.resource import converge
from tests import google
from tests.emulator.accounts import email_of, put_account

STACK = "trial"
ZONE = f"{google.REGION}-b"
DEBIAN = "projects/debian-cloud/global/images/family/debian-12"


@dataclass(frozen=True)
class Vm:
    """The instance `host` with an account of its own, which may use the bucket and read the secrets."""

    project: google.Project
    account: str
    bucket: str

    @property
    def metadata(self) -> str:
        """What stands for the metadata server's address, as the emulator tells instances apart."""
        return f"{self.address}/metadata/projects/{self.project.id}/zones/{ZONE}/instances/host"

    @property
    def address(self) -> str:
        return self.project.address.removeprefix("http://")

    @cached_property
    def client(self) -> Client:
        """The agent's, which waits for nothing."""
        return Client(self.metadata, lambda _: None)

    @cached_property
    def objects(self) -> Objects:
        return Objects(self.client, self.bucket, f"{self.project.address}/storage")

    @cached_property
    def secret_manager(self) -> SecretManager:
        return SecretManager(self.client, self.project.id, f"{self.project.address}/secretmanager")

    @cached_property
    def store(self) -> GcsObjectStore:
        """The bucket as the launcher sees it."""
        return GcsObjectStore(self.project.seen_by(), STACK, self.bucket, google.REGION)

    @cached_property
    def secrets(self) -> GcpSecretStore:
        """The secrets as the launcher sees them."""
        return GcpSecretStore(self.project.seen_by(), STACK, google.REGION)

    def config(self, **fields: Any) -> AgentConfig:
        """How an agent on the VM is set up, with the emulator's addresses."""
        at = self.project.address
        return AgentConfig(
            manager="circus",
            bucket=self.bucket,
            project=self.project.id,
            metadata=self.metadata,
            storage=f"{at}/storage",
            secret_manager=f"{at}/secretmanager",
            **fields,
        )


def vm() -> Vm:
    """A VM with a bucket of its own. The machine is one for all tests of this process, with its project and secrets."""
    found = _booted()
    made = replace(found, bucket=f"{found.bucket}-{next(google.NUMBERS)}")
    _make_bucket(made)
    return made


@cache
def _booted() -> Vm:
    made = prepared(google.project())
    boot(made, "10.0.0.0/24")
    return made


def prepared(project: google.Project) -> Vm:
    """A VM in that project with its bucket, which has still to be booted."""
    owner = project.cloud.world.projects[project.id]
    account = str(put_account(project.cloud.world, owner, email_of(owner, "host")).body["email"])
    for role in ("roles/storage.objectUser", "roles/secretmanager.secretAccessor"):
        project.cloud.access.grant(f"projects/{project.id}", role, f"serviceAccount:{account}")
    made = Vm(project, account, f"{project.id}-objects")
    _make_bucket(made)
    return made


def _make_bucket(made: Vm) -> None:
    converge([BucketResource(made.project.seen_by(), STACK, made.bucket, google.REGION)])


def boot(made: Vm, hosts: str, script: str = "") -> None:
    """Make the instance, which runs the script as it boots."""
    seen, common = made.project.seen_by(), {"project": made.project.id}
    region, zone = {**common, "region": google.REGION}, {**common, "zone": ZONE}

    def insert(kind: str, operations: str, scope: dict[str, str], **resource: Any) -> None:
        done = seen.compute(kind).insert_unary(**scope, **resource)
        while done.status != compute_v1.Operation.Status.DONE:
            done = seen.compute(operations).wait(**scope, operation=done.name)
        assert not done.error.errors, done.error

    network = compute_v1.Network(name="vpc", auto_create_subnetworks=False)
    insert("Networks", "GlobalOperations", common, network_resource=network)
    subnetwork = compute_v1.Subnetwork(
        name="hosts", network="global/networks/vpc", ip_cidr_range=hosts, private_ip_google_access=True
    )
    insert("Subnetworks", "RegionOperations", region, subnetwork_resource=subnetwork)
    disk = compute_v1.AttachedDiskInitializeParams(source_image=DEBIAN)
    account = compute_v1.ServiceAccount(email=made.account, scopes=["https://www.googleapis.com/auth/cloud-platform"])
    items = [{"key": "startup-script", "value": script}] if script else []
    instance = compute_v1.Instance(
        name="host",
        machine_type=f"zones/{ZONE}/machineTypes/e2-medium",
        disks=[compute_v1.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
        network_interfaces=[compute_v1.NetworkInterface(subnetwork=f"regions/{google.REGION}/subnetworks/hosts")],
        service_accounts=[account],
        metadata=compute_v1.Metadata(items=items),
    )
    insert("Instances", "ZoneOperations", zone, instance_resource=instance)
