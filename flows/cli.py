"""`selfhost`: the command line. Each verb's work is elsewhere; here it is called and its end is told."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
import traceback
import webbrowser
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from blocks.errors import Blocked, SelfhostError, WrongCall
from blocks.host import control, secret_files, wanted
from blocks.host import lease as leases
from blocks.host.home import HOME_VARIABLE, Home
from blocks.release import PROJECT
from blocks.spec import StackSpec, build_spec, read_spec
from flows import launch, terminal
from flows.progress import listen, step

if TYPE_CHECKING:
    from blocks.backups import Catalogue
    from blocks.host.agent.spec import Condition
    from blocks.host.temporary_server import TemporaryServer
    from blocks.stack import Stack

app = App(
    name="selfhost",
    help="Own a self-hosted Prefect: make it, look at it, change it, remove it.",
    version=lambda: importlib.metadata.version(PROJECT),
)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON with stable keys.")]
Yes = Annotated[bool, Parameter(name="--yes", negative="", help="Do not ask.")]


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


@app.command
def bootstrap(where: Where = HERE) -> None:
    """Make a stack, finish one that was interrupted, or bring one in line with a changed spec."""
    spec = where.wish()
    home = Home(spec.home_path)
    launch.check(spec)
    launch.refuse_version_change(spec, home)
    listen(terminal.StepLines())
    lease = launch.take_lease(home, "bootstrap")
    launch.prepare_home(spec)
    make = _again if launch.is_bootstrapped(home) else _first
    conditions = make(spec, home, lease)
    terminal.conditions(conditions)
    terminal.done(spec, home)


def _first(spec: StackSpec, home: Home, lease: leases.Lease) -> Sequence[Condition]:
    """Everything slow starts as early as it can: the temporary server imports while releases are installed."""
    if launch.has_other_prefect(spec):
        launch.become(launch.keep_wanted(spec, home)[wanted.SERVER], home, lease)
    temporary = launch.temporary_server(spec, home)
    with step("temporary server started"):
        url = temporary.start_server()
    terminal.say(f"  watch it at {url} (user admin, password in {home.secrets / secret_files.AUTH_STRING})")
    with ThreadPoolExecutor(2) as background:
        database = background.submit(launch.start_database, temporary, home)
        releases = launch.keep_wanted(spec, home)
        # The flow's `host services` waits for it, and tells where it fails.
        background.submit(launch.install_release, releases[wanted.SERVER], home)
        database.result()
        launch.use_server(url, home)
        return _hand_over(spec, home, temporary, lease)


def _hand_over(spec: StackSpec, home: Home, temporary: TemporaryServer, lease: leases.Lease) -> Sequence[Condition]:
    from blocks import catalog
    from flows import bootstrap as verb
    from flows import converge, pivot

    plain = spec.model_dump(mode="json")
    stack = catalog.composed(plain)
    is_resumed = stack.machine.applied() is not None
    if is_resumed:
        launch.mend_releases(home)
        # The database must run for us to know whether it has been copied, whatever the last attempt left.
        converge.bring_in_line(stack)
    if not (is_resumed and pivot.is_copied(stack)):
        with step("temporary server ready"):
            temporary.wait_ready()
        verb.run(plain)
        pivot.copy(stack, temporary, lease)
    return pivot.finish(stack, temporary)


def _again(spec: StackSpec, home: Home, lease: leases.Lease) -> Sequence[Condition]:
    """A stack that is there: first its host, which needs no server, then what its server keeps, by a run on it."""
    launch.temporary_server(spec, home).retire()  # what a kill in the midst of its removal left
    releases = launch.keep_wanted(spec, home)
    if launch.has_other_prefect(spec):
        launch.become(releases[wanted.SERVER], home, lease)
    launch.use_server(f"http://127.0.0.1:{spec.server_port}", home)

    from blocks import catalog, resource, verification
    from flows import converge
    from flows import status as report

    plain = spec.model_dump(mode="json")
    stack = catalog.composed(plain)
    with step("plan of the host") as detail:
        changes = resource.plan(stack.resources())
        detail.text = f"{len(changes)} changes"
    terminal.changes(changes)
    done = converge.bring_in_line(stack) if changes else []
    with step("services ready"):
        applied = stack.machine.applied()
        control.wait_ready(home, applied.generation if applied else 0)
    with step("plan of the server's objects") as detail:
        objects = converge.plan_of_objects(stack)
        detail.text = f"{len(objects)} changes"
    terminal.changes(objects)
    if not (changes or objects):
        return verification.quick(stack.door, spec.prefect_version, stack.machine.observe())
    converge.converge_from_outside(plain, converge.rows([each for each in done if each.action != "keep"]))
    with step("verify through the front door"):
        conditions = report.look(stack)
        report.require(conditions)
    return conditions


@app.command
def plan(where: Where = HERE, *, as_json: Json = False) -> None:
    """Show what a bootstrap would change, and change nothing."""
    spec = where.wish()
    home = Home(spec.home_path)
    with launch.prepared(spec, home) as releases:
        launch.use_server(f"http://127.0.0.1:{spec.server_port}", home)
        from blocks import catalog, resource
        from flows import converge

        stack = catalog.compose(spec, releases)
        changes = resource.plan(stack.resources())
        is_there = launch.is_bootstrapped(home)
        changes += converge.plan_of_objects(stack) if is_there else converge.plan_of_new_objects(stack)
    if as_json:
        print(json.dumps({"changes": [each.as_row() for each in changes]}, indent=1, default=str))
        return
    terminal.changes(changes)
    terminal.say(f"{len(changes)} changes" if changes else "nothing to change")


@app.command
def status(where: Where = HERE, *, as_json: Json = False) -> None:
    """Look at the whole stack through its front door; exit status 1 where something is not well."""
    stack = _asked(where)
    from flows import status as report

    found = report.report(stack)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        terminal.report(found)
    if not found["healthy"]:
        raise SystemExit(1)


@app.command
def backup(
    where: Where = HERE,
    *,
    reason: Annotated[str, Parameter(help="Why; kept with the backup.")] = "by hand",
    listing: Annotated[bool, Parameter(name="--list", negative="", help="List the backups, and make none.")] = False,
    as_json: Json = False,
) -> None:
    """Copy the database and restore the copy to see that it is one; by a run on the stack's own server."""
    stack = _asked(where)
    if not listing:
        from flows.follow import run_deployment

        run_deployment(stack.door, "backup/backup", {"reason": reason}, terminal.err_line if as_json else terminal.say)
    _list_backups(stack, as_json)


@app.command
def expire(where: Where = HERE, *, yes: Yes = False) -> None:
    """Show the backups which the policy no longer keeps, and drop them; the last verified one always stays."""
    stack = _asked(where)
    from flows import expire as verb
    from flows.follow import run_deployment

    with _catalogue(stack) as catalogue:
        leaving = verb.due(stack, catalogue)
    if not leaving:
        terminal.say("nothing to drop: the policy keeps all backups there are")
        return
    terminal.backups(leaving)
    if not yes:
        terminal.confirm(f"Drop {len(leaving)} backups?")
    run_deployment(stack.door, "expire/expire", {}, terminal.say)


def _asked(where: Where) -> Stack:
    """The stack that is there, for a verb that is a run on its own server."""
    spec, home = where.saved()
    if launch.has_other_prefect(spec):
        launch.become(wanted.read(home).releases[wanted.SERVER], home)
    launch.use_server(f"http://127.0.0.1:{spec.server_port}", home)
    from blocks import catalog

    return catalog.composed(spec.model_dump(mode="json"))


@contextmanager
def _catalogue(stack: Stack) -> Iterator[Catalogue]:
    from blocks.backups import Catalogue

    with tempfile.TemporaryDirectory(prefix="backups-") as folder:
        yield Catalogue(stack.objects, Path(folder))


def _list_backups(stack: Stack, as_json: bool) -> None:
    from flows.backup import rows

    with _catalogue(stack) as catalogue:
        found = catalogue.all()
    if as_json:
        print(json.dumps({"backups": rows(found, datetime.now(UTC))}, indent=1))
    else:
        terminal.backups(found)


@app.command
def start(where: Where = HERE) -> None:
    """Start a stack, as after a reboot; waits until all is ready."""
    home = where.there()
    listen(terminal.StepLines())
    launch.take_lease(home, "start")
    with step("services ready") as detail:
        control.start(home)
        detail.text = f"{len(control.wait_ready(home).services)} services"


@app.command
def stop(
    where: Where = HERE,
    *,
    wait: Annotated[float, Parameter(help="Seconds that running flows get to end.")] = 60.0,
    now: Annotated[bool, Parameter(name="--now", negative="", help="End running flows with their workers.")] = False,
) -> None:
    """Stop a stack; nothing of it runs afterwards, all of it stays."""
    home = where.there()
    listen(terminal.StepLines())
    launch.take_lease(home, "stop")
    if not now:
        with step("workers idle"):
            control.wait_idle(home, wait)
    with step("services stopped"):
        control.stop(home)


@app.command
def destroy(where: Where = HERE, *, yes: Yes = False) -> None:
    """Remove a stack with everything it holds: processes, database, files, secrets, system user, profile."""
    home = where.there()
    name = home.owner() or ""
    if not yes:
        terminal.confirm(f"Remove the stack {name} in {home.root}, its database and its secrets?")
    listen(terminal.StepLines())
    launch.take_lease(home, "destroy")
    from flows.destroy import destroy as remove

    remove(home, name)
    terminal.say(f"the stack {name} is gone")


@app.command
def connect(where: Where = HERE) -> None:
    """Write a Prefect profile for this machine, and print what another laptop or CI needs."""
    spec, home = where.saved()
    from flows.connect import write_profile

    path = write_profile(spec, secret_files.read(home.secrets, secret_files.AUTH_STRING))
    file = home.secrets / secret_files.AUTH_STRING
    terminal.say(f"profile {spec.name!r} is written to {path} and in use: prefect flow-run ls")
    terminal.say("another laptop, or CI, needs the Prefect version of the server or an older one, and:")
    terminal.say(f"  pip install 'prefect<={spec.prefect_version}'")
    terminal.say(f"  export PREFECT_API_URL={spec.api_url}")
    terminal.say(f"  export PREFECT_API_AUTH_STRING=...   # the text of {file}; keep it in the CI's secret store")


@app.command
def logs(
    service: str | None = None,
    where: Where = HERE,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="")] = False,
    lines: Annotated[int, Parameter(name=["--lines", "-n"])] = 100,
) -> None:
    """Print a service's log; without a name, say which there are.

    Parameters
    ----------
    service: Such as server-blue, nginx, postgres, worker-default, agent.
    follow: Go on with what is written from now on.
    lines: How many of the last lines.
    """
    home = where.there()
    names = sorted(each.stem for each in home.logs.glob("*.log"))
    if service is None:
        terminal.say("\n".join(names))
        return
    if service not in names:
        raise WrongCall(f"there is no log of {service!r}", f"there are {', '.join(names)}")
    tail = ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), str(home.logs / f"{service}.log")]
    os.execvp(tail[0], tail)


@app.command(name="open")
def open_ui(where: Where = HERE) -> None:
    """Open the UI in a browser."""
    spec, home = where.saved()
    terminal.say(f"{spec.url}  (user admin, password in {home.secrets / secret_files.AUTH_STRING})")
    webbrowser.open(spec.url)


def main() -> int:
    """Run the command line; exit status 2 for a wrong call, 1 for a failure."""
    try:
        app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        terminal.fail(WrongCall(" ".join(str(error).split()), "selfhost --help"))
        return 2
    except SelfhostError as error:
        terminal.fail(error)
        return 2 if isinstance(error, WrongCall) else 1
    except KeyboardInterrupt:
        terminal.fail(Blocked("interrupted", "the same command finishes what was begun"))
        return 130
    except Exception as error:  # noqa: BLE001 (said in one line, the traceback kept for whoever mends it)
        terminal.fail(SelfhostError(f"{type(error).__name__}: {error}", f"details in {_keep_traceback()}"))
        return 1
    return 0


def _keep_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="selfhost-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name


if __name__ == "__main__":
    sys.exit(main())
