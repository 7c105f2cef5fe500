"""Latency through the front door ÷ direct, side by side in one run against a real Prefect server with auth on.

    uv run python -m tests.bench.bench_front_door [--rounds 20]

Short rounds alternate between the two ways (direct, through, through, direct, …), so that whatever else the
machine does falls on both alike. Targets: p50 ≤ 1.10, p99 ≤ 1.25. It prints and judges nothing: exit status 0.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import secrets
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from blocks.local import nginx
from tests.front_door import NOBODY, nginx_argv
from tests.held import holding, server_environment
from tests.postgres import free_port, running_cluster

CONCURRENCY = 16
FLOW_RUNS = 20
START_SECONDS = 10.0


@dataclass(frozen=True)
class Call:
    """One HTTP request, repeated as it is."""

    name: str
    method: str
    path: str
    body: bytes
    count: int
    """Requests in a round: enough for about a second."""

    def to_bytes(self, port: int, authorization: str) -> bytes:
        """The request with the headers that Prefect's own client sends."""
        head = [
            f"{self.method} {self.path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Accept: */*",
            "Accept-Encoding: gzip, deflate",
            "Connection: keep-alive",
            "User-Agent: bench",
            f"Authorization: {authorization}",
        ]
        if self.body:
            head += ["Content-Type: application/json", f"Content-Length: {len(self.body)}"]
        return ("\r\n".join(head) + "\r\n\r\n").encode() + self.body


CALLS = (
    Call("GET /api/health", "GET", "/api/health", b"", 960),
    Call("POST /api/flow_runs/filter", "POST", "/api/flow_runs/filter", b'{"limit": 20}', 160),
)


@contextlib.contextmanager
def running_server(folder: Path, auth: str) -> Iterator[int]:
    """A server as the stack runs it, `serve` on a held socket over PostgreSQL; gives its port."""
    with running_cluster() as cluster:
        environment = server_environment(folder, cluster.create_database("bench"), PREFECT_SERVER_API_AUTH_STRING=auth)
        cluster.migrate("bench", folder)
        with holding(folder, environment) as holder:
            holder.start("blue").wait_ready()
            yield int(holder.listening.getsockname()[1])


@contextlib.contextmanager
def running_front_door(folder: Path, server_port: int, workers: int) -> Iterator[int]:
    """nginx with the production settings in front of `server_port`; gives its port."""
    port = free_port()
    variables = nginx.variables("127.0.0.1", port, "127.0.0.1", server_port)
    site, conf = folder / "site.conf", folder / "nginx.conf"
    site.write_text(nginx.render(nginx.template_text(), variables), encoding="utf-8")
    conf.write_text(nginx.main_conf(folder, site, NOBODY, workers), encoding="utf-8")
    child = subprocess.Popen(nginx_argv(folder, conf))
    try:
        wait_answers(port)
        yield port
    finally:
        child.terminate()
        child.wait(timeout=20)


def wait_answers(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def post(port: int, authorization: str, path: str, data: object) -> dict[str, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(data).encode(),
        {"Authorization": authorization, "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:
        answer: dict[str, str] = json.load(response)
    return answer


def make_flow_runs(port: int, authorization: str) -> None:
    flow = post(port, authorization, "/api/flows/", {"name": "bench"})
    for number in range(FLOW_RUNS):
        run = {"flow_id": flow["id"], "name": f"run-{number}", "state": {"type": "COMPLETED"}}
        post(port, authorization, "/api/flow_runs/", run)


async def read_answer(reader: asyncio.StreamReader) -> None:
    """Read one whole HTTP/1.1 answer; anything but 200 ends the bench."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise SystemExit(f"unexpected answer: {head[:200]!r}")
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
    else:
        await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))


async def one_client(port: int, request: bytes, count: int, seconds: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(count):
        started = time.perf_counter()
        writer.write(request)
        await read_answer(reader)
        seconds.append(time.perf_counter() - started)
    writer.close()


async def one_round(port: int, request: bytes, count: int) -> list[float]:
    """Latencies in seconds of `count` requests over `CONCURRENCY` kept-alive connections."""
    seconds: list[float] = []
    clients = (one_client(port, request, count // CONCURRENCY, seconds) for _ in range(CONCURRENCY))
    await asyncio.gather(*clients)
    return seconds


def measure(call: Call, ports: tuple[int, int], authorization: str, rounds: int) -> tuple[list[float], list[float]]:
    """Latencies direct and through; the first round of each is thrown away."""
    results: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for way in (0, 1) if number % 2 else (1, 0):
            request = call.to_bytes(ports[way], authorization)
            seconds = asyncio.run(one_round(ports[way], request, call.count))
            results[way].extend(seconds if number else ())
    return results


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return cuts[49] * 1000, cuts[98] * 1000


def add_rows(table: Table, call: Call, direct: list[float], through: list[float]) -> None:
    for name, target, plain, proxied in zip(
        ("p50", "p99"), ("≤ 1.10", "≤ 1.25"), percentiles(direct), percentiles(through), strict=True
    ):
        table.add_row(
            call.name, name, f"{plain:.2f}", f"{proxied:.2f}", f"{proxied / plain:.3f}", target, str(len(through))
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=20, help="rounds for each way")
    parser.add_argument("--workers", type=int, default=nginx.WORKERS, help="worker processes of nginx")
    options = parser.parse_args()

    table = Table(title=f"front door ÷ direct, concurrency {CONCURRENCY}, {FLOW_RUNS} flow runs, auth on")
    for column in ("call", "", "direct ms", "through ms", "ratio", "target", "n"):
        table.add_column(column, justify="left" if column in ("call", "") else "right")
    auth = f"admin:{secrets.token_urlsafe(16)}"
    authorization = "Basic " + base64.b64encode(auth.encode()).decode()
    with (
        tempfile.TemporaryDirectory(prefix="bench-front-door-") as name,
        running_server(Path(name), auth) as server_port,
        running_front_door(Path(name), server_port, options.workers) as port,
    ):
        make_flow_runs(server_port, authorization)
        for call in CALLS:
            add_rows(table, call, *measure(call, (server_port, port), authorization, options.rounds))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
