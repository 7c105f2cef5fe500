"""Versions of secrets through google-cloud-secret-manager.

Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions
"""

from __future__ import annotations

import json
from typing import Any

import google_crc32c
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import secretmanager_v1
from google.protobuf.duration_pb2 import Duration

from tests.unit.emulator.conftest import Emulated

State = secretmanager_v1.SecretVersion.State
DAY = 24 * 3600


def client_of(google: Emulated) -> secretmanager_v1.SecretManagerServiceClient:
    return secretmanager_v1.SecretManagerServiceClient(
        credentials=google.credentials, client_options=google.options("secretmanager"), transport="rest"
    )


@pytest.fixture
def client(google: Emulated) -> secretmanager_v1.SecretManagerServiceClient:
    return client_of(google)


def secret(google: Emulated, **settings: Any) -> str:
    body = secretmanager_v1.Secret({"replication": {"automatic": {}}, **settings})
    return client_of(google).create_secret(parent=f"projects/{google.project}", secret_id="one", secret=body).name


def add(google: Emulated, name: str, *texts: bytes) -> list[str]:
    return [client_of(google).add_secret_version(parent=name, payload={"data": text}).name for text in texts]


def test_versions_are_numbered_and_the_newest_is_latest(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    name = secret(google)
    assert add(google, name, b"1", b"2") == [f"{name}/versions/1", f"{name}/versions/2"]
    latest = client.access_secret_version(name=f"{name}/versions/latest")
    assert (latest.name, latest.payload.data) == (f"{name}/versions/2", b"2")
    assert latest.payload.data_crc32c == google_crc32c.value(b"2")
    assert client.access_secret_version(name=f"{name}/versions/1").payload.data == b"1"
    assert [each.name[-1] for each in client.list_secret_versions(parent=name)] == ["2", "1"]
    assert client.get_secret_version(name=f"{name}/versions/latest").state == State.ENABLED


def test_without_versions(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    name = secret(google)
    with pytest.raises(NotFound, match=rf"Secret \[{name}\] not found or has no versions"):
        client.access_secret_version(name=f"{name}/versions/latest")
    with pytest.raises(NotFound, match=rf"Secret Version \[{name}/versions/7\] not found"):
        client.access_secret_version(name=f"{name}/versions/7")
    with pytest.raises(NotFound, match="not found or has no versions"):
        client.access_secret_version(name=name.replace("/one", "/none") + "/versions/latest")


def test_a_checksum_is_checked(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/data-integrity"""
    name = secret(google)
    right = {"data": b"x", "data_crc32c": google_crc32c.value(b"x")}
    assert client.add_secret_version(parent=name, payload=right).client_specified_payload_checksum
    with pytest.raises(BadRequest, match="checksum"):
        client.add_secret_version(parent=name, payload={"data": b"x", "data_crc32c": 7})


def test_a_payload_has_a_largest_size(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    """Source: https://cloud.google.com/secret-manager/quotas#content_limits"""
    name = secret(google)
    add(google, name, b"x" * 65536)
    for payload in (b"x" * 65537, b""):
        with pytest.raises(BadRequest, match="payload"):
            add(google, name, payload)
    assert len(client.access_secret_version(name=f"{name}/versions/1").payload.data) == 65536


def test_a_disabled_version_is_not_read_until_it_is_enabled(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    [version] = add(google, secret(google), b"x")
    assert client.disable_secret_version(name=version).state == State.DISABLED
    with pytest.raises(BadRequest, match=rf"Secret Version \[{version}\] is in DISABLED state"):
        client.access_secret_version(name=version)
    assert client.enable_secret_version(name=version).state == State.ENABLED
    assert client.access_secret_version(name=version).payload.data == b"x"


def test_a_destroyed_version_is_gone_for_good(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    """Source: google-github-actions/get-secretmanager-secrets#268: it stays the latest"""
    name = secret(google)
    add(google, name, b"first", b"second")
    destroyed = client.destroy_secret_version(name=f"{name}/versions/2")
    assert (destroyed.state, destroyed.destroy_time is not None) == (State.DESTROYED, True)
    for act in (client.enable_secret_version, client.disable_secret_version, client.destroy_secret_version):
        with pytest.raises(BadRequest, match="is in DESTROYED state"):
            act(name=f"{name}/versions/2")
    with pytest.raises(BadRequest, match=r"versions/2\] is in DESTROYED state"):
        client.access_secret_version(name=f"{name}/versions/latest")
    assert b"second" not in [each.hidden.get("data") for each in google.cloud.world.records.values()]
    assert add(google, name, b"third") == [f"{name}/versions/3"]


def test_destruction_can_be_delayed_and_taken_back(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions"""
    name = secret(google, version_destroy_ttl=Duration(seconds=2 * DAY))
    one, two = add(google, name, b"1", b"2")
    waiting = client.destroy_secret_version(name=one)
    assert (waiting.state, waiting.scheduled_destroy_time is not None) == (State.DISABLED, True)
    client.destroy_secret_version(name=two)
    assert client.enable_secret_version(name=two).scheduled_destroy_time is None
    google.advance(2 * DAY)
    later = client_of(google)
    assert later.get_secret_version(name=one).state == State.DESTROYED
    assert later.access_secret_version(name=two).payload.data == b"2"


def test_a_stale_etag_is_refused(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/etags"""
    [version] = add(google, secret(google), b"x")
    etag = client.get_secret_version(name=version).etag
    client.disable_secret_version(request={"name": version, "etag": etag})
    with pytest.raises(BadRequest, match="etag"):
        client.enable_secret_version(request={"name": version, "etag": etag})


def test_an_alias_names_a_version(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/assign-alias-to-secret-version"""
    name = secret(google)
    add(google, name, b"1", b"2")
    body = secretmanager_v1.Secret({"name": name, "version_aliases": {"stable": 1}})
    client.update_secret(secret=body, update_mask={"paths": ["version_aliases"]})
    assert client.access_secret_version(name=f"{name}/versions/stable").payload.data == b"1"
    with pytest.raises(NotFound):
        client.disable_secret_version(name=f"{name}/versions/stable")
    for aliases in ({"latest": 1}, {"stable": 9}):
        wrong = secretmanager_v1.Secret({"name": name, "version_aliases": aliases})
        with pytest.raises(BadRequest):
            client.update_secret(secret=wrong, update_mask={"paths": ["version_aliases"]})


def test_versions_are_filtered_by_state(google: Emulated, client: secretmanager_v1.SecretManagerServiceClient) -> None:
    """Source: https://cloud.google.com/secret-manager/docs/filtering"""
    name = secret(google)
    one, two = add(google, name, b"1", b"2")
    client.disable_secret_version(name=one)
    found = client.list_secret_versions(request={"parent": name, "filter": "state:ENABLED"})
    assert [each.name for each in found] == [two]


def test_a_secret_takes_its_versions_with_it(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    name = secret(google)
    add(google, name, b"1")
    client.delete_secret(name=name)
    secret(google)
    assert list(client.list_secret_versions(parent=name)) == []
    assert add(google, name, b"2") == [f"{name}/versions/1"]


def test_the_payload_shows_nowhere_but_in_access(
    google: Emulated, client: secretmanager_v1.SecretManagerServiceClient
) -> None:
    name = secret(google)
    add(google, name, b"hidden-word")
    encoded, http = "aGlkZGVuLXdvcmQ=", google.http()
    shown = [http.get(f"/secretmanager/v1/{path}").text for path in (name, f"{name}/versions", f"{name}/versions/1")]
    shown.append(json.dumps([record.body for record in google.cloud.world.records.values()]))
    shown.append(http.get("/_emulator/requests").text)
    assert not [text for text in shown if encoded in text or "hidden-word" in text]
    assert encoded in http.get(f"/secretmanager/v1/{name}/versions/1:access").text
