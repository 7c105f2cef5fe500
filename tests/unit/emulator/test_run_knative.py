"""Cloud Run's v1 form through google-api-python-client: other views of what v2 keeps.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services and what each test names.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from google.cloud import run_v2
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.run_clients import IMAGE, made, parent_of, seen, services_of, template, updated


def run_of(google: Emulated, region: str = "us-central1-", member: str = "") -> Any:
    return discovery.build(
        "run",
        "v1",
        static_discovery=True,
        credentials=google.credentials_of(member) if member else google.credentials,
        client_options={"api_endpoint": f"{google.address}/{region}run"},
    )


@pytest.fixture
def namespaces(google: Emulated) -> Any:
    return run_of(google).namespaces()


def body_of(google: Emulated, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "hello", "namespace": google.project, **metadata},
        "spec": {"template": {"spec": {"containers": [{"image": IMAGE}]}}},
    }


def made_here(google: Emulated, namespaces: Any, body: dict[str, Any] | None = None) -> dict[str, Any]:
    sent = body or body_of(google)
    service: dict[str, Any] = namespaces.services().create(parent=f"namespaces/{google.project}", body=sent).execute()
    return service


def ready(service: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in service["status"]["conditions"] if each["type"] == "Ready")
    return found


def name_of(google: Emulated, kind: str, name: str = "hello") -> str:
    return f"namespaces/{google.project}/{kind}/{name}"


def test_a_service_from_making_to_deleting(google: Emulated, namespaces: Any) -> None:
    service = made_here(google, namespaces)
    number = str(google.cloud.world.projects[google.project].number)
    assert (service["metadata"]["namespace"], service["metadata"]["generation"]) == (number, 1)
    assert service["metadata"]["selfLink"] == f"/apis/serving.knative.dev/v1/namespaces/{number}/services/hello"
    assert service["metadata"]["labels"] == {"cloud.googleapis.com/location": "us-central1"}
    assert (ready(service)["status"], service["status"]["observedGeneration"]) == ("True", 1)
    assert service["status"]["url"].endswith("-uc.a.run.app")
    addresses = json.loads(service["metadata"]["annotations"]["run.googleapis.com/urls"])
    assert addresses[0] == f"https://hello-{number}.us-central1.run.app"
    assert seen(google).uri == service["status"]["url"]
    listed = namespaces.services().list(parent=f"namespaces/{google.project}").execute()
    assert [each["metadata"]["name"] for each in listed["items"]] == ["hello"]
    name = name_of(google, "services")
    assert namespaces.services().delete(name=name).execute()["status"] == "Success"
    with pytest.raises(HttpError, match="Resource 'hello' of kind 'SERVICE' in region 'us-central1'"):
        namespaces.services().get(name=name).execute()


def test_replacing_a_service_by_itself_makes_no_revision(google: Emulated, namespaces: Any) -> None:
    service = made_here(google, namespaces)
    service["metadata"]["labels"]["stack"] = "one"
    after = namespaces.services().replaceService(name=name_of(google, "services"), body=service).execute()
    assert after["status"]["latestReadyRevisionName"] == service["status"]["latestReadyRevisionName"]
    assert (after["metadata"]["generation"], seen(google).labels) == (2, {"stack": "one"})


def test_a_stale_version_is_refused(google: Emulated, namespaces: Any) -> None:
    """gcloud's "ABORTED: Conflict for resource" in public repositories (no issue found)."""
    service = made_here(google, namespaces)
    name = name_of(google, "services")
    namespaces.services().replaceService(name=name, body=service).execute()
    stale = service["metadata"]["resourceVersion"]
    with pytest.raises(HttpError, match=f"Conflict for resource 'hello': version '{stale}' was specified") as caught:
        namespaces.services().replaceService(name=name, body=service).execute()
    assert caught.value.status_code == 409


def test_every_setting_is_the_same_in_both_forms(google: Emulated, namespaces: Any) -> None:
    """Annotations: https://cloud.google.com/run/docs/reference/rest/v1/ObjectMeta"""
    sent = body_of(
        google,
        annotations={
            "run.googleapis.com/ingress": "internal-and-cloud-load-balancing",
            "run.googleapis.com/invoker-iam-disabled": "true",
            "run.googleapis.com/minScale": "1",
            "run.googleapis.com/description": "a service",
            "example.com/owner": "me",
        },
    )
    sent["spec"]["template"] = {
        "metadata": {
            "name": "hello-one",
            "labels": {"client.knative.dev/nonce": "abc"},
            "annotations": {
                "autoscaling.knative.dev/minScale": "1",
                "autoscaling.knative.dev/maxScale": "3",
                "run.googleapis.com/cpu-throttling": "false",
                "run.googleapis.com/startup-cpu-boost": "true",
                "run.googleapis.com/execution-environment": "gen2",
                "run.googleapis.com/sessionAffinity": "true",
            },
        },
        "spec": {
            "containerConcurrency": 10,
            "timeoutSeconds": 3600,
            "containers": [
                {
                    "image": IMAGE,
                    "env": [{"name": "A", "value": "1"}],
                    "ports": [{"name": "h2c", "containerPort": 9000}],
                    "resources": {"limits": {"cpu": "2", "memory": "1Gi"}},
                    "startupProbe": {"httpGet": {"path": "/ready"}, "periodSeconds": 5, "failureThreshold": 3},
                    "volumeMounts": [{"name": "v", "mountPath": "/tmp/v"}],
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
        },
    }
    service = made_here(google, namespaces, copy.deepcopy(sent))
    other = seen(google)
    assert other.ingress == run_v2.IngressTraffic.INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER
    assert (other.invoker_iam_disabled, other.scaling.min_instance_count) == (True, 1)
    assert (other.description, other.annotations) == ("a service", {"example.com/owner": "me"})
    made_template, made_container = other.template, other.template.containers[0]
    assert made_template.timeout.seconds == 3600
    assert made_template.execution_environment == run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2
    assert (made_template.scaling.min_instance_count, made_template.scaling.max_instance_count) == (1, 3)
    assert (made_container.resources.cpu_idle, made_container.resources.startup_cpu_boost) == (False, True)
    assert (made_container.ports[0].name, made_container.startup_probe.http_get.path) == ("h2c", "/ready")
    shown, wanted = service["spec"]["template"], sent["spec"]["template"]
    assert shown["metadata"] == wanted["metadata"]
    assert shown["spec"]["containers"][0] | wanted["spec"]["containers"][0] == shown["spec"]["containers"][0] | {
        "startupProbe": wanted["spec"]["containers"][0]["startupProbe"]
    }
    assert shown["spec"]["volumes"] == wanted["spec"]["volumes"]
    name = name_of(google, "services")
    again = namespaces.services().replaceService(name=name, body=service).execute()
    assert again["status"]["latestCreatedRevisionName"] == "hello-one"


def test_an_annotation_that_is_not_emulated_says_so(google: Emulated, namespaces: Any) -> None:
    body = body_of(google, annotations={"run.googleapis.com/binary-authorization": "default"})
    with pytest.raises(HttpError, match="is not emulated") as caught:
        made_here(google, namespaces, body)
    assert caught.value.status_code == 501


def test_refusals_speak_of_the_knative_form(google: Emulated, namespaces: Any) -> None:
    """googleapis/repo-automation-bots#3875, terraform-google-modules/terraform-docs-samples#171."""
    body = body_of(google)
    limits = {"cpu": "1", "memory": "8Gi"}
    body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": limits}
    words = (
        r"spec\.template\.spec\.containers\[0\]\.resources\.limits\.memory: Invalid value specified for container "
        r"memory\. For 1\.0 CPU, memory must be between 128Mi and 4Gi inclusive"
    )
    with pytest.raises(HttpError, match=words):
        made_here(google, namespaces, body)
    with pytest.raises(HttpError, match=r"metadata.name: Resource name must use only lowercase letters"):
        made_here(google, namespaces, body_of(google, name="Hello"))
    with pytest.raises(HttpError, match="must be the project of the path"):
        made_here(google, namespaces, body_of(google, namespace="other"))
    with pytest.raises(HttpError, match="already exists"):
        made_here(google, namespaces)
        made_here(google, namespaces)


def test_a_dry_run_makes_nothing(google: Emulated, namespaces: Any) -> None:
    """`dryRun` in the reference: "all" validates alone."""
    parent = f"namespaces/{google.project}"
    told = namespaces.services().create(parent=parent, body=body_of(google), dryRun="all").execute()
    assert told["spec"]["template"]["spec"]["timeoutSeconds"] == 300
    assert namespaces.services().list(parent=parent).execute()["items"] == []


def test_a_failed_revision_shows_in_conditions(google: Emulated, namespaces: Any) -> None:
    """googlecodelabs/feedback#1696: both "Creating Revision" and "Routing traffic" fail with the reason."""
    image = f"us-central1-docker.pkg.dev/{google.project}/images/none"
    body = body_of(google)
    body["spec"]["template"]["spec"]["containers"][0]["image"] = image
    service = made_here(google, namespaces, body)
    conditions = {each["type"]: each for each in service["status"]["conditions"]}
    assert {each["status"] for each in conditions.values()} == {"False"}
    assert ready(service)["message"].endswith(f"is not ready and cannot serve traffic. Image '{image}' not found.")
    assert conditions["ConfigurationsReady"]["reason"] == "ContainerMissing"
    assert "url" not in service["status"]
    revision = namespaces.revisions().list(parent=f"namespaces/{google.project}").execute()["items"][0]
    assert ready(revision)["message"] == f"Image '{image}' not found."


def test_a_change_on_its_way_is_unknown(slow_google: Emulated) -> None:
    """`observedGeneration` in the reference of ServiceStatus: clients poll until it is the generation."""
    namespaces = run_of(slow_google).namespaces()
    service = made_here(slow_google, namespaces)
    assert ready(service)["status"] == "Unknown"
    assert "observedGeneration" not in service["status"]
    slow_google.advance(60)
    service = namespaces.services().get(name=name_of(slow_google, "services")).execute()
    assert (ready(service)["status"], service["status"]["observedGeneration"]) == ("True", 1)


def test_revisions_routes_and_configurations_are_views(google: Emulated, namespaces: Any) -> None:
    service = made(google)
    service.template = template(max_instance_request_concurrency=10)
    service.traffic = [run_v2.TrafficTarget(type_=1, percent=100, tag="live")]
    service = updated(google, service)
    parent = f"namespaces/{google.project}"
    wanted = "serving.knative.dev/service=hello"
    revisions = namespaces.revisions().list(parent=parent, labelSelector=wanted).execute()["items"]
    newest = revisions[0]["metadata"]["name"]
    assert [each["metadata"]["name"][:11] for each in revisions] == ["hello-00002", "hello-00001"]
    assert namespaces.revisions().list(parent=parent, labelSelector="a=b").execute()["items"] == []
    assert (
        namespaces.revisions().get(name=name_of(google, "revisions", newest)).execute()["spec"]["containerConcurrency"]
        == 10
    )
    route = namespaces.routes().get(name=name_of(google, "routes")).execute()
    assert route["status"]["traffic"][0] | {"url": ""} == {
        "latestRevision": True, "percent": 100, "revisionName": newest, "tag": "live", "url": ""
    }  # fmt: skip
    configuration = namespaces.configurations().get(name=name_of(google, "configurations")).execute()
    assert configuration["status"]["latestReadyRevisionName"] == newest
    assert ready(configuration)["status"] == ready(route)["status"] == "True"
    with pytest.raises(HttpError, match="of kind 'ROUTE'"):
        namespaces.routes().get(name=name_of(google, "routes", "none")).execute()
    oldest = name_of(google, "revisions", revisions[1]["metadata"]["name"])
    namespaces.revisions().delete(name=oldest).execute()
    with pytest.raises(HttpError, match="of kind 'REVISION'"):
        namespaces.revisions().get(name=oldest).execute()


def test_policies_are_below_locations(google: Emulated) -> None:
    name = made(google).name
    services = run_of(google, "").projects().locations().services()
    role = f"projects/{google.project}/roles/caller"
    google.cloud.access.custom_roles[role] = {"run.routes.invoke"}
    policy = services.getIamPolicy(resource=name).execute()
    policy["bindings"] = [{"role": role, "members": ["user:a@example.com"]}]
    services.setIamPolicy(resource=name, body={"policy": policy}).execute()
    other = run_of(google, "", "user:a@example.com").projects().locations().services()
    asked = {"permissions": ["run.routes.invoke", "run.services.get"]}
    assert other.testIamPermissions(resource=name, body=asked).execute()["permissions"] == ["run.routes.invoke"]
    denied = f"Permission 'run.services.get' denied on resource 'namespaces/{google.project}/services/hello'"
    with pytest.raises(HttpError, match=denied):
        run_of(google, member="user:a@example.com").namespaces().services().get(
            name=name_of(google, "services")
        ).execute()
    assert services.get(name=name).execute()["metadata"]["name"] == "hello"


def test_the_address_says_where(google: Emulated, namespaces: Any) -> None:
    """https://cloud.google.com/run/docs/reference/rest: regional endpoints; the global one lists all locations."""
    made(google)
    elsewhere = f"projects/{google.project}/locations/europe-west1"
    body = run_v2.Service(template=template())
    services_of(google).create_service(parent=elsewhere, service=body, service_id="bonjour").result(timeout=10)
    parent = f"namespaces/{google.project}"
    names = [each["metadata"]["name"] for each in namespaces.services().list(parent=parent).execute()["items"]]
    assert names == ["hello"]
    everywhere = run_of(google, "").namespaces()
    names = [each["metadata"]["name"] for each in everywhere.services().list(parent=parent).execute()["items"]]
    assert sorted(names) == ["bonjour", "hello"]
    with pytest.raises(HttpError, match="A regional endpoint is required"):
        everywhere.services().get(name=name_of(google, "services")).execute()
    path = f"/apis/serving.knative.dev/v1/{parent}/services"
    found = google.http().get(path, headers={"Host": "europe-west1-run.googleapis.com"}).json()["items"]
    assert [each["metadata"]["name"] for each in found] == ["bonjour"]


def test_locations_are_listed(google: Emulated) -> None:
    found = run_of(google, "").projects().locations().list(name=f"projects/{google.project}").execute()["locations"]
    assert {"us-central1", "europe-west1"} <= {each["locationId"] for each in found}
    assert parent_of(google) in [each["name"] for each in found]


def test_an_operation_of_v1_has_made_a_service_of_v1(google: Emulated, namespaces: Any) -> None:
    """gcloud's `WaitService` (command_lib/run/serverless_operations.py) reads its response as a Knative service."""
    service = made_here(google, namespaces)
    number = service["metadata"]["annotations"]["run.googleapis.com/operation-id"]
    operations = run_of(google).projects().locations().operations()
    done = operations.wait(name=f"{parent_of(google)}/operations/{number}", body={}).execute()
    response = done["response"]
    assert response["metadata"]["name"] == "hello"
    assert ready(response)["status"] == "True"
    assert operations.get(name=done["name"]).execute()["response"] == response
