"""Prefect's API server on a listening socket that outlives it: `python -m blocks.server.serve --slot blue …`.

The port belongs to the host and servers come and go on it. A server imports first, waits until the
database's schema is there, accepts, says so in a ready file, and on SIGTERM drains: it stops accepting, asks
every client to close its connection for some seconds, and exits. Connections made meanwhile go to the other
slot, or wait in the socket's backlog.

Exit status: 0 stopped on request, 2 wrong call or configuration, 3 the application did not start (uvicorn's).
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from blocks.server.grace import Grace, GraceLayer
from blocks.server.readiness import ClientVersions, ReadyFile, remove_own
from blocks.server.sockets import SlotSocket, SocketMissing, adopt
from blocks.server.strangers import StrangersLayer

if TYPE_CHECKING:
    from fastapi import FastAPI
    from prefect.settings import Settings

    from blocks.server.schema import Lineage
    from blocks.server.uvicorn_server import SlotServer

logger = logging.getLogger("blocks.server.serve")

ASGIApp = Callable[..., Any]


class WrongCall(RuntimeError):
    """The server cannot run as it was called or configured; the message says what to change."""


@dataclass(frozen=True)
class Options:
    """What one slot was started with."""

    slot: str
    run_dir: Path
    drain_seconds: float
    forwarded_allow_ips: str
    """Addresses whose X-Forwarded-* headers are believed: comma-separated IPs or networks, or `*`."""
    migrate: bool = False
    """Bring the schema to this release's head instead of waiting for it: for a server alone on its database."""
    services: bool = True
    """Off on a copy of a database: nothing is scheduled there, no automation fires and no notification is sent."""
    auth_grace: Path = Path("auth-grace.json")
    """File of further auth strings, see `serve_grace`; as `prefect.toml` it may lie in the working folder."""

    @property
    def ready_file(self) -> Path:
        return self.run_dir / f"server-{self.slot}.json"

    @property
    def slot_socket(self) -> Path:
        return self.run_dir / f"server-{self.slot}.sock"


@dataclass
class Laps:
    """Seconds each step of the start took, for the line that says the server is ready."""

    started: float = field(default_factory=time.monotonic)
    taken: list[tuple[str, float]] = field(default_factory=list)

    def lap(self, name: str) -> None:
        already = sum(seconds for _, seconds in self.taken)
        self.taken.append((name, time.monotonic() - self.started - already))

    def __str__(self) -> str:
        return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in self.taken)


def read_options(argv: list[str] | None = None) -> Options:
    """Parse the command line; a wrong one ends with status 2, as argparse does."""
    parser = argparse.ArgumentParser(prog="python -m blocks.server.serve", description=__doc__)
    parser.add_argument("--slot", required=True, type=_slot_name, help="name of this slot, a to z")
    parser.add_argument("--run-dir", required=True, type=Path, help="folder of ready file and slot socket")
    parser.add_argument("--drain-seconds", type=float, default=8.0, help="more than the keep-alive timeout")
    parser.add_argument("--forwarded-allow-ips", default="127.0.0.1", help="proxies to believe")
    parser.add_argument("--migrate", action="store_true", help="bring the schema up to date: alone on the database")
    parser.add_argument("--no-services", dest="services", action="store_false", help="the API alone, as on a copy")
    parser.add_argument("--auth-grace", type=Path, default=Options.auth_grace, help="file of further auth strings")
    return Options(**vars(parser.parse_args(argv)))


def _slot_name(text: str) -> str:
    if not re.fullmatch("[a-z]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a slot name: letters a to z only")
    return text


def current_settings() -> Settings:
    """Prefect's settings, from the environment and the `prefect.toml` in the working folder.

    Raises:
        WrongCall: a setting is not valid; the message names it, never its value.
    """
    from pydantic import ValidationError

    try:
        from prefect.settings import get_current_settings

        return get_current_settings()
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise WrongCall(f"Prefect's settings are not valid: {faults}") from error


def require_servable(settings: Settings) -> None:
    """Refuse settings under which two slots on one database would harm it.

    Raises:
        WrongCall: migrations on start are on, or the database is not PostgreSQL.
    """
    if settings.server.database.migrate_on_start:
        raise WrongCall(
            "migrations are a job of their own, as nothing locks them; "
            "set PREFECT_SERVER_DATABASE_MIGRATE_ON_START=false"
        )
    require_postgresql(settings)


def require_postgresql(settings: Settings) -> None:
    """Raises WrongCall where the database is not PostgreSQL."""
    database = settings.server.database
    url = database.connection_url.get_secret_value() if database.connection_url else ""
    if not url.startswith("postgresql"):
        raise WrongCall("PREFECT_SERVER_DATABASE_CONNECTION_URL must be set and be a postgresql+asyncpg URL")


def build_app(auth_grace: Path, services: bool = True) -> ASGIApp:
    """Prefect's whole application. Layers of our own are wrapped round it here, the outermost last."""
    from prefect.server.api.server import create_app
    from sqlalchemy.orm import configure_mappers

    look_seldom_for_due_tasks()
    app = create_app(final=True, webserver_only=not services)
    configure_mappers()
    auth_string = current_settings().server.api.auth_string
    remove_documentation(app)
    if auth_string is None:
        return app
    return StrangersLayer(GraceLayer(app, auth_string.get_secret_value(), Grace(auth_grace.absolute())))


def look_seldom_for_due_tasks() -> None:
    """Have Prefect's background tasks begin up to a second after they are due.

    Prefect gives docket, its queue, no settings, and what that does by itself, four times a second, is a sixth of what
    an idle server takes. A task without a time of its own begins at once as before, unless ten run already.
    """
    import docket
    from prefect.server.api import background_workers

    class SeldomWorker(docket.Worker):
        def __init__(self, queue: docket.Docket) -> None:
            resolution, interval = timedelta(seconds=1), timedelta(seconds=0.5)
            super().__init__(queue, scheduling_resolution=resolution, minimum_check_interval=interval)

    vars(background_workers)["Worker"] = SeldomWorker


def remove_documentation(app: FastAPI) -> None:
    """Remove the description of the API, for everybody, from an application and what is mounted in it.

    It is built anew for each call, for seconds in which nobody else is answered, and the pages about it load foreign
    scripts into the origin whose browser storage holds the password. Neither the UI nor any client asks for it.
    """
    from fastapi import FastAPI

    gone = {app.openapi_url, app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url}
    app.router.routes[:] = [each for each in app.routes if getattr(each, "path", None) not in gone]
    for each in app.routes:
        if isinstance(mounted := getattr(each, "app", None), FastAPI):
            remove_documentation(mounted)


def prepare(options: Options) -> tuple[SlotServer, Lineage, ClientVersions]:
    """Do all that needs no database: the imports, the application, the first use of what is made lazily.

    Raises:
        WrongCall: see `require_servable`.
    """
    # Prefect reads its logging format from the environment; its own has no date.
    os.environ.setdefault("PREFECT_LOGGING_FORMATTERS_STANDARD_DATEFMT", "%Y-%m-%d %H:%M:%S")
    # Nothing of what is imported is garbage: not looking for any saves a tenth of the time.
    gc.disable()
    require_servable(current_settings())
    from prefect.plugins import load_prefect_collections

    from blocks.server.schema import installed_lineage
    from blocks.server.uvicorn_server import SlotServer, server_config

    clients = ClientVersions(build_app(options.auth_grace, options.services))
    config = server_config(clients, options.forwarded_allow_ips)
    config.load()
    load_prefect_collections()
    lineage = installed_lineage()
    logging.getLogger("blocks.server").setLevel(logging.INFO)
    gc.freeze()
    gc.enable()
    return SlotServer(config, options.drain_seconds), lineage, clients


def run(options: Options) -> int:
    """Serve until told to stop. Returns the exit status."""
    laps = Laps()
    held = adopt(os.environ)
    slot = SlotSocket.bind(options.slot_socket)
    try:
        server, lineage, clients = prepare(options)
        laps.lap("import")
        ready = ReadyFile(options.ready_file, clients)
        server.on_ready = lambda: announce_ready(options, ready, laps)
        server.on_drain = ready.withdraw
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(_wait_and_serve(options.migrate, server, lineage, [*held, slot.bound], laps))
        return 0
    finally:
        slot.remove()
        remove_own(options.ready_file)


async def _wait_and_serve(
    migrate: bool, server: SlotServer, lineage: Lineage, sockets: list[socket.socket], laps: Laps
) -> None:
    from blocks.server.schema import migrate_once_reached, wait_until_served

    await (migrate_once_reached() if migrate else wait_until_served(lineage))
    laps.lap("waiting for the database")
    await server.serve(sockets=sockets)


def announce_ready(options: Options, ready: ReadyFile, laps: Laps) -> None:
    """Write the ready file: this slot accepts, with this process and this version."""
    from prefect import __version__ as version

    laps.lap("start")
    logger.info("slot %s is ready with Prefect %s: %s", options.slot, version, laps)
    ready.announce(version)


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def main(argv: list[str] | None = None) -> int:
    options = read_options(argv)
    # Until uvicorn sets its own handlers there is nothing to drain: leave at once.
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _leave)
    try:
        return run(options)
    except (SocketMissing, WrongCall) as error:
        sys.stderr.write(f"serve: {error}\n")
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
