"""One port for all services: by path prefix, by Host header, as a proxy, in a batch.

Source of batches: https://cloud.google.com/compute/docs/api/how-tos/batch
"""

from __future__ import annotations

import socket

import httpx
import pytest

from tests.unit.emulator.conftest import Emulated

PATH = "/compute/v1/projects/{}/global/networks/none"


def message(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["message"])


def test_by_prefix_and_by_host(google: Emulated) -> None:
    path = PATH.format(google.project)
    by_prefix = google.http().get("/compute" + path)
    by_host = google.http().get(path, headers={"Host": "compute.googleapis.com"})
    assert message(by_prefix) == message(by_host)
    assert "was not found" in message(by_host)


def test_a_region_before_the_service(google: Emulated) -> None:
    answer = google.http().get(
        f"/v2/projects/{google.project}/locations/europe-west1/operations/none",
        headers={"Host": "europe-west1-run.googleapis.com"},
    )
    assert google.cloud.received[-1].method == "run.projects.locations.operations.get"
    assert answer.status_code in (404, 501)


def test_as_a_proxy(google: Emulated) -> None:
    proxied = httpx.Client(proxy=google.address, headers={"Authorization": f"Bearer {google.token}"})
    answer = proxied.get("http://compute.googleapis.com" + PATH.format(google.project))
    assert "was not found" in message(answer)


def test_an_object_name_may_hold_an_encoded_slash(google: Emulated) -> None:
    google.http().get("/storage/storage/v1/b/nobody/o/a%2Fb")
    assert google.cloud.received[-1].method == "storage.objects.get"


@pytest.mark.parametrize("path", ["/batch/compute/v1", "/compute/batch/compute/v1"])
def test_a_batch_answers_each_part(google: Emulated, path: str) -> None:
    part = "--b\r\nContent-Type: application/http\r\nContent-ID: <{0}>\r\n\r\n{1} HTTP/1.1\r\n{2}\r\n"
    body = '{"name":"one","autoCreateSubnetworks":false}'
    networks = f"/compute/v1/projects/{google.project}/global/networks"
    first = part.format("1", f"POST {networks}", f"Content-Type: application/json\r\n\r\n{body}")
    second = part.format("2", f"GET {networks}/none", "\r\n")
    headers = {"Content-Type": 'multipart/mixed; boundary="b"', "Host": "compute.googleapis.com"}
    answer = google.http().post(path, content=(first + second + "--b--\r\n").encode(), headers=headers)
    assert answer.status_code == 200
    assert "Content-ID: <response-1>\r\n\r\nHTTP/1.1 200" in answer.text
    assert "Content-ID: <response-2>\r\n\r\nHTTP/1.1 404" in answer.text
    assert google.http().get("/compute" + networks + "/one").status_code == 200


def test_what_is_no_http_ends_no_server(google: Emulated) -> None:
    with socket.create_connection(("127.0.0.1", int(google.address.rpartition(":")[2]))) as raw:
        raw.sendall(b"\x16\x03\x01 not http\r\n\r\n")
        raw.recv(1024)
    assert google.http().get("/_emulator/requests").status_code == 200


def test_what_was_received_is_listed(google: Emulated) -> None:
    google.http().get("/compute" + PATH.format(google.project))
    last = google.http().get("/_emulator/requests").json()[-1]
    assert last == {
        "method": "compute.networks.get",
        "resource": "/compute" + PATH.format(google.project),
        "caller": "user:owner@example.com",
        "status": 404,
    }


def test_an_unknown_control_path_lists_what_there_is(google: Emulated) -> None:
    answer = google.http().get("/_emulator/help")
    assert answer.status_code == 404
    assert "POST faults" in answer.text
