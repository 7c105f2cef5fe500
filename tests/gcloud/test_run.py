"""Cloud Run. Source: https://cloud.google.com/sdk/gcloud/reference/run"""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from google.cloud import run_v2
from googleapiclient import discovery

from tests.gcloud.conftest import Gcloud, Refused

IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"
REGION = "--region=us-central1"


def services(gcloud: Gcloud) -> run_v2.ServicesClient:
    return run_v2.ServicesClient(credentials=gcloud.credentials, client_options=gcloud.options("run"), transport="rest")


def test_a_service_from_making_to_deleting(gcloud: Gcloud, tmp_path: Path) -> None:
    made = gcloud("run", "deploy", "hello", f"--image={IMAGE}", REGION, "--no-allow-unauthenticated", "--cpu=1",
                  "--memory=512Mi", "--max-instances=3", "--labels=stack=one")  # fmt: skip
    assert made["status"]["latestReadyRevisionName"].startswith("hello-00001-")
    name = f"projects/{gcloud.project}/locations/us-central1/services/hello"
    service = services(gcloud).get_service(name=name)
    assert (service.labels, service.template.scaling.max_instance_count) == ({"stack": "one"}, 3)
    assert [each["metadata"]["name"] for each in gcloud("run", "services", "list")] == ["hello"]
    gcloud("run", "services", "update", "hello", REGION, "--concurrency=10", "--no-traffic")
    first, second = made["status"]["latestReadyRevisionName"], services(gcloud).get_service(name=name)
    assert [each.revision for each in second.traffic_statuses] == [first]
    gcloud("run", "services", "update-traffic", "hello", REGION, "--to-latest")
    shown = gcloud("run", "services", "describe", "hello", REGION)
    assert shown["status"]["traffic"][0]["revisionName"].startswith("hello-00002-")
    revisions = gcloud("run", "revisions", "list", "--service=hello", REGION)
    assert sorted(each["metadata"]["name"][:11] for each in revisions) == ["hello-00001", "hello-00002"]
    assert gcloud("run", "revisions", "describe", first, REGION)["spec"]["containers"][0]["image"] == IMAGE
    client = run_v2.RevisionsClient(
        credentials=gcloud.credentials, client_options=gcloud.options("run"), transport="rest"
    )
    assert client.get_revision(name=f"{name}/revisions/{first}").service == "hello"
    gcloud("run", "revisions", "delete", first, REGION)
    with pytest.raises(Refused, match="Cannot find revision"):
        gcloud("run", "revisions", "describe", first, REGION)
    file = tmp_path / "service.yaml"
    file.write_text(json.dumps(shown | {"metadata": {"name": "hello", "labels": {"stack": "two"}}}))
    gcloud("run", "services", "replace", str(file), REGION)
    assert services(gcloud).get_service(name=name).labels == {"stack": "two"}
    gcloud("run", "services", "delete", "hello", REGION)
    with pytest.raises(Refused, match="Cannot find service"):
        gcloud("run", "services", "describe", "hello", REGION)


def test_a_revision_that_does_not_get_ready_is_told(gcloud: Gcloud) -> None:
    image = f"us-central1-docker.pkg.dev/{gcloud.project}/images/none"
    with pytest.raises(Refused, match=r"Image .* not found"):
        gcloud("run", "deploy", "hello", f"--image={image}", REGION, "--no-allow-unauthenticated")


def test_what_python_made_gcloud_reads_and_opens(gcloud: Gcloud) -> None:
    template = run_v2.RevisionTemplate(containers=[run_v2.Container(image=IMAGE)])
    parent = f"projects/{gcloud.project}/locations/us-central1"
    service = run_v2.Service(template=template)
    services(gcloud).create_service(parent=parent, service=service, service_id="hello").result(timeout=10)
    everyone = ("hello", REGION, "--member=allUsers", "--role=roles/run.invoker")
    gcloud("run", "services", "add-iam-policy-binding", *everyone)
    policy = gcloud("run", "services", "get-iam-policy", "hello", REGION)
    assert policy["bindings"] == [{"members": ["allUsers"], "role": "roles/run.invoker"}]
    gcloud("run", "services", "remove-iam-policy-binding", *everyone)
    assert not services(gcloud).get_iam_policy(request={"resource": f"{parent}/services/hello"}).bindings
    assert (
        gcloud("run", "services", "describe", "hello", REGION)["spec"]["template"]["spec"]["containers"][0]["image"]
        == IMAGE
    )
    assert {"us-central1", "europe-west1"} <= {each["locationId"] for each in gcloud("run", "regions", "list")}


def test_a_domain_is_mapped(beta: Gcloud) -> None:
    template = run_v2.RevisionTemplate(containers=[run_v2.Container(image=IMAGE)])
    parent = f"projects/{beta.project}/locations/us-central1"
    service = run_v2.Service(template=template)
    services(beta).create_service(parent=parent, service=service, service_id="hello").result(timeout=10)
    body = {"projectId": beta.project, "domain": "example.com", "pointed": True}
    httpx.post(f"{beta.address}/_emulator/domains", json=body).raise_for_status()
    named, mappings = "--domain=app.example.com", ("beta", "run", "domain-mappings")
    beta(*mappings, "create", "--service=hello", named, REGION)
    shown = beta(*mappings, "describe", named, REGION)
    assert shown["status"]["resourceRecords"] == [{"name": "app", "rrdata": "ghs.googlehosted.com.", "type": "CNAME"}]
    assert {each["status"] for each in shown["status"]["conditions"]} == {"True"}
    with pytest.raises(Refused, match="verif"):
        beta(*mappings, "create", "--service=hello", "--domain=app.example.net", REGION)
    options = beta.options("run")
    run = discovery.build("run", "v1", static_discovery=True, client_options=options, credentials=beta.credentials)
    theirs, where = run.projects().locations().domainmappings(), f"{parent}/domainmappings"
    assert theirs.get(name=f"{where}/app.example.com").execute()["spec"]["routeName"] == "hello"
    metadata = {"name": "two.example.com", "namespace": beta.project}
    body = {"apiVersion": "domains.cloudrun.com/v1", "kind": "DomainMapping", "metadata": metadata}
    theirs.create(parent=parent, body=body | {"spec": {"routeName": "hello"}}).execute()
    listed = beta(*mappings, "list", REGION)
    assert sorted(each["metadata"]["name"] for each in listed) == ["app.example.com", "two.example.com"]
    theirs.delete(name=f"{where}/two.example.com").execute()
    beta(*mappings, "delete", named, REGION)
    assert beta(*mappings, "list", REGION) == []
