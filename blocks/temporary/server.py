"""The temporary Prefect server which a bootstrap or a restore runs on: own folder, own database, UI on.

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

from blocks.agent import processes
from blocks.agent.files import open_log, write_atomically
from blocks.errors import SelfhostError
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.host.secret_files import AUTH_STRING, ENCRYPTION_KEY
from blocks.postgres import content, dump, sql
from blocks.postgres import programs as postgres
from blocks.postgres.connection import Login
from blocks.postgres.programs import ADMIN, DATABASE, Cluster
from blocks.server import child
from blocks.waiting import wait_until

SLOT = "temporary"
IDLE_SERVICES = ("SCHEDULER", "LATE_RUNS", "FOREMAN", "CANCELLATION_CLEANUP", "PAUSE_EXPIRATIONS", "TRIGGERS")
"""Services of a server which a temporary one has no use for."""
SPAWN_SECONDS = 30.0
"""Time the server's record gets to be written; it takes 0.1 s on a quiet machine."""


@dataclass(frozen=True)
class TemporaryServer:
    """A server and its PostgreSQL in a folder of their own.

    The server runs from this process's own environment, which has the stack's version of Prefect; PostgreSQL from
    the stack's tools, which its system user can reach.

    Attributes:
        user: System user for PostgreSQL; empty for the one who runs us.
        folder: `home.bootstrap` or `home.restoring`: it says what the server is for, and goes with it.
    """

    home: Home
    user: str
    folder: Path

    @property
    def prefect_home(self) -> Path:
        return self.folder / "home"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def url(self) -> str:
        """Its address, once started."""
        return f"http://127.0.0.1:{self._record('server')['port']}"

    def started_since(self, moment: float) -> str:
        """Its address, where it was started after that moment (Unix time); else empty."""
        path = self.folder / "server.json"
        try:
            return self.url() if path.stat().st_mtime >= moment else ""
        except (FileNotFoundError, KeyError):
            return ""

    def exists(self) -> bool:
        """Whether what it is for has begun, and it was not retired."""
        return self.folder.exists()

    def start_server(self) -> str:
        """Start the server, or start it again; returns its address at once. It imports and waits for its database."""
        self.stop()
        self._sweep()
        for left in (self._ready_file, self.folder / "server.json"):
            left.unlink(missing_ok=True)  # a killed server's
        self.prefect_home.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # PostgreSQL's user passes through
        self.prefect_home.chmod(0o700)
        with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
            self._spawn(listening, _free_port())
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

    def start_database(self, tools: Path) -> None:
        """Start the database of a started server, made where it is not there.

        Args:
            tools: Environment of the installed tools, which PostgreSQL is in.
        """
        write_atomically(self.folder / "programs", str(postgres.programs(tools)).encode(), 0o600)
        cluster = Cluster(self._programs(), self.folder / "postgres", self._database_port(), self.user)
        if not cluster.exists():
            cluster.initialise(self._admin_password())
        self._end_postgres()
        self._create_database(cluster)

    def wait_ready(self, timeout: float = 90.0) -> None:
        """Wait until it answers.

        Raises:
            NotReady: it died, or took too long; the hint names its log.
        """
        wait_until(self._or_died(self._ready_file.exists), "the temporary server's start", timeout=timeout, every=0.05)

    def is_running(self) -> bool:
        return processes.is_alive(processes.from_data(self._record("server")))

    def stop_server(self) -> None:
        """End the server, its database goes on; idempotent. It has no clients left to drain, so it is told to hurry."""
        self._end("server", signal.SIGINT)

    def stop(self) -> None:
        """End the server, then its database; idempotent."""
        self.stop_server()
        self._end_postgres()

    def dump(self, target: Path) -> None:
        """Dump its database to a file; the database must run."""
        dump.dump(self._programs(), self._login(self._database_port()), target)

    def row_counts(self) -> dict[str, int]:
        """Rows by table; the database must run."""
        with sql.session(self._login(self._database_port())) as session:
            return content.row_counts(session)

    def retire(self) -> None:
        """End it and remove its folder, once nothing of it is needed any more; idempotent.

        It goes at one stroke, by another name: a half-removed one would be taken for a bootstrap to finish.
        """
        self.stop()
        self._sweep()
        if self.exists():
            self.folder.rename(self._retired)
            self._sweep()

    @property
    def _retired(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.retired")

    @property
    def _ready_file(self) -> Path:
        return self.folder / f"server-{SLOT}.json"

    def _sweep(self) -> None:
        """Remove the folder of an interrupted `retire`."""
        if self._retired.exists():
            shutil.rmtree(self._retired)

    def _spawn(self, listening: socket.socket, database_port: int) -> None:
        serve = [
            sys.executable,
            "-m",
            "blocks.server.serve",
            "--slot",
            SLOT,
            "--run-dir",
            str(self.folder),
            "--migrate",
        ]
        port = int(listening.getsockname()[1])
        ports = {"port": port, "database_port": database_port}
        argv = child.command(serve, listening.fileno(), record=(self.folder / "server.json", ports))
        with open_log(self.log) as output:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.prefect_home,
                env=self._server_environment(port, database_port),
                pass_fds=(listening.fileno(),),
                start_new_session=True,
            )
        wait_until(lambda: self._has_begun(process), "the temporary server", timeout=SPAWN_SECONDS, every=0.01)

    def _has_begun(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the process has written its record."""
        if self._record("server").get("pid") == process.pid:
            return True
        if process.poll() is not None:
            raise TemporaryServerDied(f"the temporary server ended: {_last_line(self.log)}", f"see {self.log}")
        return False

    def _create_database(self, cluster: Cluster) -> None:
        admin = self._login(self._database_port(), "postgres")
        count = "SELECT count(*) FROM pg_database WHERE datname = $1"

        def answers() -> list[sql.Row]:
            # Children of a killed PostgreSQL hold its memory for a moment; until they are gone a new one ends at once.
            if not processes.is_alive(processes.from_data(self._record("postgres"))):
                process = cluster.start(self.folder / "postgres.log")
                record = processes.record_of(process.pid)._asdict()
                write_atomically(self.folder / "postgres.json", json.dumps(record).encode(), 0o600)
            return sql.query(admin, count, DATABASE)

        found = wait_until(
            answers,
            "the temporary database's start",
            timeout=60,
            every=0.1,
            hint=f"see {self.folder / 'postgres.log'}",
        )
        if found == [(0,)]:
            sql.command(admin, "CREATE DATABASE %I", DATABASE)

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
            "PREFECT_UI_URL": f"http://127.0.0.1:{port}",
            "PREFECT_UI_STATIC_DIRECTORY": str(self.prefect_home / "ui"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            # Nothing acts by itself here: what is made is for the stack's server, which has these.
            **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE_SERVICES},
            # The stack's server registers the block types of all collections; here only the used ones are wanted.
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
        }

    def _login(self, port: int, database: str = DATABASE) -> Login:
        return Login("127.0.0.1", port, ADMIN, self._admin_password(), database)

    def _admin_password(self) -> str:
        secret_files.ensure(self.folder, "admin-password", secret_files.new_password)
        return secret_files.read(self.folder, "admin-password")

    def _programs(self) -> Path:
        return Path((self.folder / "programs").read_text("utf-8"))

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

    def _end(self, name: str, signum: int) -> None:
        record = processes.from_data(self._record(name))
        if record is not None:
            processes.end(record, signum, timeout=20)

    def _end_postgres(self) -> None:
        self._end("postgres", signal.SIGINT)
        unknown = postgres.postmaster(self.folder / "postgres/data")  # its starter was killed before it noted it
        if unknown is not None:
            processes.end(unknown, signal.SIGINT, timeout=20)


class TemporaryServerDied(SelfhostError):
    """The temporary server ended by itself; the same command starts it again on the same database."""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _last_line(log: Path) -> str:
    lines = log.read_text("utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][-300:] if lines else "it wrote no log"
