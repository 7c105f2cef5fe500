"""Every front door behaves the same; how it treats traffic is in test_front_door*.py."""

from __future__ import annotations

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
from blocks.local.proxy import LocalProxy
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


ADAPTERS: dict[str, Callable[[Path], LocalProxy]] = {"local": local_proxy}
ENVIRONMENT = Path(sys.prefix)


@pytest.fixture(params=ADAPTERS)
def proxy(request: pytest.FixtureRequest) -> Iterator[LocalProxy]:
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        Path(folder).chmod(0o711)
        made = ADAPTERS[request.param](Path(folder))
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


def test_url_has_no_slash_at_its_end(proxy: LocalProxy) -> None:
    assert proxy.url() == "https://prefect.example.org"


def test_a_host_accepts_its_files_and_services(proxy: LocalProxy) -> None:
    spec = HostSpec("trial", 1, files=tuple(proxy.files()), services=tuple(proxy.services(ENVIRONMENT)))
    assert list(faults(spec)) == []
    assert {path for each in spec.services for path in each.files} == {file.path for file in spec.files}


def test_the_same_spec_gives_the_same_files(proxy: LocalProxy) -> None:
    assert proxy.files() == proxy.files()


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
