"""Instances of Compute Engine as machines, through gcloud and Google's own clients: what they do, reach, and may.

The tests follow each other on one network: `web` has an account and may be called from the subnetwork `door`; from
`other` it may not, nor does that reach Google's services at first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from google.cloud import compute_v1

from tests.emulator.server import environment
from tests.gcloud.conftest import Gcloud
from tests.lab import image
from tests.lab.cloud import Lab
from tests.lab.engine import docker
from tests.stack import eventually
from tests.unit.emulator.api_clients import account, client
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import REGION, ZONE, Machines, metadata
from tests.unit.emulator.vpc import Vpc

pytestmark = [pytest.mark.lab, pytest.mark.rare]

PROJECT = "lab-instances"
WEB = "10.71.0.10"
PORT = 8080
URL = f"http://{WEB}:{PORT}"
IN_ZONE = f"--zone={ZONE}"
BOOTED = 60.0
"""Seconds after which a machine must answer; on an idle one it is five."""
SCRIPT = f"""\
#!/bin/bash
# Each boot adds a line to what a web server shows.
mkdir -p /srv/web && cd /srv/web
cat /proc/sys/kernel/random/uuid >> boots
echo "startup: $(wc -l < boots) boots"
systemd-run --unit=web --working-directory=/srv/web python3 -m http.server {PORT}
"""
ASK = """\
set -e
TOKEN=$(curl -sSf -H 'Metadata-Flavor: Google' \
  http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token | cut -d'"' -f4)
curl -sS -m 5 -o /dev/null -w '%{{http_code}}' -H "Authorization: Bearer $TOKEN" '{url}'
"""


@dataclass(frozen=True)
class World:
    """A project of the lab, with `web`, `near` (in `door`) and `far` (in `other`)."""

    lab: Lab
    google: Emulated
    gcloud: Gcloud
    booted: float
    """Seconds from asking for `web` to its first answer."""

    @cached_property
    def machines(self) -> Machines:
        return Machines(self.google)

    def run(self, machine: str, *argv: str) -> str:
        """Run a command in a machine."""
        return self.lab.instances.run(f"projects/{PROJECT}/zones/{ZONE}/instances/{machine}", *argv)

    def code(self, machine: str, url: str, seconds: int = 10) -> str:
        """The status that a machine gets from a URL; "000" where nobody answers."""
        curl = f"curl -sS -o /dev/null -m {seconds} -w '%{{http_code}}' -H 'Metadata-Flavor: Google' {url} || true"
        return self.run(machine, "sh", "-c", curl)[-3:]

    def unheard(self, machine: str, url: str) -> bool:
        """Whether a machine's packets to a URL are lost."""
        return self.code(machine, url, seconds=2) == "000"

    def asked(self, url: str) -> str:
        """The status that `web` gets from a Google API with its own account."""
        return self.run("web", "bash", "-c", ASK.format(url=url))[-3:]


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    google = Emulated(lab.cloud, lab.address, PROJECT, lab.cloud.add_project(PROJECT, ("all",)))
    gcloud = gcloud_of(lab, tmp_path_factory.mktemp("gcloud"))
    vpc, machines = Vpc(google), Machines(google)
    vpc.network("vpc")
    vpc.subnetwork("hosts", "10.71.0.0/24", "vpc", private_ip_google_access=True)
    vpc.subnetwork("door", "10.71.1.0/26", "vpc", private_ip_google_access=True)
    vpc.subnetwork("other", "10.71.2.0/26", "vpc")
    for name in ("website", "stranger"):
        account(google, name)
        keep(google, name)
    web = compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/hosts", network_i_p=WEB)
    told = metadata(startup_script=SCRIPT, enable_guest_attributes="TRUE")
    began = time.monotonic()
    inserted = machines.insert(
        "web", metadata=told, network_interfaces=[web], **machines.with_account(email("website"))
    )
    answers(URL)
    booted = time.monotonic() - began
    others = [beside(machines, name, subnet) for name, subnet in (("near", "door"), ("far", "other"))]
    for each in (inserted, *others):
        assert not machines.operations.wait(**machines.zone, operation=each.name).error.errors
    yield World(lab, google, gcloud, booted)


def beside(machines: Machines, name: str, subnet: str) -> compute_v1.Operation:
    """The operation that makes a machine to call others from, of 1 GB."""
    interface = compute_v1.NetworkInterface(subnetwork=f"regions/{REGION}/subnetworks/{subnet}")
    small = f"zones/{ZONE}/machineTypes/e2-micro"
    return machines.insert(name, network_interfaces=[interface], machine_type=small)


def gcloud_of(lab: Lab, folder: Path) -> Gcloud:
    assert shutil.which("gcloud"), "no gcloud on this machine"
    told = environment(lab.cloud, PROJECT, lab.address, folder)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return Gcloud(lab.cloud, lab.address, PROJECT, kept | told)


def keep(google: Emulated, name: str) -> None:
    """A secret and a bucket that the account of this name may read, and no other."""
    grant = {"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{email(name)}"]}]}
    secrets = client(google, "secretmanager.v1").projects().secrets()
    full = f"projects/{PROJECT}/secrets/{name}"
    secrets.create(parent=f"projects/{PROJECT}", secretId=name, body={"replication": {"automatic": {}}}).execute()
    secrets.addVersion(parent=full, body={"payload": {"data": "c2VjcmV0"}}).execute()
    secrets.setIamPolicy(resource=full, body={"policy": grant}).execute()
    storage = client(google, "storage.v1")
    storage.buckets().insert(project=PROJECT, body={"name": f"{PROJECT}-{name}", "location": REGION}).execute()
    policy = storage.buckets().getIamPolicy(bucket=f"{PROJECT}-{name}").execute()
    grant["bindings"][0]["role"] = "roles/storage.objectViewer"
    policy["bindings"] += grant["bindings"]
    storage.buckets().setIamPolicy(bucket=f"{PROJECT}-{name}", body=policy).execute()


def email(name: str) -> str:
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


def answers(url: str) -> str:
    """What a URL shows this machine, as soon as it does."""
    command = ["curl", "-sS", "-m", "2", url]

    def ask() -> Any:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return done.stdout if done.returncode == 0 else None

    return str(eventually(ask, url, BOOTED))


def test_a_startup_script_starts_a_web_server(world: World) -> None:
    print(f"from the insert to the web server's first answer: {world.booted:.1f} s")
    said = world.gcloud.text("compute", "instances", "get-serial-port-output", "web", IN_ZONE)
    assert "startup: 1 boots" in said
    assert world.run("web", "hostname").strip() == "web"


def test_a_rule_lets_one_subnetwork_call_one_account_on_one_port(world: World) -> None:
    assert world.unheard("near", f"{URL}/boots")
    world.gcloud(
        "compute", "firewall-rules", "create", "door", "--network=vpc", f"--allow=tcp:{PORT}",
        "--source-ranges=10.71.1.0/26", f"--target-service-accounts={email('website')}",
    )  # fmt: skip
    assert world.code("near", f"{URL}/boots") == "200"
    assert world.unheard("far", f"{URL}/boots")
    world.run("web", "systemd-run", "python3", "-m", "http.server", "8081")
    answers(f"http://{WEB}:8081")
    assert world.unheard("near", f"http://{WEB}:8081")


def test_its_account_reads_what_it_may_and_nothing_else(world: World) -> None:
    secret = "https://secretmanager.googleapis.com/v1/projects/{}/secrets/{}/versions/latest:access"
    objects = "https://storage.googleapis.com/storage/v1/b/{}-{}/o"
    asked = [world.asked(url.format(PROJECT, name)) for name in ("website", "stranger") for url in (secret, objects)]
    assert asked == ["200", "200", "403", "403"]


def test_it_has_the_memory_of_its_type_and_no_more(world: World) -> None:
    take = "import sys; b'x' * (int(sys.argv[1]) * 2**20)"
    world.run("far", "python3", "-c", take, "400")
    with pytest.raises(AssertionError):
        world.run("far", "python3", "-c", take, "1100")


def test_its_disk_is_as_large_as_it_was_asked_for_and_grows_at_a_boot(world: World) -> None:
    def size() -> int:
        blocks = world.run("near", "stat", "--file-system", "--format=%S %b", "/var").split()
        return int(blocks[0]) * int(blocks[1]) // 2**30

    assert size() == 9  # of 10 GB, what the file system has for itself
    larger = compute_v1.DisksResizeRequest(size_gb=20)
    world.machines.disks.resize_unary(**world.machines.zone, disk="near", disks_resize_request_resource=larger)
    for verb in (world.machines.instances.stop_unary, world.machines.instances.start_unary):
        started = verb(**world.machines.zone, instance="near")
        world.machines.operations.wait(**world.machines.zone, operation=started.name)
    assert size() == 19
    assert world.run("near", "ls", "/var/lib/dpkg/status")


def test_without_private_access_or_a_way_out_google_is_not_reached(world: World) -> None:
    """Its names are known all the same, and the metadata server is there."""
    api = f"https://storage.googleapis.com/storage/v1/b/{PROJECT}-website/o"
    assert world.code("near", api) == "401" and world.unheard("far", api)
    assert "storage.googleapis.com" in world.run("far", "getent", "hosts", "storage.googleapis.com")
    assert world.code("far", "http://169.254.169.254/computeMetadata/v1/") == "200"
    compute_subnetworks = Vpc(world.google).client(compute_v1.SubnetworksClient)
    allow = compute_v1.SubnetworksSetPrivateIpGoogleAccessRequest(private_ip_google_access=True)
    compute_subnetworks.set_private_ip_google_access_unary(
        project=PROJECT,
        region=REGION,
        subnetwork="other",
        subnetworks_set_private_ip_google_access_request_resource=allow,
    )
    assert world.code("far", api) == "401"


def test_packages_are_reached_by_a_nat_alone(world: World) -> None:
    packages = urlsplit(image.mirror())
    mirror = f"{packages.scheme}://{packages.netloc}{packages.path.rstrip('/')}/dists/{image.SUITE}/Release"
    routers = Vpc(world.google).client(compute_v1.RoutersClient)
    assert world.unheard("web", mirror)
    nat = compute_v1.RouterNat(
        name="nat",
        nat_ip_allocate_option="AUTO_ONLY",
        source_subnetwork_ip_ranges_to_nat="LIST_OF_SUBNETWORKS",
        subnetworks=[{"name": f"projects/{PROJECT}/regions/{REGION}/subnetworks/hosts"}],
    )
    router = compute_v1.Router(name="router", network=f"projects/{PROJECT}/global/networks/vpc", nats=[nat])
    routers.insert_unary(project=PROJECT, region=REGION, router_resource=router)
    assert world.code("web", mirror) == "200" and world.unheard("near", mirror)
    routers.delete_unary(project=PROJECT, region=REGION, router="router")
    assert world.unheard("web", mirror)


def test_it_is_reset_stopped_and_started_with_what_is_on_its_disk(world: World) -> None:
    world.gcloud("compute", "instances", "reset", "web", IN_ZONE)
    eventually(lambda: len(answers(f"{URL}/boots").splitlines()) == 2, "a second boot")
    world.gcloud("compute", "instances", "stop", "web", IN_ZONE)
    assert world.machines.get("web").status == "TERMINATED"
    assert world.unheard("near", f"{URL}/boots")
    world.gcloud("compute", "instances", "start", "web", IN_ZONE)
    eventually(lambda: len(set(answers(f"{URL}/boots").splitlines())) == 3, "a third boot, each with an id of its own")
    assert world.code("near", f"{URL}/boots") == "200"


def test_it_comes_back_from_its_own_reboot_and_stays_off_when_it_turns_itself_off(world: World) -> None:
    boots = len(answers(f"{URL}/boots").splitlines())
    world.run("web", "systemctl", "--no-block", "reboot")
    eventually(lambda: len(answers(f"{URL}/boots").splitlines()) == boots + 1, "one more boot")
    assert world.machines.get("web").status == "RUNNING"
    world.run("web", "systemctl", "--no-block", "poweroff")
    eventually(lambda: world.machines.get("web").status == "TERMINATED", "its end")


def test_deleted_it_leaves_nothing(world: World) -> None:
    name = world.lab.mine(f"vm-{PROJECT}-near")
    asking = ("container", "ls", "--all", "--quiet", "--filter", f"name={name}")
    assert docker(*asking).strip()
    deleted = world.machines.instances.delete_unary(**world.machines.zone, instance="near")
    world.machines.operations.wait(**world.machines.zone, operation=deleted.name)
    assert not docker(*asking).strip()
