"""Cloud Run services through google-cloud-run.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services and what each test names.
"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import (
    BadRequest,
    Conflict,
    Forbidden,
    GoogleAPICallError,
    MethodNotImplemented,
    NotFound,
)
from google.cloud import run_v2
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.run_clients import (
    LATEST,
    SUCCEEDED,
    created,
    made,
    parent_of,
    revisions_of,
    seen,
    services_of,
    template,
    updated,
)


def test_a_service_from_making_to_deleting(google: Emulated) -> None:
    """Addresses: https://cloud.google.com/run/docs/triggering/https-request#deterministic"""
    service, services = made(google, labels={"stack": "one"}), services_of(google)
    number = google.cloud.world.projects[google.project].number
    assert service.name == f"{parent_of(google)}/services/hello"
    assert service.terminal_condition.state == SUCCEEDED
    assert (service.generation, service.observed_generation, service.reconciling) == (1, 1, False)
    assert service.latest_ready_revision == service.latest_created_revision
    assert service.latest_created_revision.startswith(f"{service.name}/revisions/hello-00001-")
    assert service.urls[0] == f"https://hello-{number}.us-central1.run.app"
    assert service.uri == service.urls[1]
    assert service.uri.endswith("-uc.a.run.app")
    assert seen(google).labels == {"stack": "one"}
    assert [each.name for each in services.list_services(parent=parent_of(google))] == [service.name]
    services.delete_service(name=service.name).result(timeout=10)
    with pytest.raises(NotFound, match="Resource 'hello' of kind 'SERVICE' in region 'us-central1' in project"):
        services.get_service(name=service.name)
    assert list(revisions_of(google).list_revisions(parent=f"{parent_of(google)}/services/-")) == []


def test_defaults_are_filled_in(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/configuring/services/memory-limits, …/cpu, …/request-timeout, …/concurrency"""
    service = made(google)
    container = service.template.containers[0]
    assert dict(container.resources.limits) == {"cpu": "1000m", "memory": "512Mi"}
    assert (container.ports[0].name, container.ports[0].container_port) == ("http1", 8080)
    probe = container.startup_probe
    assert (probe.timeout_seconds, probe.period_seconds, probe.failure_threshold) == (240, 240, 1)
    assert service.template.timeout.seconds == 300
    assert service.template.max_instance_request_concurrency == 80
    assert service.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_ALL
    assert service.traffic[0].type_ == LATEST
    assert service.template.service_account.endswith("-compute@developer.gserviceaccount.com")


def test_making_one_takes_its_time(slow_google: Emulated) -> None:
    """`reconciling` in the reference of Service."""
    operation = created(slow_google)
    assert not operation.done()
    before = seen(slow_google)
    assert before.reconciling
    assert before.terminal_condition.state == run_v2.Condition.State.CONDITION_RECONCILING
    assert (before.uri, before.latest_ready_revision) == ("", "")
    slow_google.advance(60)
    assert operation.done()
    assert seen(slow_google).terminal_condition.state == SUCCEEDED


def test_a_name_is_taken_once(google: Emulated) -> None:
    made(google)
    with pytest.raises(Conflict, match="already exists"):
        created(google)


@pytest.mark.parametrize("name", ["Hello", "1hello", "hello-", "h" * 50])
def test_a_name_follows_the_rule(google: Emulated, name: str) -> None:
    """terraform-google-modules/terraform-docs-samples#171; fewer than 50 characters by the reference."""
    body = run_v2.Service(template=template())
    with pytest.raises(BadRequest, match="must use only lowercase letters, numbers and '-'"):
        services_of(google).create_service(parent=parent_of(google), service=body, service_id=name)


def test_a_location_must_exist(google: Emulated) -> None:
    body = run_v2.Service(template=template())
    with pytest.raises(Forbidden, match="Permission denied on 'locations/moon-1'"):
        services_of(google).create_service(
            parent=f"projects/{google.project}/locations/moon-1", service=body, service_id="hello"
        )


def test_validating_alone_makes_nothing(google: Emulated) -> None:
    """`validateOnly` in the reference: defaults are populated, nothing is persisted."""
    services = services_of(google)
    asked = {"parent": parent_of(google), "service": run_v2.Service(template=template()), "service_id": "hello"}
    told = services.create_service({**asked, "validate_only": True}).result(timeout=10)
    assert told.template.timeout.seconds == 300
    with pytest.raises(NotFound):
        seen(google)
    service = made(google)
    service.template.timeout = Duration(seconds=60)
    assert services.update_service({"service": service, "validate_only": True}).result(timeout=10).generation == 1
    services.delete_service({"name": service.name, "validate_only": True}).result(timeout=10)
    assert seen(google).template.timeout.seconds == 300


def test_a_mask_says_what_changes(google: Emulated) -> None:
    service = made(google, labels={"a": "1"})
    changed = run_v2.Service(name=service.name, labels={"b": "2"}, description="not in the mask", template=template())
    after = updated(google, changed, update_mask=FieldMask(paths=["labels"]))
    assert (after.labels, after.description) == ({"b": "2"}, "")
    deep = run_v2.Service(name=service.name, template=template(max_instance_request_concurrency=7))
    after = updated(google, deep, update_mask=FieldMask(paths=["template.max_instance_request_concurrency"]))
    assert after.template.max_instance_request_concurrency == 7
    assert after.generation == 3
    with pytest.raises(BadRequest, match="mask"):
        google_patch(google, "nonsense")


def google_patch(google: Emulated, mask: str) -> None:
    service = run_v2.Service(name=f"{parent_of(google)}/services/hello", template=template())
    services_of(google).update_service(service=service, update_mask=FieldMask(paths=[mask]))


def test_what_is_missing_is_made_where_that_is_allowed(google: Emulated) -> None:
    service = run_v2.Service(name=f"{parent_of(google)}/services/hello", template=template())
    with pytest.raises(NotFound):
        services_of(google).update_service(service=service)
    services_of(google).update_service({"service": service, "allow_missing": True}).result(timeout=10)
    assert seen(google).terminal_condition.state == SUCCEEDED


def test_a_stale_etag_is_refused(google: Emulated) -> None:
    """https://google.aip.dev/154; the words: see the emulator's run/base.py."""
    stale = made(google)
    updated(google, run_v2.Service(stale, description="newer"))
    with pytest.raises(Conflict, match=r"Conflict for resource 'hello': version '\d+' was specified but current"):
        updated(google, run_v2.Service(stale, description="older"))
    with pytest.raises(Conflict, match="Conflict for resource"):
        services_of(google).delete_service({"name": stale.name, "etag": stale.etag})
    assert seen(google).description == "newer"


def test_output_only_fields_are_ignored(google: Emulated) -> None:
    """https://google.aip.dev/203"""
    service = made(google, uri="https://mine.example.com", generation=7, creator="me")
    assert (service.generation, service.creator) == (1, "owner@example.com")
    assert service.uri.endswith(".a.run.app")


def test_the_default_address_can_be_turned_off(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/securing/ingress#disable-url"""
    service = made(google, default_uri_disabled=True)
    assert (service.uri, list(service.urls)) == ("", [])
    service.default_uri_disabled = False
    assert len(updated(google, service).urls) == 2


def test_settings_of_the_service_come_back(google: Emulated) -> None:
    service = made(
        google,
        ingress=run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER,
        invoker_iam_disabled=True,
        scaling=run_v2.ServiceScaling(min_instance_count=1),
        annotations={"example.com/owner": "me"},
        custom_audiences=["https://hello.example.com"],
    )
    assert service.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER
    assert service.invoker_iam_disabled
    assert service.scaling.min_instance_count == 1
    assert service.annotations == {"example.com/owner": "me"}
    assert list(service.custom_audiences) == ["https://hello.example.com"]


@pytest.mark.parametrize(
    "more",
    [
        {"binary_authorization": run_v2.BinaryAuthorization(use_default=True)},
        {"template": template(encryption_key="projects/p/locations/l/keyRings/r/cryptoKeys/k")},
        {"template": template(vpc_access=run_v2.VpcAccess(connector="projects/p/locations/l/connectors/c"))},
        {"template": template(volumes=[run_v2.Volume(name="v", gcs=run_v2.GCSVolumeSource(bucket="b"))])},
    ],
)
def test_what_is_not_emulated_says_so(google: Emulated, more: dict[str, object]) -> None:
    with pytest.raises(MethodNotImplemented, match="is not emulated"):
        created(google, **more)


def test_worker_pools_are_not_emulated(google: Emulated) -> None:
    pools = run_v2.WorkerPoolsClient(
        credentials=google.credentials, client_options=google.options("run"), transport="rest"
    )
    with pytest.raises(MethodNotImplemented, match=r"workerPools\.list"):
        list(pools.list_worker_pools(parent=parent_of(google)))


def test_deploying_needs_to_act_as_the_service_account(google: Emulated) -> None:
    """GoogleCloudPlatform/cloud-run-release-manager#81: one text for "may not" and for "is not there"."""
    role = f"projects/{google.project}/roles/deployer"
    google.cloud.access.custom_roles[role] = {"run.services.create", "run.services.get", "run.operations.get"}
    google.grant(role, "user:a@example.com")
    body = run_v2.Service(template=template())
    services = services_of(google, "user:a@example.com")
    denied = r"Permission 'iam\.serviceaccounts\.actAs' denied on service account .* \(or it may not exist\)"
    with pytest.raises(Forbidden, match=denied):
        services.create_service(parent=parent_of(google), service=body, service_id="hello")
    with pytest.raises(Forbidden, match=denied):
        created(google, template=template(service_account=f"none@{google.project}.iam.gserviceaccount.com"))
    google.cloud.access.custom_roles[role].add("iam.serviceAccounts.actAs")
    services.create_service(parent=parent_of(google), service=body, service_id="hello").result(timeout=10)
    with pytest.raises(Forbidden, match=r"Permission 'run\.services\.delete' denied on resource '.*services/hello'"):
        services.delete_service(name=f"{parent_of(google)}/services/hello")


def test_a_policy_is_the_service_s_own(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/securing/managing-access"""
    name, services = made(google).name, services_of(google)
    role = f"projects/{google.project}/roles/caller"
    google.cloud.access.custom_roles[role] = {"run.routes.invoke"}
    policy = services.get_iam_policy(iam_policy_pb2.GetIamPolicyRequest(resource=name))
    policy.bindings.append(policy_pb2.Binding(role=role, members=["user:a@example.com"]))
    services.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=name, policy=policy))
    asked = iam_policy_pb2.TestIamPermissionsRequest(resource=name, permissions=["run.routes.invoke"])
    other = services_of(google, "user:a@example.com")
    assert list(other.test_iam_permissions(asked).permissions) == ["run.routes.invoke"]
    services.delete_service(name=name).result(timeout=10)
    made(google)
    assert list(other.test_iam_permissions(asked).permissions) == []


def test_a_service_is_deleted_once(slow_google: Emulated) -> None:
    created(slow_google)
    slow_google.advance(60)
    services, name = services_of(slow_google), f"{parent_of(slow_google)}/services/hello"
    first, second = services.delete_service(name=name), services.delete_service(name=name)
    slow_google.advance(60)
    assert first.result(timeout=5).delete_time
    with pytest.raises(GoogleAPICallError, match="does not exist"):
        second.result(timeout=5)


def test_an_operation_that_ends_in_error_leaves_a_failed_service(slow_google: Emulated) -> None:
    slow_google.http().post(
        "/_emulator/faults",
        json={"kind": "operation-error", "service": "run", "code": 500, "message": "internal error"},
    ).raise_for_status()
    operation = created(slow_google)
    slow_google.advance(60)
    assert operation.operation.name
    with pytest.raises(GoogleAPICallError, match="internal error"):
        operation.result(timeout=5)
    service = seen(slow_google)
    assert not service.reconciling
    assert service.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED


def test_a_service_that_has_failed_does_not_say_so_while_it_is_deleted(slow_google: Emulated) -> None:
    """gcloud's `DeletionPoller` (command_lib/run/deletion.py) ends at a condition that has failed."""
    missing = f"us-central1-docker.pkg.dev/{slow_google.project}/none/at:all"
    created(slow_google, template=template(missing))
    slow_google.advance(60)
    assert seen(slow_google).terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    operation = services_of(slow_google).delete_service(name=f"{parent_of(slow_google)}/services/hello")
    assert seen(slow_google).terminal_condition.state == run_v2.Condition.State.CONDITION_RECONCILING
    slow_google.advance(60)
    assert operation.done()
    with pytest.raises(NotFound):
        seen(slow_google)
