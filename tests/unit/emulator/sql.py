"""Clients of Cloud SQL for the tests: gRPC for v1, google-api-python-client for v1beta4 and Service Networking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import grpc
from google.cloud import compute_v1, sqladmin_v1
from google.cloud.sqladmin_v1.services.sql_backup_runs_service.transports import SqlBackupRunsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_backups_service.transports import SqlBackupsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_connect_service.transports import SqlConnectServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_databases_service.transports import SqlDatabasesServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_flags_service.transports import SqlFlagsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_instances_service.transports import SqlInstancesServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_operations_service.transports import SqlOperationsServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_tiers_service.transports import SqlTiersServiceGrpcTransport
from google.cloud.sqladmin_v1.services.sql_users_service.transports import SqlUsersServiceGrpcTransport
from googleapiclient import discovery

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import OWNER
from tests.unit.emulator.conftest import Emulated

ENTERPRISE = {"edition": "ENTERPRISE", "tier": "db-custom-2-7680"}


class Bearer(grpc.UnaryUnaryClientInterceptor):
    """Puts a fresh token on each call of a channel that has no credentials: virtual time may have passed."""

    def __init__(self, google: Emulated, member: str) -> None:
        self.google, self.member = google, member

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        token = self.google.cloud.access.mint(self.member)
        metadata = [*(details.metadata or ()), ("authorization", f"Bearer {token}")]
        return continuation(details._replace(metadata=metadata), request)


@dataclass(frozen=True)
class Grpc:
    """The clients of google.cloud.sqladmin_v1 in one project, for one principal."""

    google: Emulated
    member: str = OWNER

    @cached_property
    def channel(self) -> grpc.Channel:
        plain = grpc.insecure_channel(self.google.sqladmin_grpc)
        return grpc.intercept_channel(plain, Bearer(self.google, self.member))

    @cached_property
    def instances(self) -> sqladmin_v1.SqlInstancesServiceClient:
        return sqladmin_v1.SqlInstancesServiceClient(transport=SqlInstancesServiceGrpcTransport(channel=self.channel))

    @cached_property
    def databases(self) -> sqladmin_v1.SqlDatabasesServiceClient:
        return sqladmin_v1.SqlDatabasesServiceClient(transport=SqlDatabasesServiceGrpcTransport(channel=self.channel))

    @cached_property
    def users(self) -> sqladmin_v1.SqlUsersServiceClient:
        return sqladmin_v1.SqlUsersServiceClient(transport=SqlUsersServiceGrpcTransport(channel=self.channel))

    @cached_property
    def runs(self) -> sqladmin_v1.SqlBackupRunsServiceClient:
        return sqladmin_v1.SqlBackupRunsServiceClient(transport=SqlBackupRunsServiceGrpcTransport(channel=self.channel))

    @cached_property
    def backups(self) -> sqladmin_v1.SqlBackupsServiceClient:
        return sqladmin_v1.SqlBackupsServiceClient(transport=SqlBackupsServiceGrpcTransport(channel=self.channel))

    @cached_property
    def operations(self) -> sqladmin_v1.SqlOperationsServiceClient:
        return sqladmin_v1.SqlOperationsServiceClient(transport=SqlOperationsServiceGrpcTransport(channel=self.channel))

    @cached_property
    def connect(self) -> sqladmin_v1.SqlConnectServiceClient:
        return sqladmin_v1.SqlConnectServiceClient(transport=SqlConnectServiceGrpcTransport(channel=self.channel))

    @cached_property
    def flags(self) -> sqladmin_v1.SqlFlagsServiceClient:
        return sqladmin_v1.SqlFlagsServiceClient(transport=SqlFlagsServiceGrpcTransport(channel=self.channel))

    @cached_property
    def tiers(self) -> sqladmin_v1.SqlTiersServiceClient:
        return sqladmin_v1.SqlTiersServiceClient(transport=SqlTiersServiceGrpcTransport(channel=self.channel))

    def made(self, name: str = "db", **settings: Any) -> sqladmin_v1.DatabaseInstance:
        """A new instance of PostgreSQL 18, Enterprise."""
        body = {"name": name, "database_version": "POSTGRES_18", "region": "europe-west1"}
        self.instances.insert(
            request={"project": self.google.project, "body": body | {"settings": ENTERPRISE | settings}}
        )
        return self.read(name)

    def read(self, name: str = "db") -> sqladmin_v1.DatabaseInstance:
        return self.instances.get(request={"project": self.google.project, "instance": name})


def beta(google: Emulated, member: str = OWNER) -> Any:
    """sqladmin.v1beta4 of google-api-python-client."""
    return built(google, "sqladmin", "v1beta4", member)


def built(google: Emulated, service: str, version: str, member: str = OWNER) -> Any:
    return discovery.build(
        service,
        version,
        static_discovery=True,
        client_options=google.options(service),
        credentials=google.credentials_of(member),
    )


def network_with_range(google: Emulated, prefix: int = 16) -> str:
    """A network `main` with the range `reserved` for connections; its name in full."""
    networks = compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))
    addresses = compute_v1.GlobalAddressesClient(
        credentials=google.credentials, client_options=google.options("compute")
    )
    networks.insert_unary(
        project=google.project, network_resource=compute_v1.Network(name="main", auto_create_subnetworks=False)
    )
    if isinstance(google.cloud.world.clock, VirtualClock):
        google.advance(60)
    full = f"projects/{google.project}/global/networks/main"
    addresses.insert_unary(project=google.project, address_resource=reserved(full, "reserved", "10.100.0.0", prefix))
    return full


def reserved(network: str, name: str, first: str, prefix: int) -> compute_v1.Address:
    return compute_v1.Address(
        name=name,
        purpose="VPC_PEERING",
        address_type="INTERNAL",
        address=first,
        prefix_length=prefix,
        network=network,
    )


def connected(google: Emulated, network: str, ranges: tuple[str, ...] = ("reserved",)) -> Any:
    """A service connection of the network; its operation."""
    project = google.cloud.world.projects[google.project]
    body = {
        "network": f"projects/{project.number}/global/networks/{network.rpartition('/')[2]}",
        "reservedPeeringRanges": list(ranges),
    }
    services = built(google, "servicenetworking", "v1").services()
    return services.connections().create(parent="services/servicenetworking.googleapis.com", body=body).execute()
