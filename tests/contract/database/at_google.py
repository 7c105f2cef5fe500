"""An instance of Cloud SQL in a lab of its own: made by our own resources, PostgreSQL 18 behind it, TLS in front."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from blocks.database import Tls
from blocks.gcp.database import ADMIN, AdminLogin, over_tls
from blocks.gcp.google import Google
from blocks.gcp.network import Network
from blocks.gcp.services_connection import ServicesConnection
from blocks.gcp.sql import SqlInstance
from blocks.gcp_spec import GcpDatabase
from blocks.postgres.connection import Login
from blocks.resource import Apply, visit
from tests.contract.database.databases import PASSWORD
from tests.emulator.cloud import OWNER
from tests.google import REGION, Minted, Project
from tests.lab.cloud import running_lab
from tests.lab.sql import SqlServers
from tests.lab.sql_server import Server
from tests.unit.emulator.sql import reserved

LAB, PROJECT = "dbs", "databases-at-google"
SERVICES = "10.101.0.0"
"""Start of the range of addresses in which instances are, of which no other lab has any."""


@dataclass(frozen=True)
class AtGoogle:
    """The instance, its admin's login, and the program that runs behind it."""

    instance: SqlInstance
    server: Server
    tls: Tls

    @property
    def admin(self) -> Login:
        return Login(self.instance.address(), 5432, ADMIN, PASSWORD, "postgres", self.tls)

    def drop(self, databases: str, *roles: str) -> None:
        """As Google's own superuser: databases whose names begin so, and roles with all that is left of theirs."""
        for name in self.server.ask(f"SELECT datname FROM pg_database WHERE starts_with(datname, '{databases}')"):
            self.server.ask(f'DROP DATABASE "{name}" WITH (FORCE)')
        like = " OR ".join(f"rolname LIKE '{each}'" for each in roles)
        for name in self.server.ask(f"SELECT rolname FROM pg_roles WHERE {like}"):
            self.server.ask(f'DROP OWNED BY "{name}"')
            self.server.ask(f'DROP ROLE "{name}"')


@contextmanager
def at_google() -> Iterator[AtGoogle]:
    """Made in seconds, and gone afterwards with its lab."""
    with running_lab(LAB) as lab:
        lab.cloud.add_project(PROJECT, ("all",))
        project = Project(lab.cloud, lab.address, PROJECT)
        google = Google(
            PROJECT,
            Minted(lab.cloud, OWNER),
            lab.address,
            lambda: project._sql_channel(OWNER),
            sleep=lambda seconds: time.sleep(min(seconds, 0.1)),
        )
        network = Network(google, "trial", REGION, f"host@{PROJECT}.iam.gserviceaccount.com")
        visit(network.resources()[0], Apply())
        services = reserved(network.path, "trial-services", SERVICES, 24)
        google.compute("GlobalAddresses").insert_unary(project=PROJECT, address_resource=services)
        visit(ServicesConnection(google, "trial", "trial-services"), Apply())
        instance = SqlInstance(google, network, "trial", GcpDatabase(protection=False))
        visit(instance, Apply())
        visit(AdminLogin(instance, lambda: PASSWORD), Apply())
        behind = cast(SqlServers, lab.cloud.backings.of("sql.instances"))
        tls = over_tls(instance.authority())
        assert tls is not None
        yield AtGoogle(instance, behind.server(f"sql/projects/{PROJECT}/instances/trial"), tls)
