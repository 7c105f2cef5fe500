"""A small server of the lab's own, on a thread: what nginx asks for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import uvicorn

from tests.emulator.server import listen

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tests.lab.cloud import Lab


def serve(lab: Lab, app: ASGIApp) -> str:
    """Serve until the lab ends; returns `127.0.0.1:PORT`."""
    sock = listen()
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)

    def end() -> None:
        server.should_exit = True
        thread.join(10)

    lab.exits.callback(end)
    return f"127.0.0.1:{sock.getsockname()[1]}"
