"""The way of pg_dump and pg_restore, which know no TLS, to a database that wants it.

They talk to a Unix socket in a folder that is closed to all other users; what they say goes on by TLS. It lives in a
thread of the caller's and ends with it. Two copies through Python cost a third of the throughput.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks.database import Tls
from blocks.errors import Blocked, NotReady
from blocks.postgres import tls
from blocks.postgres.tls import CHUNK

PORT = 5432
"""Part of the socket's name, by which the programs find it."""
FOLDERS = "/tmp"
"""Not `$TMPDIR`, which may lie deep in a home: the path of a socket has at most 107 bytes."""

END_SECONDS = 2.0
"""Time connections get to be closed by both sides."""


@contextmanager
def forwarded(host: str, port: int, wanted: Tls) -> Iterator[Path]:
    """The folder with the socket, as long as the context lasts: `PGHOST` of the programs; `PGPORT` is `PORT`.

    Raises:
        NotReady, Blocked: at the end, where a program's connection could not be made, with the reason; all the program
            itself can say is that its connection was closed.
    """
    with tempfile.TemporaryDirectory(prefix="selfhost-", dir=FOLDERS) as folder, _running_loop() as loop:
        forwarder = _Forwarder(host, port, wanted)
        listening = asyncio.start_unix_server(forwarder.serve, f"{folder}/.s.PGSQL.{PORT}", limit=CHUNK)
        server = asyncio.run_coroutine_threadsafe(listening, loop).result()
        try:
            yield Path(folder)
        finally:
            loop.call_soon_threadsafe(server.close)
        if forwarder.failure:
            raise forwarder.failure


class _Forwarder:
    """Makes a connection to the database for each of a program's."""

    def __init__(self, host: str, port: int, wanted: Tls) -> None:
        self._host, self._port, self._wanted = host, port, wanted
        self.failure: Blocked | NotReady | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, questions = await tls.connected(self._host, self._port, self._wanted)
        except (Blocked, NotReady) as error:
            self.failure = error
            writer.close()
            return
        with suppress(asyncio.CancelledError):  # the forwarder's end, which asyncio would report as a fault
            await asyncio.gather(_copy(reader, questions), _copy(answers, writer))
        questions.close()
        writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Copy until one side ends; then the other side ends, too, once it has what was sent before."""
    with suppress(OSError):  # either side sees for itself that the connection has broken
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    target.close()


@contextmanager
def _running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop in a thread of its own. Connections still open at the end are closed."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="forwarder", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        asyncio.run_coroutine_threadsafe(_end_all(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all() -> None:
    """The programs have ended, and their connections are about to."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, late = await asyncio.wait(others, timeout=END_SECONDS)
        for each in late:
            each.cancel()
        await asyncio.gather(*late, return_exceptions=True)
