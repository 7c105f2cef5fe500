"""Every front door behaves the same; how it treats traffic is in test_front_door*.py, what stands at Google for it in
test_cloud_run*.py."""

from __future__ import annotations

import ipaddress
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from blocks.agent.spec import HostSpec, Service
from blocks.agent.validation import faults
from blocks.gcp.google import Google
from blocks.gcp.network import Network
from blocks.gcp.proxy import CloudRunProxy
from blocks.local.proxy import LocalProxy
from blocks.proxy import Proxy
from blocks.resource import Apply, visit, visit_to_delete
from blocks.waiting import wait_until
from tests.postgres import free_port


def local_proxy(home: Path) -> LocalProxy:
    return LocalProxy(
        home=home,
        listen="127.0.0.1",
        port=free_port(),
        server_port=free_port(),
        public_url="https://prefect.example.org",
        version="1.31",
    )


def cloud_run_proxy(home: Path) -> CloudRunProxy:
    google = Google("acme-data-42")
    return CloudRunProxy(
        google=google,
        network=Network(google, "trial", "europe-west1", "trial-host@acme-data-42.iam.gserviceaccount.com"),
        bucket="trial-1f2e",
        number="123456789012",
        domain="prefect.example.org",
        active_domain="prefect.example.org",
    )


ADAPTERS: dict[str, Callable[[Path], Proxy]] = {"local": local_proxy, "gcp": cloud_run_proxy}
ENVIRONMENT = Path(sys.prefix)


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> Proxy:
    return ADAPTERS[request.param](tmp_path)


@pytest.fixture
def proxy() -> Iterator[LocalProxy]:
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        Path(folder).chmod(0o711)
        made = local_proxy(Path(folder))
        for resource in made.on_host():
            visit(resource, Apply())
        yield made


def written(proxy: LocalProxy) -> Service:
    """Write its files as a host agent would; its service."""
    for file in proxy.files():
        Path(file.path).parent.mkdir(parents=True, exist_ok=True)
        Path(file.path).write_text(file.content)
    (service,) = proxy.services(ENVIRONMENT)
    return service


def test_url_has_no_slash_at_its_end(adapter: Proxy) -> None:
    assert adapter.url() == "https://prefect.example.org"


def test_the_server_believes_nobody_but_its_own_front_door(adapter: Proxy) -> None:
    trusted = [ipaddress.ip_network(each) for each in adapter.trusted().split(",")]
    server = ipaddress.ip_address(adapter.upstream()[0])
    assert trusted and all(each.is_private for each in trusted)
    assert [each for each in trusted if server in each] == ([] if adapter.outside() else trusted)


def test_a_host_accepts_its_files_and_services(adapter: Proxy) -> None:
    spec = HostSpec("trial", 1, files=tuple(adapter.files()), services=tuple(adapter.services(ENVIRONMENT)))
    assert list(faults(spec)) == []
    assert {path for each in spec.services for path in each.files} == {file.path for file in spec.files}


def test_the_same_spec_gives_the_same_files(adapter: Proxy) -> None:
    assert adapter.files() == adapter.files()


def test_every_variable_of_the_template_is_filled_in(proxy: LocalProxy) -> None:
    assert not [found for file in proxy.files() for found in re.findall(r"\$\{?[A-Z_]+", file.content)]


def test_its_resources_are_made_once_and_removed(proxy: LocalProxy) -> None:
    assert {visit(each, Apply()).action for each in proxy.on_host()} == {"keep"}
    assert {visit_to_delete(each, Apply()).action for each in proxy.on_host()} == {"delete"}
    assert [each.find() for each in proxy.on_host()] == [None]


def test_nginx_itself_finds_nothing_wrong(proxy: LocalProxy) -> None:
    service = written(proxy)
    done = subprocess.run([*service.argv, "-t"], cwd=service.cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_the_service_starts_serves_on_its_port_and_leaves_by_its_signal(proxy: LocalProxy) -> None:
    service = written(proxy)
    process = subprocess.Popen(service.argv, cwd=service.cwd, stderr=subprocess.PIPE)
    try:
        wait_until(lambda: listens(proxy.port), "nginx listening", timeout=20, every=0.05)
        answer = httpx.get(f"http://127.0.0.1:{proxy.port}/api/health")
        assert (answer.status_code, answer.headers["Prefect-Maintenance"]) == (503, "true")
        assert "nginx/" not in answer.headers["Server"]
    finally:
        process.send_signal(signal.Signals[service.stop_signal])
        process.communicate(timeout=service.stop_timeout + 10)
    assert process.returncode == 0
    assert not listens(proxy.port)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
