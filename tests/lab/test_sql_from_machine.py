"""An SQL instance used by a machine of the connected network: by TLS under the CA that the API shows, and no other."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from google.cloud import compute_v1

from tests.lab.cloud import Lab
from tests.lab.test_sql import ENTERPRISE, PASSWORD, PRIVATE, Instance
from tests.tls import authority
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import REGION, ZONE, Machines
from tests.unit.emulator.sql import Grpc, connected, reserved
from tests.unit.emulator.vpc import Vpc

pytestmark = [pytest.mark.lab, pytest.mark.rare]

PROJECT = "lab-private"
QUERY = """
import asyncio, ssl, sys
import asyncpg

async def main(address, password):
    context = ssl.create_default_context(cafile="/srv/authority.pem")
    context.check_hostname = False  # verify-ca
    where = {"host": address, "user": "postgres", "password": password, "database": "postgres"}
    connection = await asyncpg.connect(**where, ssl=context, timeout=5)
    print(await connection.fetchval("SELECT current_user"))

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass(frozen=True)
class Private:
    """`near` is in the connected network, `stranger` in another; `db` is the instance."""

    lab: Lab
    db: Instance

    def run(self, machine: str, *argv: str, stdin: bytes = b"") -> str:
        return self.lab.instances.run(f"projects/{PROJECT}/zones/{ZONE}/instances/{machine}", *argv, stdin=stdin)

    def query(self, machine: str, ca: str) -> str:
        """What the database answers a machine that believes this authority: who it is there."""
        self.run(machine, "tee", "/srv/authority.pem", stdin=ca.encode())
        return self.run(machine, "env", "PYTHONPATH=/srv", "python3", "-c", QUERY, self.db.address, PASSWORD).strip()


@pytest.fixture(scope="module")
def private(lab: Lab) -> Private:
    google = Emulated(lab.cloud, lab.address, PROJECT, lab.cloud.add_project(PROJECT, ("all",)))
    vpc, machines = Vpc(google), Machines(google)
    addresses = vpc.client(compute_v1.GlobalAddressesClient)
    for network, subnet, range_ in (("main", "near", "10.74.0.0/24"), ("other", "stranger", "10.74.1.0/24")):
        vpc.network(network)
        vpc.subnetwork(subnet, range_, network)
    main = f"projects/{PROJECT}/global/networks/main"
    addresses.insert_unary(project=PROJECT, address_resource=reserved(main, "reserved", "10.101.0.0", 16))
    connected(google, main)
    db = Instance(Grpc(google))
    settings = ENTERPRISE | {"ip_configuration": PRIVATE | {"private_network": main}}
    body = {"name": "db", "database_version": "POSTGRES_18", "region": REGION, "root_password": PASSWORD}
    inserted = db.sql.instances.insert(request={"project": PROJECT, "body": body | {"settings": settings}})
    made = Private(lab, db)
    for name in ("near", "stranger"):
        interface = compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/{name}")
        started = machines.insert(name, network_interfaces=[interface])
        machines.operations.wait(**machines.zone, operation=started.name)
        made.run(name, "tar", "-x", "-C", "/srv", stdin=packed())
    db.done(inserted)
    return made


def packed() -> bytes:
    """asyncpg, for a Python without packages."""
    archive, package = io.BytesIO(), Path(asyncpg.__file__).parent
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(package, package.name)
    return archive.getvalue()


def test_a_machine_uses_it_by_tls_under_its_own_authority_alone(private: Private) -> None:
    assert private.query("near", private.db.sql.read("db").server_ca_cert.cert) == "postgres"
    with pytest.raises(AssertionError, match="CERTIFICATE_VERIFY_FAILED"):
        private.query("near", authority("somebody else").pem)


def test_a_network_without_the_connection_does_not_reach_it(private: Private) -> None:
    with pytest.raises(AssertionError, match="TimeoutError"):
        private.query("stranger", private.db.sql.read("db").server_ca_cert.cert)
