"""Where things are on this host (`Layout`) and how the agent is set up (`AgentConfig`)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .mark import Bucket
from .spec import InvalidSpec, from_json

UNIX_PATH_LIMIT = 107
"""Longest path of a unix socket on Linux, in bytes."""

ARTIFACTS = "artifacts"
"""Folder in the home of a VM with what was fetched from the bucket for an installation."""

UNQUOTABLE = ';$"\\\n\r'
"""Circus' ini files have no way to write these."""


class InvalidConfig(ValueError):
    """The agent cannot work with this config or home. The message says why and what to do."""


@dataclass(frozen=True)
class AgentConfig:
    """HOME/agent/config.json."""

    home: str
    """Absolute path of the folder everything of this host is in."""
    manager: Literal["circus", "systemd"]
    """The service manager that holds sockets and restarts services."""
    circus_python: str = ""
    """An interpreter which has circus installed; needed where `manager` is `circus`."""
    units: str = ""
    """How the names of all units of this home begin, such as `selfhost-main-`; needed where `manager` is `systemd`."""
    store: str = ""
    """Folder of artifacts, as `sha256/<digits>` below it; empty for HOME/store."""
    secrets: str = ""
    """Folder with a file for each secret (0600); empty for HOME/secrets."""
    bucket: str = ""
    """On a VM at Google: the stack's bucket, which artifacts missing in `store` and requests come from."""
    project: str = ""
    """Id of the project whose Secret Manager has the stack's secrets; together with `bucket`."""
    metadata: str = ""
    """Address of an emulated metadata server with its path, without `http://`; empty for the VM's own."""
    storage: str = ""
    """Address of an emulated Cloud Storage; empty for Google's."""
    secret_manager: str = ""
    """Address of an emulated Secret Manager; empty for Google's."""
    path: str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    """PATH of every service and job."""


@dataclass(frozen=True)
class Layout:
    """The paths below one home; the interface between agent, exec wrapper and launcher."""

    home: Path

    @property
    def agent(self) -> Path:
        return self.home / "agent"

    @property
    def run(self) -> Path:
        """Control sockets, pid files, service definitions; 0700."""
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    @property
    def archive(self) -> Path:
        return self.agent / "agent.pyz"

    @property
    def config(self) -> Path:
        return self.agent / "config.json"

    @property
    def uv(self) -> Path:
        """The program that makes the environments of releases."""
        return self.agent / "uv"

    @property
    def spec(self) -> Path:
        return self.agent / "spec.json"

    @property
    def status(self) -> Path:
        return self.agent / "status.json"

    @property
    def last_good(self) -> Path:
        return self.agent / "last-good.json"

    @property
    def pid(self) -> Path:
        return self.agent / "agent.pid"

    @property
    def jobs(self) -> Path:
        return self.agent / "jobs.json"

    @property
    def requests(self) -> Path:
        """The ended ones of a VM's requests, as `jobs` has ended jobs."""
        return self.agent / "requests.json"

    @property
    def reach(self) -> Path:
        """Of `blocks.host.reach`: the variables by which uv reaches an index."""
        return self.agent / "reach.json"

    @property
    def services(self) -> Path:
        """Definitions which the exec wrapper reads, one JSON file a service."""
        return self.run / "services"

    @property
    def job_runs(self) -> Path:
        """What job runners read and write, three JSON files a job."""
        return self.run / "jobs"

    def definition(self, name: str) -> Path:
        return self.services / f"{name}.json"

    def record(self, name: str) -> Path:
        """Pid file of a service, of `circusd`, or (in `job_runs`) of a job."""
        return self.run / f"{name}.pid"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def make(self) -> None:
        """Make the folders; those with secrets or control sockets in them are closed to others, releases are
        not: services of other users run from them."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.releases.mkdir(exist_ok=True)
        self.releases.chmod(0o755)
        for folder in (self.agent, self.run, self.services, self.job_runs, self.logs):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o700)


def unit_names(stack: str) -> str:
    """How the names of a stack's units begin."""
    return f"selfhost-{stack}-"


def on_vm(home: Path, stack: str, bucket: Bucket) -> AgentConfig:
    """How the agent of a VM at Google is set up. Its secrets lie in memory, and are fetched anew after each boot."""
    return AgentConfig(
        home=str(home),
        manager="systemd",
        units=unit_names(stack),
        store=str(home / ARTIFACTS),
        secrets=f"/run/prefect-selfhost/{stack}/secrets",
        bucket=bucket.name,
        project=bucket.project,
    )


def load_config(home: Path) -> AgentConfig:
    """Read HOME/agent/config.json, its empty paths filled in.

    Raises:
        InvalidConfig: it is missing or damaged, belongs to another home, or the home cannot be used.
    """
    path = Layout(home).config
    try:
        config = from_json(AgentConfig, path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig(f"{path}: {error.strerror}; has this home been set up?") from error
    except (InvalidSpec, UnicodeDecodeError) as error:
        raise InvalidConfig(f"{path}: {error}") from error
    fault = _fault(config, home)
    if fault:
        raise InvalidConfig(f"{path}: {fault}")
    return dataclasses.replace(
        config, store=config.store or str(home / "store"), secrets=config.secrets or str(home / "secrets")
    )


def _fault(config: AgentConfig, home: Path) -> str:
    if Path(config.home) != home:
        return f"$.home: is of {config.home}, not of {home}"
    if config.manager != "circus":
        return "" if config.units else "$.units: expected how the names of units begin"
    bad = sorted(set(config.home) & set(UNQUOTABLE))
    if bad:
        return f"$.home: Circus cannot handle {bad[0]!r} in a path; choose another home"
    if not Path(config.circus_python).is_absolute():
        return "$.circus_python: expected an absolute path"
    return ""
