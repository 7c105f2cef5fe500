"""What every verb of `selfhost` begins with: the command line it belongs to, and which stack is meant."""

from __future__ import annotations

import importlib.metadata
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from blocks import targets
from blocks.errors import Blocked, NotReady, SelfhostError, WrongCall
from blocks.host import trusted
from blocks.host.home import HOME_VARIABLE, Home
from blocks.release import PROJECT
from blocks.site import default_home
from blocks.spec import StackSpec, build_spec, overlaid, read_spec

app = App(
    name="selfhost",
    help="Own a self-hosted Prefect: make it, look at it, change it, remove it.",
    version=lambda: importlib.metadata.version(PROJECT),
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON with stable keys.")]
Yes = Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")]

Patience = Annotated[float, Parameter(help="Seconds to wait for another who changes the stack.")]

BESIDE = Path("stack.toml")
"""Spec file that counts where --spec is left out."""
HINT = f"nothing was touched; bin/selfhost and {HOME_VARIABLE} count as --home, ./{BESIDE} as --spec"


@dataclass(frozen=True)
class SpecFile:
    """A spec file, and which stack it says it is for."""

    path: Path
    spec: StackSpec

    @property
    def name(self) -> str | None:
        """The stack's name; None where the file leaves it out."""
        return self.spec.name if "name" in self.spec.model_fields_set else None

    @property
    def home(self) -> Path | None:
        """The stack's home; None where the file leaves it out."""
        return Path(self.spec.local.home) if self.spec.local.home else None


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which stack is meant: the one in a home.

    The home is --home, or else SELFHOST_HOME, which `bin/selfhost` sets; or else the one the spec file says, or the
    default one of the stack's name. All else that is given must fit the stack there: --name and the file's `name` its
    name, the file's `home` its folder, --port its port. What does not is refused before anything is touched: nothing
    is passed over in silence. A file without `name` and `home` fits every stack.

    For `bootstrap` and `plan` the file and --port also say what is wanted. The file is --spec, or else ./stack.toml,
    which the other verbs look at only where neither a home nor a name is given.
    """

    spec: Annotated[Path | None, Parameter(help="Spec file; left out: ./stack.toml, else the saved spec.")] = None
    name: Annotated[str | None, Parameter(help="Name of the stack; left out: prefect.")] = None
    home: Annotated[Path | None, Parameter(env_var=HOME_VARIABLE, help="Folder of the stack.")] = None
    port: Annotated[int | None, Parameter(help="Port of the front door; server and database take the next two.")] = None
    target: Annotated[Literal["local", "gcp"] | None, Parameter(help="Where it runs; left out: local.")] = None
    project: Annotated[str | None, Parameter(help="With --target gcp: id of the project.")] = None
    region: Annotated[str | None, Parameter(help="With --target gcp: region, such as europe-west1.")] = None
    domain: Annotated[str | None, Parameter(help="With --target gcp: host name of the front door.")] = None

    def wanted(self) -> StackSpec:
        """The wanted spec: the file's, else the saved one, else the defaults; options lie over it.

        Raises:
            Blocked: somebody else could have changed the home or the spec file.
            WrongCall: a wrong spec, or two stacks were named.
        """
        file = self._file(with_beside=True)
        home = self._home(file)
        with suppress(NotReady):  # in a project that is new nothing answers yet
            self._adopt(home, file)
        owner = _owner(home)
        self._require_one_stack(home, owner, file)
        options = self._options(owner) | {"local.home": str(home.root) if self.home else None}
        if file:
            return build_spec(overlaid(file.spec.model_dump(mode="json", exclude_unset=True), options), str(file.path))
        if home.is_begun() if home.bucket is None else targets.access(home).ledger.has_wanted():
            kept = targets.saved(home).model_dump(mode="json", exclude_unset=True)
            return build_spec(overlaid(kept, options), "the saved spec")
        return read_spec(None, options)

    def there(self) -> Home:
        """The home of the stack that is there; its spec may be unreadable.

        Raises:
            Blocked: there is no stack, or somebody else could have changed its home or the spec file.
            WrongCall: a wrong spec file, or two stacks were named.
        """
        file = self._file(with_beside=not (self.home or self.name))
        home = self._home(file)
        if _owner(home) is None:
            self._adopt(home, file)
        owner = _owner(home)
        if owner is None:
            hint = "name it with --name or --home; selfhost bootstrap makes one"
            raise Blocked(f"there is no stack in {home.root}", hint)
        self._require_one_stack(home, owner, file)
        self._require_port(home)
        return home

    def saved(self) -> tuple[StackSpec, Home]:
        """The spec of the stack that is there, and its home.

        Raises:
            Blocked: there is no stack, or its bootstrap has not come so far.
            WrongCall: a wrong spec file, or two stacks were named.
        """
        home = self.there()
        return targets.saved(home), home

    def own_file(self) -> Path | None:
        """The spec file a bootstrap from here would bring this stack in line with; None where there is none."""
        try:
            file = self._file(with_beside=True)
            home = self.there()
            self._require_one_stack(home, _owner(home), file)
        except Blocked:
            return None  # another stack's, or not to be believed
        return file.path.resolve() if file else None

    def _file(self, *, with_beside: bool) -> SpecFile | None:
        path = self.spec or (BESIDE if with_beside and BESIDE.is_file() else None)
        if path is None:
            return None
        trusted.require_file(path)
        return SpecFile(path, read_spec(path))

    def _home(self, file: SpecFile | None) -> Home:
        path = self.home or (file.home if file else None) or self._default_home(file)
        trusted.require_home(path)
        home = Home(path.resolve() if self.home else path)
        if home.bucket is None and home.store != home.root / "store":
            trusted.require_file(home.store)
        return home

    def _default_home(self, file: SpecFile | None) -> Path:
        name = self.name or (file.name if file else None)
        return default_home(name or read_spec(None).name)

    def _options(self, owner: str | None) -> dict[str, Any]:
        """What the command line says of the spec, by dotted path."""
        gcp = {f"gcp.{key}": getattr(self, key) for key in ("project", "region", "domain")}
        return {"name": self.name or owner, "local.ports.public": self.port, "target": self.target, **gcp}

    def _adopt(self, home: Home, file: SpecFile | None) -> None:
        """Find the stack at Google which is meant, where this machine has no folder of it yet."""
        if _owner(home) or (self.target or (file.spec.target if file else "local")) == "local":
            return
        given = file.spec.model_dump(mode="json", exclude_unset=True) if file else {}
        targets.adopt(build_spec(overlaid(given, self._options(None)), "the command line"), home)

    def _require_place(self, home: Home) -> None:
        """Refuse a target, project or region of another stack than the one whose folder it is."""
        bucket = home.bucket
        there = ("gcp", bucket.project, bucket.region) if bucket else ("local", None, None)
        for option, given, is_there in zip(
            ("--target", "--project", "--region"), (self.target, self.project, self.region), there, strict=True
        ):
            if given and given != is_there:
                what = f"the stack in {home.root} is at {is_there or there[0]}, not {given} as {option} says"
                raise WrongCall(what, HINT)

    def _require_one_stack(self, home: Home, owner: str | None, file: SpecFile | None) -> None:
        if owner:
            self._require_place(home)
        if file and file.home and file.home.resolve() != home.root.resolve():
            raise WrongCall(f"{file.path} is for the stack in {file.home}, not for the one in {home.root}", HINT)
        named = {"--name": self.name, str(file.path) if file else "": file.name if file else None}
        for source, name in named.items():
            if name and owner and name != owner:
                raise WrongCall(f"{home.root} belongs to the stack {owner!r}, not {name!r} as {source} says", HINT)
        if self.name and file and file.name and self.name != file.name:
            raise WrongCall(f"{file.path} is for the stack {file.name!r}, not {self.name!r} as --name says", HINT)

    def _require_port(self, home: Home) -> None:
        """A port cannot be held against a spec that is damaged, or not kept yet: then home and name say enough."""
        if self.port is None:
            return
        try:
            found = targets.saved(home).local.ports.public
        except SelfhostError:
            return
        if self.port != found:
            raise WrongCall(f"the stack in {home.root} is at port {found}, not {self.port} as --port says", HINT)


def _owner(home: Home) -> str | None:
    """Name of the stack whose home it is; None where there is none, or the folder is closed to us."""
    return home.owner() if os.path.exists(home.mark) else None  # noqa: PTH110 (Path.exists raises where it may not look)


HERE = Where()
