"""uvicorn as one slot on a shared socket: ready when it accepts, drained before it exits."""

from __future__ import annotations

import logging
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

import uvicorn
from prefect.settings import get_current_settings
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from blocks.server.strangers import FIRST_BYTES, MOST_BYTES

logger = logging.getLogger("blocks.server.serve")

CLOSE = (b"connection", b"close")
GRACEFUL_SECONDS = 5
"""What calls in flight get to finish once the drain is over, during which they could finish too."""
WEBSOCKET_SECONDS = 1.0
"""Websockets are closed this long before the exit, so that what came over them is stored, not dropped."""
SETTLE_SECONDS = 0.5
"""Connections accepted just before the drain have reached uvicorn's books after this time."""


DrainStep = Literal["wait", "close websockets", "exit"]


def drain_step(
    drained_for: float, drain_seconds: float, http_connections: int, websockets_closed_for: float | None
) -> DrainStep:
    """What a draining server does now; all times in seconds, None where websockets are still open.

    It need not wait out its time when no HTTP client is left: the websockets alone go at once.
    """
    if websockets_closed_for is not None:
        return "exit" if websockets_closed_for >= WEBSOCKET_SECONDS else "wait"
    is_late = drained_for >= drain_seconds - WEBSOCKET_SECONDS
    is_left_alone = drained_for >= SETTLE_SECONDS and not http_connections
    return "close websockets" if is_late or is_left_alone else "wait"


class StrangersProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket, which takes FIRST_BYTES in all until Prefect answers, as it does known clients alone."""

    _is_known = False
    _brought = 0

    def data_received(self, data: bytes) -> None:
        is_after_handshake = self.handshake_initiated
        super().data_received(data)
        if is_after_handshake and not self._is_known:
            self._brought += len(data)  # pings and fragments too, which are no messages, and of which there is no limit
            if self._brought > FIRST_BYTES and not self.close_sent:
                self.transport.abort()

    async def send(self, message: Any) -> None:
        if message["type"] == "websocket.send" and not self._is_known:
            self._is_known = True
            self.conn.max_message_size = MOST_BYTES
        await super().send(message)


def server_config(app: Callable[..., Any], forwarded_allow_ips: str) -> uvicorn.Config:
    """The options `prefect server start` gives to uvicorn, with Prefect's logging (it has timestamps).

    Without an auth string nobody is a stranger, and Prefect does not answer what comes over a websocket.
    """
    api = get_current_settings().server.api
    has_strangers = api.auth_string is not None
    return uvicorn.Config(
        app,
        timeout_keep_alive=api.keepalive_timeout,
        ws=StrangersProtocol if has_strangers else "auto",
        ws_max_size=FIRST_BYTES if has_strangers else MOST_BYTES,
        ws_ping_interval=api.websocket_ping_interval,
        ws_ping_timeout=api.websocket_ping_timeout,
        log_level=get_current_settings().server.logging_level.lower(),
        log_config=None,
        access_log=False,  # nginx is the place for that; a line a call is a tenth of a call's time
        forwarded_allow_ips=forwarded_allow_ips,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


class SlotServer(uvicorn.Server):
    """Accepts on sockets it shares, says when it does, and hands its clients over when told to stop.

    SIGTERM drains. A second SIGTERM, or SIGINT, cuts the drain short; one more skips Prefect's own
    shutdown too.
    """

    def __init__(self, config: uvicorn.Config, drain_seconds: float) -> None:
        super().__init__(config)
        self.on_ready: Callable[[], None] = lambda: None
        self.on_drain: Callable[[], None] = lambda: None
        self._drain_seconds = drain_seconds
        self._drain_asked = False
        self._drain_began: float | None = None
        self._websockets_closed: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self.on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # uvicorn's own handler raises the signal again after a clean shutdown; here it is an exit status 0.
        if self.should_exit:
            self.force_exit = True
        elif sig == signal.SIGTERM and self.started and not self._drain_asked:
            self._drain_asked = True
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self._drain_asked:
            if self._drain_began is None:
                self._begin_drain()
            self._go_on_draining()
        return await super().on_tick(counter)

    def _begin_drain(self) -> None:
        self._drain_began = time.monotonic()
        self.on_drain()
        for server in self.servers:
            server.close()
        # uvicorn renews the default headers from the configuration each second; calls in flight hold the
        # list of now. So the header goes into both.
        self.config.encoded_headers.append(CLOSE)
        self.server_state.default_headers.append(CLOSE)
        logger.info("draining: no longer accepting, %d connections open", len(self.server_state.connections))

    def _go_on_draining(self) -> None:
        now, websockets = time.monotonic(), self._websockets()
        drained_for, closed_at = now - (self._drain_began or now), self._websockets_closed
        http = len(self.server_state.connections) - len(websockets)
        step = drain_step(drained_for, self._drain_seconds, http, None if closed_at is None else now - closed_at)
        if step == "close websockets":
            self._websockets_closed = now
            for each in websockets:
                each.shutdown()  # with code 1012, service restart: Prefect's clients connect again
        elif step == "exit":
            for each in websockets:
                each.transport.abort()  # a peer which does not read its close frame
            self.should_exit = True

    def _websockets(self) -> list[Any]:
        http = self.config.http_protocol_class
        return [each for each in self.server_state.connections if not isinstance(each, http)]
