"""What every verb of `selfhost` begins with: the command line it belongs to, and which stack is meant."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from blocks.host import wanted
from blocks.host.home import HOME_VARIABLE, Home
from blocks.release import PROJECT
from blocks.spec import StackSpec, build_spec, read_spec
from flows import launch

app = App(
    name="selfhost",
    help="Own a self-hosted Prefect: make it, look at it, change it, remove it.",
    version=lambda: importlib.metadata.version(PROJECT),
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON with stable keys.")]
Yes = Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")]

Patience = Annotated[float, Parameter(help="Seconds to wait for another who changes the stack.")]


@Parameter(name="*")
@dataclass(frozen=True)
class Where:
    """Which stack is meant."""

    spec: Annotated[Path | None, Parameter(help="Spec file; left out: ./stack.toml, else the saved spec.")] = None
    name: Annotated[str | None, Parameter(help="Name of the stack; left out: prefect.")] = None
    home: Annotated[Path | None, Parameter(env_var=HOME_VARIABLE, help="Folder of the stack.")] = None
    port: Annotated[int | None, Parameter(help="Port of the front door; server and database take the next two.")] = None

    def wish(self) -> StackSpec:
        """The spec that is asked for: the file's, else the saved one, else the defaults; options lie over it."""
        home = str(self.home.resolve()) if self.home else None
        options = {"name": self.name, "home": home, "ports.public": self.port}
        path = self.spec or (Path("stack.toml") if Path("stack.toml").is_file() else None)
        if path is not None:
            return read_spec(path, options)
        plain = read_spec(None, options)
        if not wanted.exists(Home(plain.home_path)):
            return plain
        return build_spec(_overlaid(dict(wanted.read(Home(plain.home_path)).spec), options), "the saved spec")

    def there(self) -> Home:
        """The home of the stack that is there; its spec may be unreadable.

        Raises:
            Blocked: there is no stack, or another one than was named.
        """
        home = Home(self.home.resolve() if self.home else self.wish().home_path)
        launch.require_ours(home, self.name)
        return home

    def saved(self) -> tuple[StackSpec, Home]:
        """The spec of the stack that is there.

        Raises:
            Blocked: no stack was made in that home.
        """
        home = Home(self.home.resolve() if self.home else self.wish().home_path)
        return build_spec(dict(wanted.read(home).spec), f"the saved spec in {home.root}"), home


def _overlaid(saved: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if value is not None}
    port = given.pop("ports.public", None)
    ports = {**saved["ports"], "public": port} if port is not None else saved["ports"]
    return {**saved, **given, "ports": ports}


HERE = Where()
