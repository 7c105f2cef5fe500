"""The same upgrade as it is done by hand without us: stop the server, migrate, start the new version's, behind nginx.

One `prefect server start` with a port of its own, on PostgreSQL, behind the few lines of nginx that everybody has.
The releases are installed and their imports compiled before the clock runs, which is the best that hands can do.
"""

from __future__ import annotations

import itertools
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from blocks.local import nginx
from tests import releases
from tests.bench import fourteen_flows
from tests.bench.phases import Load, Phase
from tests.front_door import NOBODY, is_listening, nginx_argv, wait_for
from tests.postgres import Cluster, base_environment, free_port, running_cluster
from tests.stack import eventually
from tests.traffic import Traffic

AUTH = "admin:bench"
DATABASE = "by_hand"
QUIET_SECONDS = 15.0
SECONDS_A_TASK = 5.0
FLOWS_SECONDS = 180.0
"""Time the flows get to end: twice what they take. Some may wait for ever."""
SETTLE_CALLS = 300
STOP_SECONDS = 60.0
BUSY_SECONDS = 300.0
"""For one step on a machine that does much else; each takes some seconds."""
SITE = """
map $http_upgrade $connection_upgrade {{
    default upgrade;
    ""      close;
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://127.0.0.1:{server_port};
        proxy_http_version 1.1;
        proxy_set_header Host $http_host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection $connection_upgrade;
        proxy_max_temp_file_size 0;
    }}
}}
"""


@dataclass
class Server:
    """One server that is stopped and started; nobody holds its socket meanwhile."""

    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    ready_at: float = 0.0
    """time.time() when it was first seen to answer."""
    steps: str = ""
    """How long each step of its upgrade took, in words."""

    def prefect(self, python: Path, *argv: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            command = [str(python), "-m", "prefect", "--no-prompt", *argv]
            return subprocess.Popen(command, env=dict(self.environment), cwd=self.folder, stdout=log, stderr=log)

    def migrate(self, python: Path) -> None:
        status = self.prefect(python, "server", "database", "upgrade", "--yes").wait(timeout=BUSY_SECONDS)
        assert status == 0, self.log()

    def start(self, python: Path) -> None:
        self.process = self.prefect(python, "server", "start", "--port", str(self.port))
        eventually(self._answers, "the server's answer", BUSY_SECONDS)
        self.ready_at = time.time()

    def _answers(self) -> bool:
        assert self.process is not None and self.process.poll() is None, self.log()
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/api/health", timeout=5, trust_env=False).is_success
        return False

    def log(self) -> str:
        """The end of what was said so far."""
        return (self.folder / "log").read_text()[-2000:]

    def stop(self) -> None:
        """End it; nothing is done where it does not run."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def upgrade(self, python: Path, traffic: Traffic) -> None:
        """By hand, to another release."""
        moments = [time.monotonic()]
        for step in (self.stop, lambda: self.migrate(python), lambda: self.start(python)):
            step()
            moments.append(time.monotonic())
        stop, migrate, start = (after - before for before, after in itertools.pairwise(moments))
        self.steps = (
            f"away for {stop + migrate + start:.1f} s: {stop:.1f} stop, {migrate:.1f} migrate, {start:.1f} start"
        )
        traffic.wait_for(SETTLE_CALLS)


@contextmanager
def nginx_in_front(server_port: int) -> Iterator[str]:
    """The address of such an nginx."""
    with tempfile.TemporaryDirectory(prefix="by-hand-") as name:
        folder, port = Path(name), free_port()
        site, conf = folder / "site.conf", folder / "nginx.conf"
        site.write_text(SITE.format(port=port, server_port=server_port))
        conf.write_text(nginx.main_conf(folder, site, NOBODY))
        with (folder / "log").open("wb") as log:
            child = subprocess.Popen(nginx_argv(folder, conf), stdout=log, stderr=log)
        try:
            wait_for(lambda: is_listening(port), folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            child.terminate()
            child.wait(timeout=20)


def installed(version: str, folder: Path) -> Path:
    """The Python of that Prefect, its server's imports compiled."""
    python = releases.install(version, folder / version)
    code = "import prefect.server.api.server, prefect.cli"
    environment = base_environment(folder / version)
    subprocess.run([str(python), "-c", code], env=environment, check=True, capture_output=True, timeout=BUSY_SECONDS)
    return python


@dataclass(frozen=True)
class ByHand:
    """What came of it."""

    phases: list[Phase]
    steps: str
    stored: fourteen_flows.Stored


def upgraded(old: str, new: str, count: int, flows: int) -> ByHand:
    """Upgrade one by hand under so many clients and flows."""
    with running_cluster() as cluster, tempfile.TemporaryDirectory(prefix="by-hand-") as name:
        folder = Path(name)
        pythons = installed(old, folder), installed(new, folder)
        url = cluster.create_database(DATABASE)
        environment = base_environment(folder) | {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        }
        server = Server(folder, environment)
        server.migrate(pythons[0])
        try:
            server.start(pythons[0])
            with nginx_in_front(server.port) as address:
                return _under_load(server, pythons, Load(address, AUTH, count), flows, cluster)
        finally:
            server.stop()


def _under_load(server: Server, pythons: tuple[Path, Path], load: Load, count: int, cluster: Cluster) -> ByHand:
    client = base_environment(server.folder / "client") | {
        "PREFECT_API_URL": f"{load.address}/api",
        "PREFECT_API_AUTH_STRING": AUTH,
    }
    flows = fourteen_flows.started(pythons[0], SECONDS_A_TASK, count, client)
    try:
        runs = fourteen_flows.begun(flows)
        quiet = load.during("quiet, by hand", lambda _: time.sleep(QUIET_SECONDS))
        upgrade = load.during("stopped, migrated, started by hand", lambda traffic: server.upgrade(pythons[1], traffic))
        fourteen_flows.ended(flows, FLOWS_SECONDS)
    finally:
        fourteen_flows.ended(flows, 0)
    stored = fourteen_flows.stored(lambda sql: cluster.execute(sql, DATABASE), runs, server.ready_at)
    return ByHand([quiet, upgrade], server.steps, stored)
