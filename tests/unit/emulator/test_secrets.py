"""Secrets through google-cloud-secret-manager.

Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets and the pages named below
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict, Forbidden, NotFound
from google.cloud import secretmanager_v1
from google.iam.v1 import policy_pb2
from google.protobuf.duration_pb2 import Duration

from tests.emulator.cloud import OWNER
from tests.unit.emulator.conftest import Emulated

ANN = "user:ann@example.com"
DAY = 24 * 3600
AUTOMATIC = {"automatic": {}}


def client_of(google: Emulated, member: str = OWNER) -> secretmanager_v1.SecretManagerServiceClient:
    return secretmanager_v1.SecretManagerServiceClient(
        credentials=google.credentials_of(member), client_options=google.options("secretmanager"), transport="rest"
    )


def made(google: Emulated, name: str = "one", **settings: Any) -> secretmanager_v1.Secret:
    body = secretmanager_v1.Secret({"replication": AUTOMATIC, **settings})
    return client_of(google).create_secret(parent=f"projects/{google.project}", secret_id=name, secret=body)


def update(google: Emulated, secret: secretmanager_v1.Secret, *paths: str) -> secretmanager_v1.Secret:
    return client_of(google).update_secret(secret=secret, update_mask={"paths": list(paths)})


def names(google: Emulated, **asked: Any) -> list[str]:
    request = {"parent": f"projects/{google.project}", **asked}
    return [each.name.rpartition("/")[2] for each in client_of(google).list_secrets(request=request)]


def test_a_secret_is_made_read_listed_and_deleted(google: Emulated) -> None:
    secret = made(google, labels={"team": "data"}, annotations={"Note.x": "Any Text"})
    number = google.cloud.world.projects[google.project].number
    assert secret.name == f"projects/{number}/secrets/one"
    client = client_of(google)
    found = client.get_secret(name=f"projects/{google.project}/secrets/one")
    assert (found.labels, found.annotations, found.etag) == ({"team": "data"}, {"Note.x": "Any Text"}, secret.etag)
    assert client.get_secret(name=secret.name) == found
    assert names(google) == ["one"]
    client.delete_secret(name=secret.name)
    with pytest.raises(NotFound, match=rf"Secret \[projects/{number}/secrets/one\] not found"):
        client.get_secret(name=secret.name)


def test_a_name_is_taken_once(google: Emulated) -> None:
    name = made(google).name
    with pytest.raises(Conflict, match=rf"Secret \[{name}\] already exists"):
        made(google)


def test_a_name_follows_the_rule(google: Emulated) -> None:
    with pytest.raises(BadRequest, match=r"The provided Secret ID \[a b\] does not match the expected format"):
        made(google, "a b")


@pytest.mark.parametrize(
    "replication", [{}, {"user_managed": {"replicas": []}}, {"user_managed": {"replicas": [{"location": "mars"}]}}]
)
def test_a_replication_is_required(google: Emulated, replication: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="replication"):
        made(google, replication=replication)


def test_a_replication_in_chosen_regions_cannot_be_changed(google: Emulated) -> None:
    replicas = [{"location": "us-east1"}, {"location": "europe-west1"}]
    secret = made(google, replication={"user_managed": {"replicas": replicas}})
    assert [each.location for each in secret.replication.user_managed.replicas] == ["us-east1", "europe-west1"]
    with pytest.raises(BadRequest, match="replication"):
        update(google, secret, "replication")


def test_only_what_the_mask_names_changes(google: Emulated) -> None:
    secret = made(google, labels={"team": "data", "step": "one"}, annotations={"a": "1"})
    changed = secretmanager_v1.Secret({"name": secret.name, "labels": {"team": "ops"}})
    after = update(google, changed, "labels")
    assert (after.labels, after.annotations) == ({"team": "ops"}, {"a": "1"})
    assert after.etag != secret.etag
    emptied = update(google, secretmanager_v1.Secret(name=secret.name), "annotations")
    assert (emptied.labels, emptied.annotations) == ({"team": "ops"}, {})


def test_a_stale_etag_is_refused(google: Emulated) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/etags"""
    secret = made(google)
    update(google, secretmanager_v1.Secret({"name": secret.name, "labels": {"team": "ops"}}), "labels")
    with pytest.raises(BadRequest, match="etag"):
        update(google, secret, "labels")
    with pytest.raises(BadRequest, match="etag"):
        client_of(google).delete_secret(request={"name": secret.name, "etag": secret.etag})


@pytest.mark.parametrize("labels", [{"Team": "data"}, {"team": "Data"}, {"1": "x"}, {"team": "a b"}])
def test_labels_follow_the_rules(google: Emulated, labels: dict[str, str]) -> None:
    with pytest.raises(BadRequest, match="label"):
        made(google, labels=labels)


def test_a_secret_expires(google: Emulated) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/secret-expiration"""
    secret = made(google, ttl=Duration(seconds=DAY))
    assert secret.expire_time == secret.create_time + timedelta(days=1)
    update(google, secretmanager_v1.Secret({"name": secret.name, "ttl": Duration(seconds=2 * DAY)}), "ttl")
    google.advance(DAY)
    assert names(google) == ["one"]
    google.advance(DAY)
    assert names(google) == []


def test_an_expiration_is_in_the_future(google: Emulated) -> None:
    with pytest.raises(BadRequest, match="future"):
        made(google, expire_time=google.cloud.world.clock.now())


def test_pages_are_newest_first(google: Emulated) -> None:
    for name in ("b", "c", "a"):
        made(google, name)
    assert names(google, page_size=2) == ["a", "c", "b"]
    pager = client_of(google).list_secrets(request={"parent": f"projects/{google.project}", "page_size": 2})
    assert [(len(page.secrets), page.total_size) for page in pager.pages] == [(2, 3), (1, 3)]


@pytest.mark.parametrize(
    "text, found",
    [("labels.team=data", ["bsecret", "asecret"]), ("name:asecret OR name:csecret", ["csecret", "asecret"]),
     ("labels.team=data AND name:b", ["bsecret"]), ("labels.team:*", ["bsecret", "asecret"]),
     ("NOT labels.team=data", ["csecret"]), ("create_time<2020-01-01T00:00:00Z", [])],
)  # fmt: skip
def test_filters(google: Emulated, text: str, found: list[str]) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/filtering"""
    for name, labels in (("asecret", {"team": "data"}), ("bsecret", {"team": "data"}), ("csecret", {})):
        made(google, name, labels=labels)
    assert names(google, filter=text) == found


def test_a_filter_that_is_none(google: Emulated) -> None:
    with pytest.raises(BadRequest, match="filter"):
        names(google, filter="team is data")


def test_a_role_on_the_secret_opens_that_secret(google: Emulated) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/access-control"""
    one, two, owner, ann = made(google, "one").name, made(google, "two").name, client_of(google), client_of(google, ANN)
    for name in (one, two):
        owner.add_secret_version(parent=name, payload={"data": b"x"})
    with pytest.raises(
        Forbidden,
        match=rf"Permission 'secretmanager.versions.access' denied for resource '{one}/versions/latest' \(or it",
    ):
        ann.access_secret_version(name=f"{one}/versions/latest")
    policy = owner.get_iam_policy(request={"resource": one})
    policy.bindings.append(policy_pb2.Binding(role="roles/secretmanager.secretAccessor", members=[ANN]))
    owner.set_iam_policy(request={"resource": one, "policy": policy})
    assert ann.access_secret_version(name=f"{one}/versions/latest").payload.data == b"x"
    with pytest.raises(Forbidden):
        ann.access_secret_version(name=f"{two}/versions/latest")
    asked = ["secretmanager.versions.access", "secretmanager.secrets.delete"]
    told = ann.test_iam_permissions(request={"resource": one, "permissions": asked})
    assert list(told.permissions) == ["secretmanager.versions.access"]


def test_a_stale_policy_is_refused(google: Emulated) -> None:
    """Source: https://cloud.google.com/iam/docs/policies#etag"""
    name, client = made(google).name, client_of(google)
    binding = policy_pb2.Binding(role="roles/secretmanager.secretAccessor", members=[ANN])
    stale = client.get_iam_policy(request={"resource": name})
    client.set_iam_policy(request={"resource": name, "policy": {"bindings": [binding], "etag": stale.etag}})
    with pytest.raises(Conflict, match="concurrent policy changes"):
        client.set_iam_policy(request={"resource": name, "policy": {"etag": stale.etag}})


@pytest.mark.parametrize(
    "setting", [{"topics": [{"name": "projects/p/topics/t"}]}, {"secret_type": 50}, {"tags": {"a": "b"}}]
)
def test_what_is_not_emulated_says_so(google: Emulated, setting: dict[str, Any]) -> None:
    body = {"replication": AUTOMATIC} | {"secretType" if key == "secret_type" else key: setting[key] for key in setting}
    place = f"/secretmanager/v1/projects/{google.project}/secrets?secretId=one"
    assert google.http().post(place, json=body).status_code == 501
