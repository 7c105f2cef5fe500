"""`StackSpec`: what is wanted, read from `stack.toml` and the command line.

Every field has a default, and the defaults are a good stack on one machine. Strict and frozen: a wrong type
or an unknown key is refused with its path before anything is touched.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from blocks import addresses
from blocks.database_spec import Database, absolute_path, with_certificates
from blocks.errors import WrongCall
from blocks.gcp_spec import Gcp
from blocks.gcp_spec import faults as faults_at_google

SERVER = "server"
"""Key of the server's release among a stack's releases; a worker with packages of its own has one by its name."""
TOOLS = "tools"
"""Key of the release with PostgreSQL, nginx and the service manager."""
MAINTENANCE_POOL = "maintenance"
"""The pool of this project's own flows."""
FLOOR = (3, 8, 3)
"""Below it, behind an auth string, `/api/events/in` refuses every client: task runs are never stored."""
FLOOR_OF_GCP = (3, 8, 4)
"""What prefect-gcp and prefect-docker want."""
CEILING = (3, 9, 0)
"""Not known to work: from it on the server wants other libraries than this release of ours pins."""

Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ports(_Part):
    """TCP ports on this machine. One left out follows from `public`, so that `--port` moves all of them."""

    public: Port = Field(4200, description="Where people and clients come in (nginx). Prefect's own default.")
    server: Port | None = Field(None, description="The API server behind it, loopback only; public + 1.")
    database: Port | None = Field(None, description="PostgreSQL, loopback only; public + 2.")

    @property
    def of_server(self) -> int:
        return self.server or self.public + 1

    @property
    def of_database(self) -> int:
        return self.database or self.public + 2

    @model_validator(mode="after")
    def _differ(self) -> Ports:
        ports = [self.public, self.of_server, self.of_database]
        if len(set(ports)) != 3 or max(ports) > 65535:
            raise ValueError(f"public, server and database must differ and fit, they are {ports}")
        return self


class Local(_Part):
    """What the target `local` wants to know: where on this machine the stack lies and listens."""

    home: str | None = Field(
        None,
        description="Folder of the stack, absolute. Left out: ~/.local/share/prefect-selfhost/NAME, or "
        "/var/lib/prefect-selfhost/NAME when root runs it.",
    )
    store: str | None = Field(
        None,
        description="Folder of the stack's own record, its backups and its releases' artifacts; absolute, outside the "
        "home. Left out: `store` in the home.",
    )
    listen: str = Field("127.0.0.1", description="IPv4 address of the front door; 0.0.0.0 opens it to the network.")
    ports: Ports = Ports()

    @field_validator("home", "store")
    @classmethod
    def _absolute(cls, value: str | None) -> str | None:
        return absolute_path(value)

    @field_validator("listen")
    @classmethod
    def _ipv4(cls, value: str) -> str:
        try:
            return str(ipaddress.IPv4Address(value))
        except ValueError as error:
            raise ValueError(f"{value!r} is not an IPv4 address such as 127.0.0.1 or 0.0.0.0") from error

    @model_validator(mode="after")
    def _apart(self) -> Local:
        """A store outside is there to outlive the home."""
        if self.home and self.store and Path(self.store).is_relative_to(self.home):
            raise ValueError(f"store {self.store} lies in the home {self.home}: leave it out, or choose one outside")
        return self


class Server(_Part):
    """Settings of the Prefect server."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Level of the server's and workers' logs."
    )
    retention_days: int = Field(
        90, ge=1, description="Days that finished flow runs (with task runs, logs) are kept; Prefect's default."
    )
    event_retention_days: int = Field(7, ge=1, description="Days that events are kept; Prefect's default.")
    vacuum: tuple[Literal["events", "flow_runs", "orphans"], ...] = Field(
        ("events", "flow_runs", "orphans"), description="What the server's vacuum removes after that time."
    )


GIT_CREDENTIALS = r"[a-z0-9-]+/[a-z0-9-]+(@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?)?"
"""`TYPE/NAME[@HOST[:PORT]]`: a block with a login for git, and the host it is for."""


class Worker(_Part):
    """A worker on this machine and the pool it takes runs from."""

    name: Name = Field(description="Name of the worker, its service and its log.")
    pool: str = Field(description="Work pool; made if missing.", pattern=r"^[A-Za-z0-9_-]{1,60}$")
    type: Literal["process"] = Field("process", description="Work pool type: process runs flows on this machine.")
    concurrency: int = Field(
        10,
        ge=1,
        le=1000,
        description="Flow runs at one time: what it adds to the concurrency limit of its pool. More wait in the pool.",
    )
    query_seconds: int = Field(
        10,
        ge=1,
        le=15,
        description="Seconds after which it asks for runs although nothing was heard of its pool; Prefect's default. "
        "What happens there is heard within a second.",
    )
    packages: tuple[str, ...] = Field(
        (), description="Further requirements for the flows it runs, such as `pandas==2.2.3`; pinned with hashes."
    )
    env: dict[str, str] = Field({}, description="Environment of the flows it runs. Not for secrets: use blocks.")
    git_credentials: str | None = Field(
        None,
        description="A block on the server with the token for `git clone` in its runs, and the one host it is for: "
        "`<block type slug>/<name>@<host>`, such as `secret/git@git.example.org`. Credentials of GitHub, GitLab and "
        "Bitbucket say their host themselves: `github-credentials/ours`.",
        pattern=f"^{GIT_CREDENTIALS}$",
    )

    @field_validator("name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value in (SERVER, TOOLS):
            raise ValueError(f"{value!r} is the name of a release of the stack's own: a worker's may be named after it")
        return value

    @field_validator("packages")
    @classmethod
    def _requirements(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        """An option or a second line among them would speak to uv."""
        for each in value:
            if not re.fullmatch(r"[A-Za-z0-9][^\r\n]*", each):
                raise ValueError(f"{each!r} is no requirement such as pandas==2.2.3")
        return value

    @field_validator("env")
    @classmethod
    def _variables(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name of an environment variable")
        return value

    @field_validator("git_credentials")
    @classmethod
    def _host(cls, value: str | None) -> str | None:
        if value and "@" in value:
            addresses.require_host(value.partition("@")[2])
        return value

    @model_validator(mode="after")
    def _one_configuration_of_git(self) -> Worker:
        if self.git_credentials and "GIT_CONFIG_COUNT" in self.env:
            raise ValueError("git_credentials and GIT_CONFIG_COUNT in env do not go together")
        return self


class Backup(_Part):
    """How long copies are kept."""

    keep: int = Field(7, ge=1, description="Newest backups that are always kept.")
    window_days: int = Field(14, ge=1, description="Days that any backup is kept.")
    minimum_redundancy: int = Field(2, ge=1, description="Verified backups which expiry never goes below.")
    max_age_hours: int = Field(36, ge=1, description="Status is not well when the last verified backup is older.")


class Alerts(_Part):
    """Who is told when a maintenance flow fails or is late."""

    notification_block: str | None = Field(
        None,
        description="A notification block on the server, `<block type slug>/<name>`, such as `slack-webhook/ops`.",
        pattern=r"^[a-z0-9-]+/[a-z0-9-]+$",
    )
    late_after_minutes: int = Field(15, ge=1, description="A maintenance run is late after that time.")


def numbers(version: str) -> tuple[int, ...]:
    """A version such as `3.8.8` as numbers, to compare."""
    return tuple(int(part) for part in version.split("."))


class StackSpec(_Part):
    """One wanted Prefect stack."""

    name: Name = Field("prefect", description="Name of the stack: of its home, blocks, profile and system user.")
    target: Literal["local", "gcp"] = Field(
        "local", description="Where it runs: `local` is this machine, `gcp` a project of Google Cloud's."
    )
    local: Local = Local()
    gcp: Gcp = Field(Gcp(), exclude_if=lambda gcp: gcp == Gcp())  # no spec of `local` names it, an older one neither
    public_url: str | None = Field(
        None,
        description="How browsers reach it. Left out: http://<local.listen>:<local.ports.public>, with 127.0.0.1 for "
        "0.0.0.0.",
    )
    prefect_version: str = Field("3.8.8", description="Version of the server and its workers; 3.8.3 or newer.")
    database: Database = Database()
    server: Server = Server()
    workers: tuple[Worker, ...] = Field(
        (Worker(name="maintenance", pool="maintenance", concurrency=4), Worker(name="default", pool="default")),
        description="Workers on this machine. The one on the `maintenance` pool runs this project's own flows.",
    )
    backup: Backup = Backup()
    alerts: Alerts = Alerts()

    @model_validator(mode="before")
    @classmethod
    def _with_a_section_for_its_target(cls, data: Any) -> Any:
        """Spec files and saved specs from before December 2026 have keys of `[local]` at their top."""
        moved = {key: data[key] for key in ("home", "listen", "ports") if key in data}
        section = data.get("local", {})
        if not moved or not isinstance(section, dict):
            return data
        if twice := sorted(moved.keys() & section.keys()):
            raise ValueError(f"{twice[0]} is given twice: at the top, where it was once, and in [local]")
        others = {key: value for key, value in data.items() if key not in moved}
        return {**others, "local": {**section, **moved}}

    @field_validator("prefect_version")
    @classmethod
    def _supported(cls, value: str) -> str:
        found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", value)
        if not found:
            raise ValueError(f"{value!r} is not a release such as 3.8.8")
        version = tuple(int(part) for part in found.groups())
        if version < FLOOR:
            raise ValueError(
                f"{value} is below {_dotted(FLOOR)}: behind an auth string it refuses the events of all clients, "
                "so that task runs are silently never stored"
            )
        if version >= CEILING:
            known = f"{_dotted(FLOOR)} up to, not including, {_dotted(CEILING)}"
            raise ValueError(f"{value} is not known to work with this release; {known}")
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        return None if value is None else addresses.public_url(value)

    @model_validator(mode="after")
    def _for_its_target(self) -> StackSpec:
        if self.target == "local":
            if self.gcp != Gcp():
                raise ValueError('[gcp] is for target = "gcp", and the target is "local"')
            return self
        faults = faults_at_google(self.name, self.gcp)
        if self.local.model_copy(update={"home": None}) != Local():
            faults.append("[local] is for the target `local`, but for `home`: the launcher's folder on this machine")
        if self.database != Database():
            faults.append("[database] is for the target `local`: on `gcp` it is [gcp.database]")
        if self.public_url:
            faults.append("public_url is for the target `local`: on `gcp` it is gcp.domain")
        if self.version_parts < FLOOR_OF_GCP:
            faults.append(f"prefect_version {self.prefect_version}: prefect-gcp wants {_dotted(FLOOR_OF_GCP)} or newer")
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @model_validator(mode="after")
    def _consistent(self) -> StackSpec:
        names = [worker.name for worker in self.workers]
        if len(set(names)) != len(names):
            raise ValueError(f"workers: two share a name among {sorted(names)}")
        if all(worker.pool != "maintenance" for worker in self.workers):
            raise ValueError("workers: one must serve the pool 'maintenance', which runs backups and upgrades")
        if self.pool_limits["maintenance"] < 2:
            raise ValueError(
                "workers: concurrency on the pool 'maintenance' must be 2 or more: "
                "the status flow runs there and waits for a probe of the same pool"
            )
        return self

    @property
    def pool_limits(self) -> dict[str, int]:
        """Each work pool that has a worker → flow runs it begins at one time, the sum over its workers."""
        pools = sorted({worker.pool for worker in self.workers})
        return {pool: sum(each.concurrency for each in self.workers if each.pool == pool) for pool in pools}

    @property
    def version_parts(self) -> tuple[int, ...]:
        """The Prefect version as numbers, to compare."""
        return numbers(self.prefect_version)

    def as_wanted(self) -> dict[str, Any]:
        """The same as plain data that is kept for others: a launcher's own folder is nobody else's business."""
        plain = self.model_dump(mode="json")
        return plain if self.target == "local" else {**plain, "local": {**plain["local"], "home": None}}

    @property
    def release_packages(self) -> dict[str, tuple[str, ...]]:
        """Releases of the stack's Prefect: `server`, and a worker's name where it wants packages → those packages."""
        return {SERVER: (), **{each.name: each.packages for each in self.workers if each.packages}}


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def read_spec(path: Path | None, overrides: dict[str, Any] | None = None) -> StackSpec:
    """Read a spec file and lay the command line's values over it.

    Args:
        path: A TOML file, or None for the defaults.
        overrides: Dotted path → value, such as {"local.ports.public": 4300}; None values are left out.

    Raises:
        WrongCall: no such file, not TOML, an unknown key, a wrong type or value; all faults in one text.
    """
    source = str(path) if path else "the command line"
    data = with_certificates(_read_toml(path)) if path else {}
    given = build_spec(data, source).model_dump(mode="json", exclude_unset=True)
    return build_spec(overlaid(given, overrides or {}), source)


def overlaid(data: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A spec's plain data with values laid over it: dotted path → value; None values are left out."""
    laid = dict(data)
    for dotted, value in values.items():
        key, _, rest = dotted.partition(".")
        if value is not None:
            laid[key] = overlaid(laid.get(key, {}), {rest: value}) if rest else value
    return laid


def build_spec(data: dict[str, Any], source: str) -> StackSpec:
    """Validate the plain data of a spec; `source` names it in the error."""
    try:
        return StackSpec.model_validate(_tuples(data))
    except ValidationError as error:
        faults = "; ".join(_fault(each) for each in error.errors())
        raise WrongCall(f"{source}: {faults}", "blocks/README.md, chapter Spec, explains every key") from error


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise WrongCall(f"no spec file at {path}", "give the path of a stack.toml with --spec") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise WrongCall(
            f"{path} cannot be read as TOML: {error}", "blocks/README.md, chapter Spec, has an example"
        ) from error


def _tuples(value: Any) -> Any:
    """TOML knows lists only; strict models want the tuples that frozen data is made of."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(_tuples(each) for each in value) if isinstance(value, list) else value


def _fault(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"]) or "spec"
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = "" if error["type"] == "value_error" else f" (given: {error['input']!r:.60})"
    return f"{path}: {message}{given}"
