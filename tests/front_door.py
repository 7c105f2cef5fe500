"""A real nginx with our template in front of a held socket, for tests and benches."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from blocks.local import nginx
from tests.postgres import free_port


@contextmanager
def front_door(folder: Path, server: str) -> Iterator[str]:
    """nginx on a free loopback port in front of the address `server`; its own address."""
    where, port = urlsplit(server), free_port()
    site, conf = folder / "site.conf", folder / "nginx.conf"
    values = nginx.variables("127.0.0.1", port, where.hostname or "", where.port or 80)
    site.write_text(nginx.render(nginx.template_text(), values))
    conf.write_text(nginx.main_conf(folder, site, nginx.worker_user()))
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(nginx.argv(folder, conf), cwd=folder, stdout=log, stderr=log)
    try:
        _wait_for_answer(f"http://127.0.0.1:{port}/startupz")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def _wait_for_answer(url: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            httpx.get(url, timeout=5)
            return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
