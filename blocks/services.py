"""The services of a stack which run Prefect, and the files they read. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from blocks.agent.spec import File, Folder, Health, Service
from blocks.database import Database
from blocks.host.home import HOME_VARIABLE, Home
from blocks.postgres import tls
from blocks.proxy import LOOPBACK, Proxy
from blocks.spec import MAINTENANCE_POOL, StackSpec, Worker

SOCKET = "server"
"""Name of the held socket which both slots of the server accept on."""
SERVER = "server"
"""Under which name the server of either slot is given a user."""
SLOT_PREFIX = "server-"
WORKER_PREFIX = "worker-"
"""How the services of servers, by slot, and of workers, by name, begin."""


QUIET_LOOPS = {
    # A run that still waits for a worker is called late 15 to 30 s after its time; Prefect's: 15 to 20 s.
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
    # A pause that nobody ended in time fails up to 30 s later; Prefect's: 5 s. It is given minutes or hours.
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "30",
    # A worker that has said nothing for 90 s is called offline up to 30 s later; Prefect's: 15 s.
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "30",
    # The place that a killed run had under a concurrency limit is free up to 30 s after its lease; Prefect's: 15 s.
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "30",
    # Task runs and children of a cancelled run, which its worker has ended, are cancelled within 60 s; Prefect's: 20 s.
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "60",
    # What a worker was told to clean up and did not confirm is told again up to 30 s later; Prefect's: 5 s.
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "30",
    # An automation that waits for something not to happen fires up to 15 s later; Prefect's: 5 s.
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT15S",
}
"""How often the server looks for what has become due: seldom enough that an idle one takes little, and soon enough for
a person. What is started by hand, and what a schedule starts, waits for none of these."""


class StopLevel(IntEnum):
    """In which order the services of a stack end: nobody loses what it works with before it has ended itself."""

    WORKERS = 0
    SERVERS = 1
    FRONT_DOOR = 2
    DATABASE = 3


@dataclass(frozen=True)
class ServerSecrets:
    """Versions of the secrets that a server is started with, each as `NAME@7`."""

    auth_string: str
    database_login: str
    encryption_key: str


def reference(secret: str) -> str:
    """How the content of a file names a version of a secret, which is given as `NAME@7`."""
    return f"${{secret:{secret}}}"


def server_state(home: Home) -> Path:
    """The server's own folder, shared by both slots: what it keeps beside its database, and what says it is ready."""
    return home.state / "server"


def worker_state(home: Home, worker: Worker) -> Path:
    """A worker's own folder."""
    return home.state / f"{WORKER_PREFIX}{worker.name}"


def folders(spec: StackSpec, home: Home, users: Mapping[str, str]) -> tuple[Folder, ...]:
    """Where services write, a folder each, closed to all others.

    A worker has its own for temporary files: Prefect's runner works in `runner_storage` of that, which in /tmp is the
    one of the first user who ran a worker on this machine, and those of all other users could not start.

    Args:
        users: System user of each service that has one of its own.
    """
    found = [Folder(str(server_state(home)), user=users.get(SERVER, ""))]
    for each in spec.workers:
        state, user = worker_state(home, each), users.get(WORKER_PREFIX + each.name, "")
        found += [Folder(str(state), user=user), Folder(str(state / "tmp"), user=user)]
    return tuple(found)


def server_service(
    spec: StackSpec, home: Home, environment: Path, slot: str, secrets: ServerSecrets, user: str, trusted: str
) -> Service:
    """The API server in a slot, from the environment of its release.

    Args:
        trusted: From where it believes who called, see `Proxy.trusted`.
    """
    state = server_state(home)
    believes = () if trusted == LOOPBACK else ("--forwarded-allow-ips", trusted)  # as it does by itself
    return Service(
        name=SLOT_PREFIX + slot,
        version=spec.prefect_version,
        argv=(
            *(str(environment / "bin/python"), "-m", "blocks.server.serve"),
            *("--slot", slot, "--run-dir", str(state), *believes),
        ),
        cwd=str(home.etc / f"server-{slot}"),
        user=user,
        env={
            **_own_home(state, user),
            "PREFECT_HOME": str(state),
            "PREFECT_UI_STATIC_DIRECTORY": str(state / f"ui-{slot}"),  # written at the start, by another version
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_SERVER_LOGGING_LEVEL": spec.server.log_level,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": ",".join(_known_vacuums(spec)),
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": f"P{spec.server.retention_days}D",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": f"P{spec.server.event_retention_days}D",
            # Shared by both slots: with leases in memory, runs under a concurrency limit die at a switch.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            **QUIET_LOOPS,
        },
        secrets={"PREFECT_SERVER_ENCRYPTION_KEY": secrets.encryption_key},
        sockets=(SOCKET,),
        files=(str(home.etc / f"server-{slot}/prefect.toml"),),
        health=Health("http", socket=str(state / f"server-{slot}.sock"), path="/api/ready"),
        ready_file=str(state / f"server-{slot}.json"),
        stop_timeout=45.0,
        stop_level=StopLevel.SERVERS,
    )


def _known_vacuums(spec: StackSpec) -> list[str]:
    """What of the wanted vacuum this Prefect knows: a server refuses to start on a kind it does not."""
    knows_orphans = spec.version_parts >= (3, 8, 5)  # before, the vacuum of flow runs took them along
    return [each for each in spec.server.vacuum if each != "orphans" or knows_orphans]


def _own_home(state: Path, user: str) -> dict[str, str]:
    """HOME of a service with a user of its own, which has none."""
    return {"HOME": str(state)} if user else {}


def worker_service(spec: StackSpec, home: Home, environment: Path, worker: Worker, user: str) -> Service:
    """A worker, from the environment of its release."""
    python, state = environment / "bin/python", worker_state(home, worker)
    argv = (str(python), *_worker_program(worker))
    own = {
        "PREFECT_HOME": str(state),
        "PREFECT_LOGGING_LEVEL": spec.server.log_level,
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,blocks",
        "TMPDIR": str(state / "tmp"),
        **({HOME_VARIABLE: str(home.root)} if worker.pool == MAINTENANCE_POOL else {}),
        # No root imports a package of its own, and so nobody has put byte code beside it.
        **({"PYTHONPYCACHEPREFIX": str(state / "bytecode")} if worker.packages and user else {}),
        "PREFECT_WORKER_QUERY_SECONDS": str(worker.query_seconds),
    }
    return Service(
        name=WORKER_PREFIX + worker.name,
        version=spec.prefect_version,
        # No `--limit`: runs whose deployment is gone would keep a place of it for ever. The pool's own limit counts.
        argv=(*argv, "--name", worker.name, "--pool", worker.pool),
        cwd=str(home.etc / f"{WORKER_PREFIX}{worker.name}"),
        user=user,
        env={**_own_home(state, user), **worker.env, **_git(python, worker.git_credentials), **own},
        files=(str(home.etc / f"{WORKER_PREFIX}{worker.name}/prefect.toml"),),
        restart="when-idle",
        # Flows it runs die with it; a drain pauses its pool first.
        stop_timeout=30.0,
        stop_level=StopLevel.WORKERS,
    )


def _worker_program(worker: Worker) -> tuple[str, ...]:
    """Arguments for a worker's Python; on our own pool it is a program of ours, which starts our own flows alone."""
    if worker.pool == MAINTENANCE_POOL:
        return ("-P", "-m", "blocks.maintenance_worker")
    return ("-m", "blocks.worker_start", "--type", worker.type)


def _git(python: Path, credentials: str | None) -> dict[str, str]:
    """Environment by which git asks our credential helper, and no other: a helper that stores would be given the
    secret, and would write it down."""
    if credentials is None:
        return {}
    return {
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "credential.helper",
        "GIT_CONFIG_VALUE_0": "",  # forgets the helpers of this machine's own configuration
        "GIT_CONFIG_KEY_1": "credential.helper",
        "GIT_CONFIG_VALUE_1": f"!{shlex.quote(str(python))} -P -m blocks.git_credentials {shlex.quote(credentials)}",
        "GIT_TERMINAL_PROMPT": "0",
    }


def auth_grace(folder: Path, secret: str, user: str) -> File:
    """Further auth strings of the server in that folder. It looks at them as it runs: they are none of its `files`."""
    return File(path=str(folder / "auth-grace.json"), content=reference(secret), user=user)


def server_toml(proxy: Proxy, folder: Path, database: Database, secrets: ServerSecrets, user: str = "") -> File:
    """`prefect.toml` of a server on this database behind that proxy, in the working folder that server looks at.

    Each slot has its own, so that a server on its way out keeps what it was started with.
    """
    return File(
        path=str(folder / "prefect.toml"),
        user=user,
        content=f"""\
# Written by the host agent; edit the stack's spec instead.
ui_url = "{proxy.url()}"  # in alerts; Prefect knows it of no server

[server.api]
host = "{proxy.upstream()[0]}"
port = {proxy.upstream()[1]}
auth_string = "{reference(secrets.auth_string)}"

[server.ui]
api_url = "{proxy.url()}/api"

[server.database]
connection_url = "{database.connection_url(secrets.database_login)}"
{_tls(database, folder)}""",
    )


def _tls(database: Database, folder: Path) -> str:
    settings = tls.for_prefect(database.tls, folder)
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join(["", "[server.database.sqlalchemy.connect_args.tls]", *lines, ""]) if lines else ""


def server_files(
    proxy: Proxy, folder: Path, database: Database, secrets: ServerSecrets, user: str = ""
) -> tuple[File, ...]:
    """What a server in that working folder reads as it starts."""
    found = server_toml(proxy, folder, database, secrets, user)
    if not (database.tls and database.tls.authority):
        return (found,)
    return found, File(str(tls.authority_file(database.tls, folder)), database.tls.authority, user=user)


def worker_toml(proxy: Proxy, home: Home, worker: Worker, auth_string: str, user: str) -> File:
    """`prefect.toml` of a worker, which talks to the server's port directly."""
    (address, port), ui = proxy.upstream(), proxy.url()
    return File(
        path=str(home.etc / f"{WORKER_PREFIX}{worker.name}/prefect.toml"),
        user=user,
        content=f"""\
# Written by the host agent; edit the stack's spec instead.
ui_url = "{ui}"  # in logs and flows; Prefect would take the port behind the front door, which lets no browser in

[api]
url = "http://{address}:{port}/api"
auth_string = "{reference(auth_string)}"
""",
    )
