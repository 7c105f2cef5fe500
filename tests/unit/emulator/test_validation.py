"""Requests held against the discovery schemas, as Google refuses them.

Source: https://cloud.google.com/endpoints/docs/grpc/transcoding and google/rpc/error_details.proto (BadRequest)
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.emulator.cloud import Cloud, router
from tests.emulator.discovery import Method, Parameter
from tests.emulator.schema import NOT_REQUIRED
from tests.unit.emulator.conftest import Emulated

NETWORKS = "/compute/compute/v1/projects/{}/global/networks"
GOOD: dict[str, Any] = {"name": "one", "autoCreateSubnetworks": False}


def refusal(google: Emulated, body: Any, query: str = "") -> tuple[int, dict[str, Any]]:
    answer = google.http().post(NETWORKS.format(google.project) + query, json=body)
    return answer.status_code, answer.json().get("error", {})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nam": "one"}, 'Unknown name "nam": Cannot find field.'),
        ({"routingConfig": {"mode": 1}}, "Unknown name \"mode\" at 'routingConfig': Cannot find field."),
        ({"mtu": "many"}, "Invalid value at 'mtu' (TYPE_INT32), \"many\""),
        ({"mtu": 2**31}, "Invalid value at 'mtu' (TYPE_INT32), 2147483648"),
        ({"autoCreateSubnetworks": "no"}, "Invalid value at 'autoCreateSubnetworks' (TYPE_BOOL), \"no\""),
        ({"routingConfig": {"routingMode": "LOCAL"}}, "Invalid value at 'routingConfig.routingMode' (TYPE_ENUM)"),
        ({"peerings": "none"}, "Invalid value at 'peerings'"),
        ({"peerings": [{"name": 5}]}, "Invalid value at 'peerings[0].name' (TYPE_STRING), 5"),
        ({"name": "Not-Lower"}, "Must be a match of regex"),
    ],
)
def test_a_body_that_breaks_the_schema(google: Emulated, change: dict[str, Any], words: str) -> None:
    code, error = refusal(google, GOOD | change)
    assert (code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]


def test_all_that_is_wrong_is_told_at_once(google: Emulated) -> None:
    _, error = refusal(google, GOOD | {"a": 1, "mtu": "x"}, "?b=2")
    fields = error["details"][0]["fieldViolations"]
    assert [each.get("field", "") for each in fields] == ["b", "", "mtu"]


@pytest.mark.parametrize("body", [[], "text", 5])
def test_a_body_that_is_no_message(google: Emulated, body: Any) -> None:
    code, error = refusal(google, body)
    assert code == 400
    assert "Root element must be a message." in error["message"]


def test_a_body_that_is_no_json(google: Emulated) -> None:
    answer = google.http().post(NETWORKS.format(google.project), content=b"{")
    assert answer.status_code == 400
    assert "Invalid JSON payload received." in answer.json()["error"]["message"]


def test_a_body_nested_too_deep(google: Emulated) -> None:
    deep = '{"params":{"resourceManagerTags":' + "[" * 200 + "]" * 200 + "}}"
    answer = google.http().post(NETWORKS.format(google.project), content=deep)
    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?other=1", "Field 'other' could not be found in request message."),
        ("?maxResults=many", "Invalid value at 'maxResults' (TYPE_UINT32), \"many\""),
        ("?maxResults=-1", "Invalid value at 'maxResults' (TYPE_UINT32), -1"),
        ("?returnPartialSuccess=perhaps", "Invalid value at 'returnPartialSuccess' (TYPE_BOOL)"),
    ],
)
def test_a_query_that_breaks_the_document(google: Emulated, query: str, words: str) -> None:
    answer = google.http().get(NETWORKS.format(google.project) + query)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_path_parameter_follows_its_pattern(google: Emulated) -> None:
    answer = google.http().get(NETWORKS.format(google.project) + "/Under_score")
    assert answer.status_code == 400
    assert "Invalid value for field 'network': 'Under_score'. Must be a match of regex" in answer.text


def test_a_missing_parameter_is_named(google: Emulated) -> None:
    answer = google.http().post("/storage/storage/v1/b", json={"name": "bucket"})
    assert answer.status_code == 400
    assert "Required parameter: project" in answer.json()["error"]["message"]


def test_no_such_method_is_a_page(google: Emulated) -> None:
    answer = google.http().get("/compute/compute/v1/projects/p/nowhere")
    assert answer.status_code == 404
    assert "Error 404 (Not Found)!!1" in answer.text


def test_what_is_not_emulated_says_its_name(google: Emulated) -> None:
    answer = google.http().get(f"/compute/compute/v1/projects/{google.project}/aggregated/acceleratorTypes")
    assert answer.status_code == 501
    assert "compute.v1:compute.acceleratorTypes.aggregatedList is not emulated." in answer.json()["error"]["message"]


def test_older_services_tell_a_reason_and_others_do_not(google: Emulated) -> None:
    older = google.http().get(NETWORKS.format(google.project) + "/none").json()["error"]
    assert older["errors"] == [{"message": older["message"], "domain": "global", "reason": "notFound"}]
    newer = google.http().get(f"/iam/v1/projects/{google.project}/serviceAccounts/none").json()["error"]
    assert (newer["status"], "errors" in newer) == ("NOT_FOUND", False)


def test_only_the_fields_asked_for(google: Emulated) -> None:
    google.http().post(NETWORKS.format(google.project), json=GOOD)
    one = google.http().get(NETWORKS.format(google.project) + "/one?fields=name,routingConfig/routingMode")
    assert one.json() == {"name": "one", "routingConfig": {"routingMode": "REGIONAL"}}
    many = google.http().get(NETWORKS.format(google.project) + "?fields=items(name,mtu)")
    assert many.json() == {"items": [{"name": "one"}]}


PATH = Parameter("", "path", required=True, repeated=False, schema={})


def test_bytes_come_in_either_alphabet_of_base64_and_go_out_in_the_usual_one(google: Emulated) -> None:
    """Source: https://protobuf.dev/programming-guides/json/ (bytes); gcloud sends fingerprints and etags so."""
    secrets = f"/secretmanager/v1/projects/{google.project}/secrets"
    google.http().post(f"{secrets}?secretId=one", json={"replication": {"automatic": {}}}).raise_for_status()
    added = google.http().post(f"{secrets}/one:addVersion", json={"payload": {"data": "_-8"}})
    assert added.status_code == 200
    assert google.http().get(f"{secrets}/one/versions/1:access").json()["payload"]["data"] == "/+8="


def marked_as_required() -> list[tuple[Method, str]]:
    """(method, field of its body) that a document marks as required, of those that are emulated and take plain JSON."""
    found, cloud = [], Cloud()
    for document in router().documents.values():
        for method in document.methods:
            if method.request and not method.upload_paths and cloud.handler(method):
                schema = document.schemas[method.request["$ref"]]
                for name, given in schema["properties"].items():
                    if method.id in given.get("annotations", {}).get("required", ()):
                        found.append((method, name))
    return [each for each in found if (each[0].id, each[1]) not in NOT_REQUIRED]


@pytest.mark.parametrize(("method", "field"), marked_as_required(), ids=lambda each: str(each))
def test_a_required_field_must_be_there(google: Emulated, method: Method, field: str) -> None:
    bucket = f"bucket-of-{google.project}"
    google.http().post(f"/storage/storage/v1/b?project={google.project}", json={"name": bucket}).raise_for_status()
    texts = {"project": google.project, "zone": "us-central1-a", "region": "us-central1", "destinationBucket": bucket}
    path = re.sub(r"\{([^}]+)\}", lambda found: texts.get(found[1], "some"), method.path)
    query = f"?project={google.project}" if method.parameters.get("project", PATH).location == "query" else ""
    answer = google.http().request(method.http, f"/{method.service}{path}{query}", json={})
    error = answer.json()["error"]
    assert (answer.status_code, error["errors"][0]["reason"]) == (400, "required"), error


def test_there_are_fields_marked_as_required() -> None:
    names = {(method.id, field) for method, field in marked_as_required()}
    assert {("compute.instances.insert", "name"), ("storage.buckets.insert", "name")} <= names
