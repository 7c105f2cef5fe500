"""Revisions, traffic, and what keeps a revision from getting ready, through google-cloud-run.

Source: https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration and what each test names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, GoogleAPICallError, NotFound
from google.cloud import artifactregistry_v1, compute_v1, run_v2, secretmanager_v1
from googleapiclient import discovery

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated, in_project
from tests.unit.emulator.run_clients import (
    FAILED,
    IMAGE,
    LATEST,
    REVISION,
    SUCCEEDED,
    container,
    created,
    made,
    parent_of,
    revisions_of,
    seen,
    services_of,
    short,
    template,
    updated,
)


@dataclass
class Part:
    """A real part that writes down what it is told, and fails to start what names a bad image."""

    told: list[tuple[str, str, list[tuple[str, int]]]] = field(default_factory=list)

    def note(self, what: str, name: str, body: dict[str, Any]) -> None:
        shares = [(each["revision"], each.get("percent", 0)) for each in body.get("trafficStatuses", [])]
        self.told.append((what, short(name)[:11], [(revision[:11], percent) for revision, percent in shares]))

    def start(self, name: str, body: dict[str, Any]) -> None:
        self.note("start", name, body)
        if "bad" in body["containers"][0]["image"]:
            raise RuntimeError("exited with 1")

    def change(self, name: str, body: dict[str, Any]) -> None:
        self.note("change", name, body)

    def stop(self, name: str, body: dict[str, Any]) -> None:
        self.note("stop", name, {})

    def remove(self, name: str) -> None:
        self.note("remove", name, {})


@pytest.fixture(scope="module")
def part() -> Part:
    return Part()


@pytest.fixture(scope="module")
def real(part: Part) -> Iterator[tuple[Cloud, str]]:
    cloud = Cloud(VirtualClock(), scale=0, parts={"run.revisions": part})
    with running(cloud) as address:
        yield cloud, address


@pytest.fixture
def backed(real: tuple[Cloud, str], part: Part) -> Iterator[Emulated]:
    """A project in an emulator whose revisions have a real part."""
    part.told.clear()
    yield from in_project(real)


def target(revision: str = "", percent: int = 0, tag: str = "") -> run_v2.TrafficTarget:
    kind = REVISION if revision else LATEST
    return run_v2.TrafficTarget(type_=kind, revision=revision, percent=percent, tag=tag)


def revisions(google: Emulated) -> list[run_v2.Revision]:
    return list(revisions_of(google).list_revisions(parent=f"{parent_of(google)}/services/hello"))


def condition(found: Any, kind: str) -> run_v2.Condition:
    return next(each for each in found.conditions if each.type_ == kind)


# -- which change makes a revision -----------------------------------------------------------------------------------


def test_a_new_template_alone_makes_a_revision(google: Emulated) -> None:
    service = made(google)
    first = service.latest_ready_revision
    service = updated(google, run_v2.Service(service, description="other", labels={"a": "b"}))
    assert (service.latest_ready_revision, service.generation) == (first, 2)
    service.template.max_instance_request_concurrency = 10
    service = updated(google, service)
    assert short(service.latest_ready_revision).startswith("hello-00002-")
    assert [short(each.name)[:11] for each in revisions(google)] == ["hello-00002", "hello-00001"]
    assert revisions(google)[1].max_instance_request_concurrency == 80


def test_a_revision_can_be_forced(google: Emulated) -> None:
    """`forceNewRevision` in the reference of services.patch."""
    name = made(google).name
    body = {"template": {"containers": [{"image": IMAGE}]}}
    run = discovery.build("run", "v2", static_discovery=True, credentials=google.credentials,
                          client_options=google.options("run"))  # fmt: skip
    run.projects().locations().services().patch(name=name, body=body).execute()
    assert len(revisions(google)) == 1
    run.projects().locations().services().patch(name=name, body=body, forceNewRevision=True).execute()
    assert len(revisions(google)) == 2


def test_a_revision_s_name_is_taken_once(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#14569, #6491."""
    service = made(google, template=template(revision="hello-one"))
    assert short(service.latest_ready_revision) == "hello-one"
    service.template.max_instance_request_concurrency = 10
    with pytest.raises(Conflict, match="Revision named 'hello-one' with different configuration already exists"):
        updated(google, service)
    service.template.revision = "other"
    with pytest.raises(BadRequest, match="must be prefixed by the name of the enclosing Service"):
        updated(google, service)
    service.template.revision = "hello-two"
    assert short(updated(google, service).latest_ready_revision) == "hello-two"


# -- traffic ---------------------------------------------------------------------------------------------------------


def test_traffic_is_split_and_tagged(google: Emulated) -> None:
    service = made(google)
    first = short(service.latest_ready_revision)
    service.template.max_instance_request_concurrency = 10
    service.traffic = [target(first, 90), target(percent=10, tag="next")]
    service = updated(google, service)
    second = short(service.latest_ready_revision)
    assert [(each.revision, each.percent, each.tag) for each in service.traffic_statuses] == [
        (first, 90, ""),
        (second, 10, "next"),
    ]
    assert service.traffic_statuses[1].uri == service.uri.replace("https://", "https://next---")
    service.traffic = [target(first, 100)]
    service = updated(google, service)
    newest, oldest = revisions(google)
    assert condition(oldest, "Active").state == SUCCEEDED
    assert condition(newest, "Active").revision_reason == run_v2.Condition.RevisionReason.RETIRED
    assert condition(newest, "Ready").state == SUCCEEDED


@pytest.mark.parametrize(
    "traffic",
    [
        [target(percent=90)],
        [target(percent=50), target(percent=60)],
        [target(percent=100, tag="Upper")],
        [target(percent=50, tag="a"), target(percent=50, tag="a")],
        [target(percent=100, tag="t" * 45)],
        [run_v2.TrafficTarget(type_=REVISION, percent=100)],
        [run_v2.TrafficTarget(percent=100)],
    ],
)
def test_traffic_follows_the_rules(google: Emulated, traffic: list[run_v2.TrafficTarget]) -> None:
    with pytest.raises(BadRequest, match="traffic"):
        created(google, traffic=traffic)


def test_traffic_to_no_revision_fails_later(google: Emulated) -> None:
    """terraform-google-modules/terraform-docs-samples#269."""
    service = made(google)
    served = service.traffic_statuses
    service.traffic = [target("hello-green", 100)]
    with pytest.raises(GoogleAPICallError, match="Revision 'hello-green' does not exist or is deleted"):
        updated(google, service)
    after = seen(google)
    assert after.terminal_condition.state == FAILED
    assert after.traffic_statuses == served
    assert condition(after, "ConfigurationsReady").state == SUCCEEDED


def test_a_revision_in_use_stays(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/managing/revisions#delete"""
    service = made(google)
    first = service.latest_ready_revision
    service.template.max_instance_request_concurrency = 10
    second = updated(google, service).latest_ready_revision
    client = revisions_of(google)
    with pytest.raises(BadRequest, match="cannot be deleted"):
        client.delete_revision(name=second)
    client.delete_revision({"name": first, "validate_only": True}).result(timeout=10)
    assert client.get_revision(name=first).name == first
    client.delete_revision(name=first).result(timeout=10)
    with pytest.raises(NotFound, match="of kind 'REVISION'"):
        client.get_revision(name=first)


# -- a revision that does not get ready ------------------------------------------------------------------------------


def test_a_missing_image_leaves_the_older_revision_serving(google: Emulated) -> None:
    """google-github-actions/deploy-cloudrun#465, hashicorp/terraform-provider-google#14493."""
    service = made(google)
    first = service.latest_ready_revision
    image = f"us-central1-docker.pkg.dev/{google.project}/images/proxy:1"
    service.template.containers[0].image = image
    wanted = rf"Revision 'hello-00002-...' is not ready and cannot serve traffic. Image '{image}' not found."
    with pytest.raises(GoogleAPICallError, match=wanted):
        updated(google, service)
    after = seen(google)
    assert (after.latest_ready_revision, after.reconciling) == (first, False)
    assert short(after.latest_created_revision).startswith("hello-00002-")
    assert [each.revision for each in after.traffic_statuses] == [short(first)]
    assert (after.generation, after.observed_generation) == (2, 1)
    assert after.terminal_condition.state == FAILED
    assert after.terminal_condition.reason == run_v2.Condition.CommonReason.REVISION_FAILED
    newest = revisions(google)[0]
    assert condition(newest, "Ready").reason == run_v2.Condition.CommonReason.CONTAINER_MISSING


def test_the_next_good_template_heals_it(google: Emulated) -> None:
    """The image is resolved to its digest when the revision is made: https://cloud.google.com/run/docs/deploying"""
    image = f"us-central1-docker.pkg.dev/{google.project}/images/proxy"
    with pytest.raises(GoogleAPICallError, match="not found"):
        made(google, template=template(f"{image}:1"))
    service = seen(google)
    assert (service.uri, list(service.traffic_statuses)) == ("", [])
    registry = artifactregistry_v1.ArtifactRegistryClient(
        credentials=google.credentials, client_options=google.options("artifactregistry"), transport="rest"
    )
    body = artifactregistry_v1.Repository(format_=artifactregistry_v1.Repository.Format.DOCKER)
    registry.create_repository(parent=parent_of(google), repository_id="images", repository=body).result(timeout=10)
    digest = "sha256:" + "0a" * 32
    google.http().post("/_emulator/images", json={"image": f"{image}:2", "digest": digest}).raise_for_status()
    service.template.containers[0].image = f"{image}:2"
    service = updated(google, service)
    assert service.terminal_condition.state == SUCCEEDED
    assert service.observed_generation == 2
    shown = google.http().get(f"/run/v2/{service.latest_ready_revision}").json()
    assert shown["containerStatuses"] == [{"imageDigest": f"{image}@{digest}"}]


@pytest.mark.parametrize("image", ["nginx", "nginx:1.27", "docker.io/library/nginx", "library/nginx:alpine"])
def test_docker_hub_s_images_are_there(google: Emulated, image: str) -> None:
    """https://cloud.google.com/run/docs/deploying#images"""
    assert made(google, template=template(image)).terminal_condition.state == SUCCEEDED


@pytest.mark.parametrize("image", ["images.example.com/a/b", "localhost:5000/a", "images.example.org/a/b:1", "Nginx"])
def test_other_registries_are_refused(google: Emulated, image: str) -> None:
    """ko-build/terraform-provider-ko#205."""
    with pytest.raises(BadRequest, match="where host is one of"):
        created(google, template=template(image))


def test_another_project_s_image_needs_leave(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/deploying#other-projects"""
    google.cloud.add_project("images-elsewhere")
    image = "us-central1-docker.pkg.dev/images-elsewhere/images/proxy"
    number = google.cloud.world.projects[google.project].number
    with pytest.raises(GoogleAPICallError, match=f"service-{number}@serverless-robot-prod.* must have permission"):
        made(google, template=template(image))


def test_a_container_that_does_not_come_up(backed: Emulated, part: Part) -> None:
    """transparency-dev/tesseract#413; FAILED_PRECONDITION there."""
    service = made(backed)
    service.template.containers[0].image = "bad"
    with pytest.raises(GoogleAPICallError, match=r"failed to start and listen on the port .* PORT=8080") as caught:
        updated(backed, service)
    assert "container-failed-to-start" in str(caught.value)
    after = seen(backed)
    assert after.latest_ready_revision == service.latest_ready_revision
    newest = condition(revisions(backed)[0], "Ready")
    assert newest.revision_reason == run_v2.Condition.RevisionReason.HEALTH_CHECK_CONTAINER_ERROR
    assert after.traffic_statuses == service.traffic_statuses


def test_a_probe_of_one_s_own_is_named(backed: Emulated) -> None:
    """terraform-google-modules/terraform-docs-samples#254."""
    probe = run_v2.Probe(http_get=run_v2.HTTPGetAction(path="/ready"), period_seconds=5, failure_threshold=3)
    bad = run_v2.RevisionTemplate(containers=[container("bad", startup_probe=probe)])
    with pytest.raises(GoogleAPICallError, match="container failed the configured startup probe checks"):
        made(backed, template=bad)


def test_a_real_part_lives_with_its_revision(backed: Emulated, part: Part) -> None:
    service = made(backed)
    first = short(service.latest_ready_revision)
    service.template.max_instance_request_concurrency = 10
    service = updated(backed, service)
    service.traffic = [target(first, 100)]
    updated(backed, service)
    services_of(backed).delete_service(name=service.name).result(timeout=10)
    one, two = "hello-00001", "hello-00002"
    assert part.told == [
        ("start", one, [(one, 100)]),
        ("change", one, [(one, 100)]),
        ("start", two, [(two, 100)]),
        ("change", two, [(two, 100)]),
        ("change", one, [(two, 100)]),
        ("change", two, [(one, 100)]),
        ("change", one, [(one, 100)]),
        ("stop", two, []),
        ("remove", two, []),
        ("stop", one, []),
        ("remove", one, []),
    ]


# -- networks and secrets --------------------------------------------------------------------------------------------


def egress(network: str = "", subnetwork: str = "") -> run_v2.VpcAccess:
    interface = run_v2.VpcAccess.NetworkInterface(network=network, subnetwork=subnetwork)
    return run_v2.VpcAccess(network_interfaces=[interface], egress=run_v2.VpcAccess.VpcEgress.ALL_TRAFFIC)


def subnetworks_of(google: Emulated) -> compute_v1.SubnetworksClient:
    return compute_v1.SubnetworksClient(credentials=google.credentials, client_options=google.options("compute"))


def with_network(google: Emulated, prefix: int = 26) -> None:
    """A network with a subnetwork of the same name."""
    networks = compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))
    network = compute_v1.Network(name="net", auto_create_subnetworks=False)
    networks.insert_unary(project=google.project, network_resource=network)
    google.advance(60)
    body = compute_v1.Subnetwork(
        name="net", ip_cidr_range=f"10.8.0.0/{prefix}", network=f"projects/{google.project}/global/networks/net"
    )
    subnetworks = subnetworks_of(google)
    subnetworks.insert_unary(project=google.project, region="us-central1", subnetwork_resource=body)
    google.advance(60)


@pytest.mark.parametrize(
    "access", [egress("net", "net"), egress(network="net"), egress(subnetwork="net")], ids=["both", "network", "subnet"]
)
def test_a_subnetwork_stays_held_after_its_service(slow_google: Emulated, access: run_v2.VpcAccess) -> None:
    """https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet: one to two hours."""
    with_network(slow_google)
    subnetworks = subnetworks_of(slow_google)
    where = {"project": slow_google.project, "region": "us-central1", "subnetwork": "net"}
    created(slow_google, template=template(vpc_access=access))
    slow_google.advance(60)
    assert seen(slow_google).terminal_condition.state == SUCCEEDED
    with pytest.raises(BadRequest, match="is already being used by"):
        subnetworks.delete_unary(**where)
    services_of(slow_google).delete_service(name=f"{parent_of(slow_google)}/services/hello")
    slow_google.advance(60)
    with pytest.raises(BadRequest, match=r"is already being used by '.*/addresses/serverless-ipv4-"):
        subnetworks.delete_unary(**where)
    slow_google.advance(3 * 3600)
    subnetworks_of(slow_google).delete_unary(**where)


def test_a_network_must_be_there(google: Emulated) -> None:
    """VPC_NETWORK_NOT_FOUND in the reference of Condition."""
    with pytest.raises(GoogleAPICallError, match=r"VPC network .*/global/networks/net was not found"):
        made(google, template=template(vpc_access=egress("net")))
    newest = condition(revisions(google)[0], "Ready")
    assert newest.reason == run_v2.Condition.CommonReason.VPC_NETWORK_NOT_FOUND


def test_a_subnetwork_must_be_large_enough(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/configuring/vpc-direct-vpc: /26 or larger."""
    with_network(google, prefix=28)
    with pytest.raises(GoogleAPICallError, match="/26 or larger"):
        made(google, template=template(vpc_access=egress("net")))


def secret_variable(secret: str) -> run_v2.RevisionTemplate:
    reference = run_v2.SecretKeySelector(secret=secret, version="latest")
    variable = run_v2.EnvVar(name="KEY", value_source=run_v2.EnvVarSource(secret_key_ref=reference))
    return run_v2.RevisionTemplate(containers=[container(env=[variable])])


def test_a_secret_must_be_there_and_readable(google: Emulated) -> None:
    """terraform-google-modules/terraform-docs-samples#168."""
    number = google.cloud.world.projects[google.project].number
    account = f"{number}-compute@developer.gserviceaccount.com"
    with pytest.raises(
        GoogleAPICallError,
        match=rf"containers\[0\]\.env\[0\]\.value_from\.secret_key_ref\.name: Permission denied on secret: "
        rf"projects/{number}/secrets/key/versions/latest for Revision service account {account}",
    ):
        made(google, template=secret_variable("key"))
    role = f"projects/{google.project}/roles/reader"
    google.cloud.access.custom_roles[role] = {"secretmanager.versions.access"}
    google.grant(role, f"serviceAccount:{account}")
    service = seen(google)
    service.template.max_instance_request_concurrency = 10
    with pytest.raises(GoogleAPICallError, match="secrets/key/versions/latest was not found"):
        updated(google, service)
    secrets = secretmanager_v1.SecretManagerServiceClient(
        credentials=google.credentials, client_options=google.options("secretmanager"), transport="rest"
    )
    secret = {"replication": {"automatic": {}}}
    parent = secrets.create_secret(parent=f"projects/{google.project}", secret_id="key", secret=secret).name
    secrets.add_secret_version(parent=parent, payload={"data": b"value"})
    service = seen(google)
    service.template.max_instance_request_concurrency = 11
    assert updated(google, service).terminal_condition.state == SUCCEEDED
    secrets.disable_secret_version(name=f"{parent}/versions/1")
    service = seen(google)
    service.template.max_instance_request_concurrency = 12
    with pytest.raises(GoogleAPICallError, match="secrets/key/versions/latest was not found"):
        updated(google, service)
