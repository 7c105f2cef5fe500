"""The temporary Prefect server which a bootstrap runs on: own folder, own database, UI on.

It runs the stack's own version of Prefect, as its database becomes the stack's. No Prefect is imported here: the
server starts importing while the launcher still prepares. What an earlier attempt left running is ended first,
and its database is kept, so that the history of a bootstrap survives the launcher's death.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from blocks.errors import SelfhostError
from blocks.host import postgres, secret_files, wanted
from blocks.host.agent import processes
from blocks.host.agent.files import write_atomically
from blocks.host.home import Home
from blocks.host.postgres import ADMIN, DATABASE, Cluster, Login
from blocks.host.secret_files import AUTH_STRING, ENCRYPTION_KEY
from blocks.host.wanted import TOOLS
from blocks.waiting import wait_until

SLOT = "temporary"
_HOLD = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execv(sys.argv[2], sys.argv[2:])"
)
"""Hands a listening socket over by systemd's protocol, which wants the receiver's own pid in its environment."""


@dataclass(frozen=True)
class TemporaryServer:
    """A server and its PostgreSQL in `home.bootstrap`.

    The server runs from this process's own environment, which has the stack's version of Prefect; PostgreSQL from
    the stack's tools, which its system user can reach.

    Attributes:
        user: System user for PostgreSQL; empty for the one who runs us.
    """

    home: Home
    user: str

    @property
    def folder(self) -> Path:
        return self.home.bootstrap

    @property
    def prefect_home(self) -> Path:
        return self.folder / "home"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def url(self) -> str:
        """Its address, once started."""
        return f"http://127.0.0.1:{self._record('server')['port']}"

    def exists(self) -> bool:
        """Whether a bootstrap has begun and its temporary server was not retired."""
        return self.folder.exists()

    def start_server(self) -> str:
        """Start the server, or start it again; returns its address at once. It imports and waits for its database."""
        self.stop()
        self.prefect_home.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # PostgreSQL's user passes through
        self.prefect_home.chmod(0o700)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            self._spawn(listening, _free_port())
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def start_database(self) -> None:
        """Start the database of a started server, made where it is not there; the tools must be installed."""
        cluster = Cluster(self._programs(), self.folder / "postgres", self._database_port(), self.user)
        if not cluster.exists():
            cluster.initialise(self._admin_password())
        process = cluster.start(self.folder / "postgres.log")
        self._write_record("postgres", process.pid)
        self._create_database()

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until it answers.

        Raises:
            NotReady: it died, or took too long; the hint names its log.
        """
        ready = self.folder / f"server-{SLOT}.json"
        wait_until(self._or_died(ready.exists), "the temporary server's start", timeout=timeout, every=0.05)

    def is_running(self) -> bool:
        return processes.is_alive(processes.from_data(self._record("server")))

    def stop_server(self) -> None:
        """End the server, its database goes on; idempotent. It has no clients left to drain, so it is told to hurry."""
        self._end("server", signal.SIGINT)

    def stop(self) -> None:
        """End the server, then its database; idempotent."""
        self.stop_server()
        self._end("postgres", signal.SIGINT)

    def dump(self, target: Path) -> None:
        """Dump its database to a file; the database must run."""
        postgres.dump(self._programs(), self._login(self._database_port()), target)

    def row_counts(self) -> dict[str, int]:
        """Rows by table; the database must run."""
        return postgres.row_counts(self._programs(), self._login(self._database_port()))

    def retire(self) -> None:
        """End it and remove its folder, once nothing of it is needed any more; idempotent."""
        self.stop()
        if self.exists():
            shutil.rmtree(self.folder)

    def _spawn(self, listening: socket.socket, database_port: int) -> None:
        serve = [sys.executable, "-m", "blocks.host.serve", "--slot", SLOT, "--run-dir", str(self.folder), "--migrate"]
        hold = [sys.executable, "-I", "-S", "-c", _HOLD, str(listening.fileno())]
        port = int(listening.getsockname()[1])
        with self.log.open("ab") as output:
            process = subprocess.Popen(
                [*hold, *serve],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.prefect_home,
                env=self._server_environment(port, database_port),
                pass_fds=(listening.fileno(),),
                start_new_session=True,
            )
        self._write_record("server", process.pid, port=port, database_port=database_port)

    def _create_database(self) -> None:
        admin = self._login(self._database_port(), "postgres")
        exists = "SELECT 1 FROM pg_database WHERE datname = :'name'"
        is_there = wait_until(
            lambda: postgres.query(self._programs(), admin, exists + " UNION ALL SELECT 0", {"name": DATABASE}),
            "the temporary database's start",
            timeout=60,
            every=0.05,
            hint=f"see {self.folder / 'postgres.log'}",
        )
        if is_there == [["0"]]:
            postgres.query(self._programs(), admin, 'CREATE DATABASE :"name"', {"name": DATABASE})

    def _server_environment(self, port: int, database_port: int) -> dict[str, str]:
        inherited = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TZ") if key in os.environ}
        return inherited | {
            "PREFECT_HOME": str(self.prefect_home),
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_API_AUTH_STRING": secret_files.read(self.home.secrets, AUTH_STRING),
            "PREFECT_SERVER_ENCRYPTION_KEY": secret_files.read(self.home.secrets, ENCRYPTION_KEY),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self._login(database_port).url(),
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_UI_STATIC_DIRECTORY": str(self.prefect_home / "ui"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # The stack's server registers the block types of all collections; here only the used ones are wanted.
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        }

    def _login(self, port: int, database: str = DATABASE) -> Login:
        return Login("127.0.0.1", port, ADMIN, self._admin_password(), database)

    def _admin_password(self) -> str:
        secret_files.ensure(self.folder, "admin-password", secret_files.new_password)
        return secret_files.read(self.folder, "admin-password")

    def _programs(self) -> Path:
        return postgres.programs(self.home.releases / wanted.read(self.home).releases[TOOLS].id)

    def _database_port(self) -> int:
        return self._record("server")["database_port"]

    def _or_died(self, probe: Callable[[], bool]) -> Callable[[], bool]:
        def probe_while_alive() -> bool:
            if not self.is_running():
                raise TemporaryServerDied(f"the temporary server ended: {_last_line(self.log)}", f"see {self.log}")
            return probe()

        return probe_while_alive

    def _record(self, name: str) -> dict[str, int]:
        try:
            found = json.loads((self.folder / f"{name}.json").read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write_record(self, name: str, pid: int, **ports: int) -> None:
        record = processes.record_of(pid)._asdict() | ports
        write_atomically(self.folder / f"{name}.json", json.dumps(record).encode(), 0o600)

    def _end(self, name: str, signum: int) -> None:
        record = processes.from_data(self._record(name))
        if record is not None:
            processes.end(record, signum, timeout=20)


class TemporaryServerDied(SelfhostError):
    """The temporary server ended by itself; the same command starts it again on the same database."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][-300:] if lines else "it wrote no log"
