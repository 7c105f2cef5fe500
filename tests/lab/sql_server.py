"""One SQL instance: PostgreSQL 18 in a network namespace, and TLS in front of it.

The wheel's PostgreSQL has no OpenSSL, so stunnel speaks TLS for it, which knows PostgreSQL's way of asking for that and
refuses who does not. It takes TLS alone where `sslMode` lets in others, too: it refuses more than Google, never less.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.emulator.errors import ApiError
from tests.lab import sql_roles
from tests.lab.sql_network import Namespace, unprivileged
from tests.lab.sql_settings import PORT, rendered, settings_of
from tests.postgres import SYSTEM_USER

READY_SECONDS = 30.0
STOP_SECONDS = 60.0
LET_IN = f"""\
local all,replication all trust
host all {sql_roles.ADMIN} all reject
host all all 127.0.0.1/32 scram-sha-256
"""
"""The first line is for the owner of the socket's folder, whom nobody else gets past."""
STUNNEL = """\
foreground = yes
pid =
debug = warning
[postgresql]
protocol = pgsql
accept = {address}:{port}
connect = 127.0.0.1:{port}
cert = {certificate}
sslVersionMin = TLSv1.2
socket = a:SO_REUSEADDR=1
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
"""


@dataclass
class Server:
    """Started and stopped; its data stays in `folder` until it is removed."""

    folder: Path
    programs: Path
    namespace: Namespace
    postgres: subprocess.Popen[bytes] | None = None
    stunnel: subprocess.Popen[bytes] | None = None
    address: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    base_since: datetime | None = None
    """The moment from which on it can be brought back; None while no logs are kept."""

    def make(self) -> None:
        """The folder and the namespace; no data yet."""
        self.folder.mkdir(mode=0o711)
        for name in ("socket", "archive"):
            self.own(self.folder / name)
        (self.folder / "pg_hba.conf").write_text(LET_IN)
        self.namespace.make()

    def own(self, folder: Path) -> Path:
        """A new folder of PostgreSQL's user, which nobody else enters."""
        folder.mkdir(mode=0o700)
        shutil.chown(folder, SYSTEM_USER, "nogroup")
        return folder

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self, body: Mapping[str, Any]) -> None:
        """Bring it up with these settings; the first time with new data that hold Cloud SQL's roles."""
        is_new = not (self.folder / "data").exists()
        if is_new:
            self.run("initdb", "--pgdata", self.own(self.folder / "data"), "--username", sql_roles.ADMIN,
                     "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--wal-segsize=1")  # fmt: skip
        self.configure(settings_of(body, self.folder))
        self.launch()
        if is_new:
            for statement in sql_roles.FIRST:
                self.ask(statement)
        self.keep_base()

    def configure(self, settings: Mapping[str, str]) -> None:
        self.settings = dict(settings)
        (self.folder / "postgresql.conf").write_text(rendered(self.settings))

    def launch(self, **settings: str) -> None:
        """Start PostgreSQL as it is configured, and wait until it answers; then TLS, if there is an address."""
        more = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        where = ("-D", self.folder / "data", "-c", f"config_file={self.folder}/postgresql.conf")
        argv = self.namespace.inside(self.programs / "postgres", *where, *more)
        self.postgres = self._spawned(argv, "postgresql.log")
        self._wait_for(self.answers, self.postgres, "postgresql.log")
        self._speak_tls()

    def _wait_for(self, answers: Callable[[], bool], process: subprocess.Popen[bytes], log: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"it does not come up:\n{(self.folder / log).read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether PostgreSQL takes sessions."""
        argv = [str(self.programs / "pg_isready"), "--quiet", f"--host={self.folder}/socket"]
        argv += ["--username", sql_roles.ADMIN, "--dbname", "postgres"]
        return subprocess.run(unprivileged(*argv), check=False).returncode == 0

    def listens(self) -> bool:
        """Whether TLS is spoken at its address."""
        with suppress(OSError), socket.create_connection((self.address, PORT), timeout=1):
            return True
        return False

    def attach(self, address: str) -> None:
        """Be reached there."""
        if address != self.address:
            self.namespace.attach(address)
            self.address = address
            self._speak_tls()

    def certify(self, certificate: str, key: str) -> None:
        """Show this certificate from now on; connections that are there go on."""
        file = self.folder / "certificate.pem"
        file.touch(mode=0o600)
        shutil.chown(file, SYSTEM_USER)
        file.write_text(certificate + key)
        if self.stunnel is not None:
            self.stunnel.send_signal(signal.SIGHUP)

    def _speak_tls(self) -> None:
        if not self.address or self.postgres is None or self.stunnel is not None:
            return
        configuration = self.folder / "stunnel.conf"
        certificate = self.folder / "certificate.pem"
        configuration.write_text(STUNNEL.format(address=self.address, port=PORT, certificate=certificate))
        self.stunnel = self._spawned(self.namespace.inside("stunnel4", configuration), "tls.log")
        self._wait_for(self.listens, self.stunnel, "tls.log")

    def _spawned(self, argv: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                argv, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )

    def change(self, body: Mapping[str, Any]) -> None:
        """Make it what the settings say: by a restart if PostgreSQL cannot take them up otherwise."""
        if self.postgres is None:
            return
        self.configure(settings_of(body, self.folder))
        if self.ask("SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL") == ["0"]:
            before = self.ask("SELECT pg_conf_load_time()")
            self.postgres.send_signal(signal.SIGHUP)
            while self.ask("SELECT pg_conf_load_time()") == before:
                time.sleep(0.02)
        else:
            self.stop()
            self.launch()
        self.keep_base()

    def stop(self) -> None:
        """End its sessions and halt it; idempotent."""
        for process, how in ((self.stunnel, signal.SIGKILL), (self.postgres, signal.SIGINT)):
            if process is not None:
                process.send_signal(how)
                process.wait(STOP_SECONDS)
        self.stunnel = self.postgres = None

    @contextmanager
    def stopped(self) -> Iterator[Path]:
        """Its data while it does not run, to be replaced; it runs afterwards if it ran before."""
        ran = self.postgres is not None
        self.stop()
        yield self.folder / "data"
        if ran:
            self.launch()

    def remove(self) -> None:
        """Without a trace."""
        self.stop()
        self.namespace.remove()
        shutil.rmtree(self.folder)

    # -- what is in it -----------------------------------------------------------------------------------------------

    def ask(self, statement: str, database: str = "postgres") -> list[str]:
        """Run a statement as Google's superuser; returns its rows, values between bars."""
        return self.psql(statement, sql_roles.ADMIN, database).splitlines()

    def psql(self, text: str, user: str, database: str, *options: str) -> str:
        """Give a text to psql, which stops at the first error.

        Raises:
            ApiError: PostgreSQL has refused it, in its words.
        """
        argv = ["psql", f"--host={self.folder}/socket", "--username", user, "--dbname", database]
        argv += ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", *options]
        return self.run(*argv, stdin=text.encode()).decode()

    def copy_to(self, target: Path) -> None:
        """Keep all that it holds in a new folder, as it is now."""
        if self.postgres is None:
            copied(self.folder / "data", target)
        else:
            self.own(target)
            self.run("pg_basebackup", "--host", self.folder / "socket", "--username", sql_roles.ADMIN, "--pgdata",
                     target, "--checkpoint=fast", "--wal-method=stream", "--no-sync")  # fmt: skip

    # -- recovery to a moment ----------------------------------------------------------------------------------------

    def keep_base(self) -> None:
        """Begin to keep what brings back any later moment, or end it, as the settings say."""
        wanted = self.settings["archive_mode"] == "on"
        if wanted and self.base_since is None:
            self.copy_to(self.folder / "base")
            (now,) = self.ask("SELECT now()")
            self.base_since = datetime.fromisoformat(now)
        elif not wanted:
            self.drop_base()

    def end_logs(self) -> None:
        """Keep none from the next start on, as a restore resets the backups' configuration."""
        self.configure({**self.settings, "archive_mode": "off"})
        self.drop_base()

    def drop_base(self) -> None:
        """Forget what came before: it belongs to other data."""
        if self.base_since is not None:
            shutil.rmtree(self.folder / "base")
            for each in (self.folder / "archive").iterdir():
                each.unlink()
            self.base_since = None

    def become(self, source: Server, at: datetime) -> None:
        """Hold, in the place of what it holds, what another has held at a moment.

        Raises:
            ApiError: nothing of that moment is kept.
        """
        if source.base_since is None or at < source.base_since:
            raise ApiError(400, f"the logs begin after {at}", reason="ERROR_RDBMS")
        source.archive_now()
        self.stop()
        shutil.rmtree(self.folder / "data")
        copied(source.folder / "base", self.folder / "data")
        (self.folder / "data" / "recovery.signal").touch()
        self.launch(
            restore_command=f"cp {source.folder}/archive/%f %p",
            recovery_target_time=str(at),
            recovery_target_action="promote",
            hot_standby="off",
        )

    def archive_now(self) -> None:
        """Have all that is committed by now in the archive, and one commit after it, at which a recovery ends."""
        self.ask("SELECT pg_current_xact_id()")
        (last,) = self.ask("SELECT pg_walfile_name(pg_switch_wal())")
        deadline = time.monotonic() + READY_SECONDS
        while self.ask("SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver")[0] < last:
            assert time.monotonic() < deadline, f"{last} is not archived"
            time.sleep(0.02)

    def run(self, program: str, *arguments: str | Path, stdin: bytes = b"") -> bytes:
        """Run one of PostgreSQL's programs as its user; returns what it prints.

        Raises:
            ApiError: it fails; the message is what it said.
        """
        done = subprocess.run(
            unprivileged(self.programs / program, *arguments), input=stdin, capture_output=True, timeout=300,
            check=False, cwd="/", env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )  # fmt: skip
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            raise ApiError(400, said or f"{program} ended with {done.returncode}", reason="ERROR_RDBMS")
        return done.stdout


def copied(source: Path, target: Path) -> None:
    """A folder of data as another one, its owner and modes with it."""
    subprocess.run(["cp", "--archive", "--reflink=auto", source, target], check=True, timeout=300)
