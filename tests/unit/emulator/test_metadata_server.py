"""The metadata server, by its protocol and through google.auth.compute_engine.

Sources: https://cloud.google.com/compute/docs/metadata/querying-metadata,
https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys,
https://cloud.google.com/compute/docs/metadata/manage-guest-attributes
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
from google.api_core.exceptions import Forbidden, NotFound
from google.auth import jwt
from google.cloud import compute_v1
from google.oauth2.credentials import Credentials

from tests.emulator.accounts import public_keys
from tests.emulator.app import App
from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.incoming import Incoming
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import ALL_SCOPES, REGION, ZONE, Machines, metadata

ROOT = "/computeMetadata/v1"


@dataclass
class Host:
    """The instance `one`, and HTTP as it would be spoken on it."""

    machines: Machines
    http: httpx.Client

    @property
    def google(self) -> Emulated:
        return self.machines.google

    def get(self, path: str, **parameters: str) -> httpx.Response:
        return self.http.get(f"{ROOT}/{path}", params=parameters)

    def text(self, path: str, **parameters: str) -> str:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.text

    def set_metadata(self, **items: str) -> None:
        new = metadata(**items)
        new.fingerprint = self.machines.get().metadata.fingerprint
        self.machines.instances.set_metadata_unary(**self.machines.zone, instance="one", metadata_resource=new)

    def waiting(self, path: str, **parameters: str) -> Future[httpx.Response]:
        """A request on its way that waits for a change."""
        pool = ThreadPoolExecutor(1)
        future = pool.submit(self.get, path, wait_for_change="true", **parameters)
        pool.shutdown(wait=False)
        time.sleep(0.15)
        return future


@pytest.fixture
def host(google: Emulated) -> Host:
    machines = Machines(google).prepare()
    name = f"projects/{google.project}/zones/{ZONE}/instances/one"
    headers = {"Metadata-Flavor": "Google", "X-Emulated-Instance": name}
    machines.insert(
        metadata=metadata(role="worker", enable_guest_attributes="TRUE"),
        tags=compute_v1.Tags(items=["web", "db"]),
        network_interfaces=[
            compute_v1.NetworkInterface(
                subnetwork=f"regions/{REGION}/subnetworks/hosts",
                access_configs=[compute_v1.AccessConfig(type_="ONE_TO_ONE_NAT")],
            )
        ],
        **machines.with_account(machines.account()),
    )
    return Host(machines, httpx.Client(base_url=google.address, headers=headers, timeout=20))


def test_an_instance_reads_what_it_is(host: Host) -> None:
    one, project = host.machines.get(), host.google.cloud.world.projects[host.google.project]
    assert host.text("instance/name") == "one"
    assert host.text("instance/id") == str(one.id)
    assert host.text("instance/zone") == f"projects/{project.number}/zones/{ZONE}"
    assert host.text("instance/machine-type") == f"projects/{project.number}/machineTypes/e2-small"
    assert host.text("instance/hostname") == f"one.{ZONE}.c.{project.id}.internal"
    assert host.text("instance/attributes/role") == "worker"
    assert host.text("instance/tags") == '["db", "web"]'
    assert host.text("instance/network-interfaces/0/ip") == "10.0.0.2"
    assert host.text("instance/network-interfaces/0/gateway") == "10.0.0.1"
    assert host.text("instance/network-interfaces/0/subnetmask") == "255.255.255.0"
    external = one.network_interfaces[0].access_configs[0].nat_i_p
    assert host.text("instance/network-interfaces/0/access-configs/0/external-ip") == external
    assert host.text("instance/disks/0/device-name") == "persistent-disk-0"
    assert host.text("instance/image").startswith("projects/debian-cloud/global/images/debian-12-bookworm-v")
    assert host.text("instance/scheduling/on-host-maintenance") == "MIGRATE"
    assert host.text("project/project-id") == project.id
    assert host.text("project/numeric-project-id") == str(project.number)


def test_directories_are_listed_and_want_their_slash(host: Host) -> None:
    assert host.text("").split() == ["instance/", "oslogin/", "project/", "universe/"]
    assert host.text("instance/attributes/").split() == ["enable-guest-attributes", "role"]
    assert host.text("instance/disks/") == "0/\n"
    moved = host.get("instance/disks")
    assert (moved.status_code, httpx.URL(moved.headers["Location"]).path) == (301, f"{ROOT}/instance/disks/")
    assert host.get("instance/name/").status_code == 404
    assert host.get("instance/attributes/none").status_code == 404


def test_a_directory_is_read_whole_as_json_or_as_text(host: Host) -> None:
    answer = host.get("instance/", recursive="true")
    assert answer.headers["Content-Type"] == "application/json"
    told = answer.json()
    assert told["attributes"] == {"role": "worker", "enable-guest-attributes": "TRUE"}
    assert told["networkInterfaces"][0]["dnsServers"] == ["169.254.169.254"]
    assert told["serviceAccounts"]["default"]["scopes"] == [ALL_SCOPES]
    assert "token" not in told["serviceAccounts"]["default"]
    assert isinstance(told["id"], int)
    lines = host.text("instance/disks/", recursive="true", alt="text").splitlines()
    assert lines[:2] == ["0/device-name persistent-disk-0", "0/index 0"]
    assert host.get("instance/attributes/role", alt="json").json() == "worker"


def test_answers_carry_the_headers_of_the_metadata_server(host: Host) -> None:
    answer = host.get("instance/name")
    assert answer.headers["Metadata-Flavor"] == "Google"
    assert answer.headers["Content-Type"].startswith("application/text")
    assert answer.headers["ETag"] == host.get("instance/name").headers["ETag"]
    assert answer.headers["ETag"] != host.get("instance/id").headers["ETag"]


def test_without_the_header_or_through_a_proxy_nothing_is_told(host: Host) -> None:
    name = host.http.headers["X-Emulated-Instance"]
    answer = httpx.get(f"{host.google.address}{ROOT}/instance/name", headers={"X-Emulated-Instance": name})
    assert answer.status_code == 403
    assert "Missing Metadata-Flavor:Google header." in answer.text
    forwarded = host.http.get(f"{ROOT}/instance/name", headers={"X-Forwarded-For": "192.0.2.1"})
    assert forwarded.status_code == 403


def test_project_metadata_is_told_beside_the_instances_own(host: Host) -> None:
    google = host.google
    client = host.machines.client(compute_v1.ProjectsClient)
    new = metadata(enable_oslogin="TRUE")
    new.fingerprint = client.get(project=google.project).common_instance_metadata.fingerprint
    client.set_common_instance_metadata_unary(project=google.project, metadata_resource=new)
    assert host.text("project/attributes/enable-oslogin") == "TRUE"
    assert host.get("instance/attributes/enable-oslogin").status_code == 404


def test_a_wait_ends_when_the_api_changes_the_value(host: Host) -> None:
    waiting = host.waiting("instance/attributes/role")
    assert not waiting.done()
    host.set_metadata(role="server")
    answer = waiting.result(5)
    assert answer.text == "server"
    assert answer.headers["ETag"] == host.get("instance/attributes/role").headers["ETag"]


def test_a_wait_on_a_directory_sees_a_key_that_is_new(host: Host) -> None:
    waiting = host.waiting("", recursive="true", alt="json")
    host.set_metadata(role="worker", extra="1")
    assert waiting.result(5).json()["instance"]["attributes"]["extra"] == "1"


def test_a_wait_with_another_etag_ends_at_once(host: Host) -> None:
    began = time.monotonic()
    answer = host.get("instance/attributes/", recursive="true", wait_for_change="true", last_etag="0")
    assert answer.json()["role"] == "worker"
    now = host.get("instance/attributes/", recursive="true", wait_for_change="true", timeout_sec="0",
                   last_etag=answer.headers["ETag"])  # fmt: skip
    assert now.json() == answer.json()
    assert time.monotonic() - began < 2


def test_a_wait_ends_with_its_time_on_the_emulators_clock(host: Host) -> None:
    waiting = host.waiting("instance/attributes/role", timeout_sec="60")
    host.google.advance(59)
    time.sleep(0.15)
    assert not waiting.done()
    host.google.advance(1)
    assert waiting.result(5).text == "worker"


def test_a_wait_for_a_value_that_goes_away_ends_without_it(host: Host) -> None:
    waiting = host.waiting("instance/attributes/role")
    host.set_metadata()
    assert waiting.result(5).status_code == 404


def test_a_client_that_hangs_up_is_waited_for_no_longer(host: Host) -> None:
    path = f"{ROOT}/instance/attributes/role"
    with pytest.raises(httpx.ReadTimeout):
        host.http.get(path, params={"wait_for_change": "true"}, timeout=0.2)
    time.sleep(0.2)
    before = len(host.google.cloud.received)
    host.set_metadata(role="server")
    time.sleep(0.2)
    after = [each.resource for each in list(host.google.cloud.received)[before:]]
    assert after
    assert path not in after


def test_of_a_deleted_or_stopped_instance_nothing_is_told(host: Host) -> None:
    zone = host.machines.zone
    host.machines.instances.stop_unary(**zone, instance="one")
    assert host.get("instance/name").status_code == 404
    host.machines.instances.start_unary(**zone, instance="one")
    assert host.text("instance/name") == "one"
    host.machines.instances.delete_unary(**zone, instance="one")
    answer = host.get("instance/name")
    assert answer.status_code == 404
    assert "Metadata-Flavor" not in answer.headers


def test_an_instance_is_known_by_the_address_it_calls_from() -> None:
    cloud = Cloud(VirtualClock())

    def ask(peer: str) -> tuple[int, str]:
        headers = {"metadata-flavor": "Google", "x-emulated-instance": "projects/a/zones/z/instances/other"}
        incoming = Incoming("GET", "metadata.google.internal", f"{ROOT}/instance/name", "", headers, b"", peer)
        response = asyncio.run(App(cloud).answer(incoming)).response
        return response.status_code, bytes(response.body).decode()

    with running(cloud) as address:
        first = Emulated(cloud, address, "first", cloud.add_project("first", ("all",)))
        Machines(first).prepare().insert()
        assert ask("10.0.0.2") == (200, "one")
        assert ask("10.0.0.3")[0] == 404
        second = Emulated(cloud, address, "second", cloud.add_project("second", ("all",)))
        Machines(second).prepare().insert()
        status, text = ask("10.0.0.2")
        assert status == 404
        assert "several running instances have the address 10.0.0.2" in text


ON_HOST = """
import json
from google.auth import compute_engine
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request

request, credentials = Request(), compute_engine.Credentials()
credentials.refresh(request)
told = {"found": _metadata.ping(request), "project": _metadata.get_project_id(request), "token": credentials.token}
print(json.dumps(told | {"email": credentials.service_account_email}))
"""


def test_googles_library_finds_itself_on_an_instance_and_gets_its_token(host: Host) -> None:
    """In a process of its own: the library reads GCE_METADATA_HOST when it is imported."""
    place = f"{host.google.address.removeprefix('http://')}/metadata/{host.http.headers['X-Emulated-Instance']}"
    told = os.environ | {"GCE_METADATA_HOST": place, "GCE_METADATA_IP": place}
    done = subprocess.run([sys.executable, "-c", ON_HOST], env=told, capture_output=True, text=True, check=True)
    answer, email = json.loads(done.stdout), host.machines.get().service_accounts[0].email
    assert (answer["found"], answer["project"], answer["email"]) == (True, host.google.project, email)
    options = host.google.options("compute")
    client = compute_v1.InstancesClient(credentials=Credentials(answer["token"]), client_options=options)  # type: ignore[no-untyped-call]
    with pytest.raises(Forbidden, match=r"Required 'compute\.instances\.get' permission"):
        client.get(**host.machines.zone, instance="one")
    host.google.grant("roles/compute.viewer", f"serviceAccount:{email}")
    assert client.get(**host.machines.zone, instance="one").name == "one"


def test_the_account_is_found_by_its_email_too(host: Host) -> None:
    email = host.text("instance/service-accounts/default/email")
    assert host.text("instance/service-accounts/").split() == sorted(["default/", f"{email}/"])
    told = host.get(f"instance/service-accounts/{email}/token").json()
    assert (told["token_type"], told["expires_in"]) == ("Bearer", 3599)
    assert host.text("instance/service-accounts/default/aliases") == "default\n"


def ask_as(host: Host, name: str, path: str) -> httpx.Response:
    """A read of another instance."""
    instance = host.http.headers["X-Emulated-Instance"].replace("/one", f"/{name}")
    return host.http.get(f"{ROOT}/{path}", headers={"X-Emulated-Instance": instance})


def test_without_an_account_there_is_no_token(host: Host) -> None:
    host.machines.insert("two")
    assert ask_as(host, "two", "instance/service-accounts/default/token").status_code == 404
    assert ask_as(host, "two", "instance/service-accounts/").text == ""


def test_a_token_is_good_for_the_scopes_of_the_instance_alone(host: Host) -> None:
    scopes = ["https://www.googleapis.com/auth/devstorage.read_only"]
    email = host.machines.account("other")
    host.machines.insert("two", service_accounts=[compute_v1.ServiceAccount(email=email, scopes=scopes)])
    host.google.grant("roles/owner", f"serviceAccount:{email}")
    token = ask_as(host, "two", "instance/service-accounts/default/token").json()["access_token"]
    project = host.google.project
    bucket = host.google.http().post("/storage/storage/v1/b", params={"project": project}, json={"name": project})
    assert bucket.status_code == 200
    inside = host.google.http(token)
    assert inside.get(f"/storage/storage/v1/b/{project}/o").status_code == 200
    refused = inside.get(f"/compute/compute/v1/projects/{project}/zones/{ZONE}/instances")
    assert refused.status_code == 403
    assert "insufficient authentication scopes" in refused.text


def test_an_identity_token_tells_the_instance(host: Host) -> None:
    path = "instance/service-accounts/default/identity"
    token = host.text(path, audience="https://example.com", format="full")
    account = next(
        each for each in host.google.cloud.world.of("iam.projects.serviceAccounts")
        if each.body["email"] == host.text("instance/service-accounts/default/email")
    )  # fmt: skip
    keys = public_keys(host.google.cloud.world, account.body["email"])
    claims = jwt.decode(token, certs=keys, audience="https://example.com")  # type: ignore[no-untyped-call]
    assert (claims["email"], claims["sub"]) == (account.body["email"], account.body["uniqueId"])
    about = claims["google"]["compute_engine"]
    assert (about["instance_name"], about["zone"], about["project_id"]) == ("one", ZONE, host.google.project)
    plain = jwt.decode(host.text(path, audience="a"), certs=keys, audience="a")  # type: ignore[no-untyped-call]
    assert "google" not in plain
    refused = host.get(path)
    assert (refused.status_code, refused.text.strip()) == (400, "non-empty audience parameter required")


def put(host: Host, path: str, value: str) -> httpx.Response:
    return host.http.put(f"{ROOT}/instance/guest-attributes/{path}", content=value.encode())


def test_guest_attributes_are_written_inside_and_read_outside(host: Host) -> None:
    assert put(host, "state/phase", "ready").status_code == 200
    assert put(host, "state/version", "3.8.8").status_code == 200
    assert host.text("instance/guest-attributes/") == "state/\n"
    assert host.text("instance/guest-attributes/state/phase") == "ready"

    def read(query: str) -> compute_v1.GuestAttributes:
        request = compute_v1.GetGuestAttributesInstanceRequest(**host.machines.zone, instance="one", query_path=query)
        return host.machines.instances.get_guest_attributes(request)

    found = [(each.namespace, each.key, each.value) for each in read("state/").query_value.items]
    assert found == [("state", "phase", "ready"), ("state", "version", "3.8.8")]
    assert [each.value for each in read("state/phase").query_value.items] == ["ready"]
    assert host.http.delete(f"{ROOT}/instance/guest-attributes/state/phase").status_code == 200
    assert host.http.delete(f"{ROOT}/instance/guest-attributes/state/phase").status_code == 404
    with pytest.raises(NotFound, match="The resource 'state/phase' of type 'Guest Attribute' was not found"):
        read("state/phase")
    with pytest.raises(NotFound, match="The resource 'hostkeys/' of type 'Guest Attribute' was not found"):
        read("hostkeys/")


def test_guest_attributes_wake_a_wait(host: Host) -> None:
    waiting = host.waiting("instance/guest-attributes/", recursive="true")
    put(host, "state/phase", "ready")
    assert waiting.result(5).json() == {"state": {"phase": "ready"}}


def test_guest_attributes_have_limits(host: Host) -> None:
    assert put(host, "state/a", "x" * 262_144).status_code == 200
    assert put(host, "state/b", "x" * 262_145).status_code == 413
    assert put(host, "state/c", "x" * 262_144).status_code == 413
    assert put(host, "state", "x").status_code == 400
    assert put(host, "state/a/b", "x").status_code == 400
    assert put(host, "state/a", "x").status_code == 200


def test_guest_attributes_are_there_only_where_enabled(host: Host) -> None:
    put(host, "state/phase", "ready")
    host.set_metadata(role="worker")
    assert put(host, "state/phase", "late").status_code == 403
    refused = host.get("instance/guest-attributes/state/phase")
    assert (refused.status_code, refused.text.strip()) == (403, "Guest attributes endpoint access is disabled.")
    assert host.get("instance/", recursive="true").json()["guestAttributes"] == {}
    client = host.machines.client(compute_v1.ProjectsClient)
    new = metadata(enable_guest_attributes="TRUE")
    new.fingerprint = client.get(project=host.google.project).common_instance_metadata.fingerprint
    client.set_common_instance_metadata_unary(project=host.google.project, metadata_resource=new)
    assert host.text("instance/guest-attributes/state/phase") == "ready"
