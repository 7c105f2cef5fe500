"""`selfhost`: the command line. Each verb's work is elsewhere; here it is called and its end is told."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
import webbrowser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import CycloptsError, Parameter, UnusedCliTokensError

from blocks import targets
from blocks.errors import Blocked, SelfhostError, WrongCall
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.lease import Lease
from blocks.site import folder, here
from blocks.spec import SERVER, StackSpec
from flows.cli import host, launch, permissions, restore, terminal  # noqa: F401 (some register their verbs)
from flows.cli.maintenance import use_stack
from flows.cli.progress import listen, step
from flows.cli.where import HERE, Json, Patience, Where, Yes, app
from flows.cli.workers import workers

if TYPE_CHECKING:
    from blocks.agent.spec import Condition
    from blocks.temporary.server import TemporaryServer

app.command(workers)


@app.command
def bootstrap(
    *,
    where: Where = HERE,
    patience: Patience = 0.0,
    encryption_key_file: Annotated[
        Path | None, Parameter(help="Your copy of the encryption key, where the home was lost and its store was not.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make a stack, finish one that was interrupted, or bring one in line with a changed spec."""
    spec = where.wanted()
    home = Home(folder(spec))
    launch.require_its_store(spec, home)
    listen(terminal.StepLines())
    launch.check(spec, encryption_key_file)
    lease = launch.take_lease(home, "bootstrap", patience, targets.place(spec))
    spec = where.wanted()  # again: the lease's holder before us may have changed the saved one
    launch.refuse_version_change(spec, home)
    launch.prepare_home(spec)
    make = _existing if launch.is_bootstrapped(home) or launch.is_to_be_adopted(spec, home) else _new
    conditions = make(spec, home, lease, yes)
    targets.access(home).ledger.close_former()
    launch.forget_secrets(home)
    terminal.conditions(conditions)
    terminal.done(spec, targets.access(home))


def _new(spec: StackSpec, home: Home, lease: Lease, yes: bool) -> Sequence[Condition]:
    """Everything slow starts as early as it can: the temporary server imports while releases are installed."""
    if launch.has_other_prefect(spec):
        launch.become(launch.write_wanted(spec, home)[SERVER], home, lease)
    temporary = launch.temporary_server(spec, home)
    with step("temporary server started"):
        url = temporary.start_server()
    terminal.say(f"  watch it at {url}, {terminal.login(targets.access(home).secrets)}")
    with ThreadPoolExecutor(2) as background:
        database = background.submit(launch.start_database, temporary, home)
        releases = launch.write_wanted(spec, home)
        if spec.target == "local":  # the flow's `host services` waits for it, and tells where it fails
            background.submit(launch.install_release, releases[SERVER], home)
        database.result()
        launch.use_server(url, home, launch.TEMPORARY_RETRIES)
        return _hand_over(spec, temporary)


def _hand_over(spec: StackSpec, temporary: TemporaryServer) -> Sequence[Condition]:
    from blocks import catalog
    from flows import bootstrap as verb
    from flows import converge, pivot

    plain = spec.model_dump(mode="json")
    stack = catalog.composed(plain)
    is_resumed = stack.is_settled and stack.machine.observe() is not None
    if is_resumed:
        # Only a running database says whether the pivot has been made, and the interrupted attempt may have stopped it.
        converge.bring(stack, mend=True)
    if not (is_resumed and pivot.is_copied(stack)):
        with step("temporary server ready"):
            temporary.wait_ready()
        verb.run(plain)
        pivot.copy(stack, temporary)
    return pivot.finish(stack, temporary)


def _existing(spec: StackSpec, home: Home, lease: Lease, yes: bool) -> Sequence[Condition]:
    """A stack that is there: first its host, which needs no server, then what its server keeps, by a run on it."""
    launch.temporary_server(spec, home).retire()  # its files, where its removal was interrupted
    releases = launch.write_wanted(spec, home)
    if launch.has_other_prefect(spec):
        launch.become(releases[SERVER], home, lease)
    launch.use_own_server(spec, home)

    from blocks import catalog, resource, verification
    from flows import converge
    from flows import status as report

    plain = spec.model_dump(mode="json")
    stack = catalog.composed(plain)
    with step("plan of the host") as detail:
        changes = converge.plan_of_parts(stack)
        detail.text = f"{len(changes)} changes"
    terminal.changes(changes)
    if not yes and (interrupts := [each.interrupts for each in changes if each.interrupts]):
        terminal.confirm(f"{'; '.join(interrupts)}. Go on?")
    done = []
    if changes:
        done = resource.converge(stack.outside())
        stack = converge.settled(stack)
        done += converge.bring(stack)
    with step("services ready"):
        stack.machine.run("ready", {})
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
def plan(*, where: Where = HERE, as_json: Json = False) -> None:
    """Show what a bootstrap would change, and change nothing."""
    spec = where.wanted()
    home = Home(folder(spec))
    if launch.is_bootstrapped(home) and launch.has_other_prefect(spec):
        launch.become(
            targets.access(home).ledger.wanted().releases[SERVER], home
        )  # a client may not be newer than its server
    with launch.prepared(spec, home) as releases:
        launch.use_own_server(spec, home)
        from blocks import catalog
        from flows import converge

        found = targets.known(spec, home.identity() or "") | launch.found_before(home)
        stack = catalog.compose(spec, releases, here(spec), launch.versions(home), found)
        changes = converge.plan_of_parts(stack)
        is_there = launch.is_bootstrapped(home)
        changes += converge.plan_of_objects(stack) if is_there else converge.plan_of_new_objects(stack)
        # Before its APIs are enabled, nothing at Google can be asked.
        can_be_asked = spec.target == "gcp" and not any("APIs" in each.resource for each in changes)
        faults = targets.faults(spec) if can_be_asked else []
    costs = targets.costs(spec)
    if as_json:
        rows: dict[str, object] = {"changes": [each.as_row() for each in changes]}
        rows |= {"costs": costs, "faults": faults} if costs else {}
        print(json.dumps(rows, indent=1, default=str))
        return
    terminal.changes(changes)
    terminal.say(f"{len(changes)} changes" if changes else "nothing to change")
    if costs:
        terminal.costs(costs)
    launch.require_none(faults)


@app.command
def status(*, where: Where = HERE, as_json: Json = False) -> None:
    """Look at the whole stack through its front door; exit status 1 where something is not well."""
    stack = use_stack(where)
    from flows import status as report

    found = report.report(stack)
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        terminal.report(found)
    if not found["healthy"]:
        raise SystemExit(1)


@app.command
def start(*, where: Where = HERE) -> None:
    """Start a stack, as after a reboot; waits until all is ready. On its host it asks nothing but the home."""
    home = where.there()
    listen(terminal.StepLines())
    launch.take_lease(home, "start")
    machine = targets.access(home).machine
    with step("services ready") as detail:
        machine.start()
        detail.text = f"{machine.run('ready', {})['services']} services"


@app.command
def stop(
    *,
    where: Where = HERE,
    wait: Annotated[float, Parameter(help="Seconds that running flows get to end.")] = 60.0,
    now: Annotated[bool, Parameter(name="--now", negative="", help="End running flows with their workers.")] = False,
) -> None:
    """Stop a stack; nothing of it runs afterwards, all of it stays."""
    home = where.there()
    listen(terminal.StepLines())
    launch.take_lease(home, "stop")
    machine = targets.access(home).machine
    if not now:
        with step("workers idle"):
            machine.run("idle", {"timeout": wait})
    with step("services stopped"):
        machine.stop()


@app.command
def destroy(
    *,
    where: Where = HERE,
    drop_backups: Annotated[
        bool, Parameter(negative="", help="Of a stack at Google: its bucket with the backups and their key, too.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Remove a stack with everything it holds: processes, database, files, secrets, system user, profile."""
    home = where.there()
    name = home.owner() or ""
    if drop_backups and home.bucket is None:
        raise WrongCall("--drop-backups is for a stack at Google", "on this machine they go with the stack's store")
    if not yes:
        terminal.confirm(f"Remove the stack {name} in {home.root}, its database and its secrets?")
    listen(terminal.StepLines())
    launch.take_lease(home, "destroy")
    launch.silence_prefect()
    from flows.destroy import destroy as remove

    for each in remove(home, name, keep=not drop_backups):
        print(each)
    print(f"the stack {name} is gone")  # the release this runs from may be gone too: nothing can be imported now


@app.command
def connect(*, where: Where = HERE) -> None:
    """Write a Prefect profile for this machine, and print what another laptop or CI needs."""
    spec, home = where.saved()
    from blocks import clients
    from flows.cli.profile import write_profile

    there = targets.access(home)
    secrets, url = there.secrets, there.url(spec)
    path = write_profile(spec.name, url, secrets.found(secret_files.AUTH_STRING) or "")
    file = secrets.location(secret_files.AUTH_STRING)
    terminal.say(f"profile {spec.name!r} is written to {path} and in use: prefect flow-run ls")
    terminal.say(f"another laptop, or CI, needs the server's Prefect or an older one (from {clients.OLDEST} on), and:")
    terminal.say(f"  pip install '{clients.requirement(spec.prefect_version)}'")
    terminal.say(f"  export PREFECT_API_URL={url}/api")
    terminal.say(f"  export PREFECT_API_AUTH_STRING=...   # the text of {file}; keep it in the CI's secret store")


@app.command
def logs(
    service: str | None = None,
    *,
    where: Where = HERE,
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
    machine = targets.access(home).machine
    if service is None:
        terminal.say("\n".join(machine.run("logs", {})["names"]))
        return
    for line in machine.follow(service, lines) if follow else machine.log(service, lines):
        print(line, flush=follow)


@app.command(name="open")
def open_ui(*, where: Where = HERE) -> None:
    """Open the UI in a browser."""
    spec, home = where.saved()
    there = targets.access(home)
    terminal.say(f"{there.url(spec)}, {terminal.login(there.secrets)}")
    webbrowser.open(there.url(spec))


def main() -> int:
    """Run the command line; exit status 2 for a wrong call, 1 for a failure."""
    os.umask(0o022)  # not the shell's: by another's nobody may write to what is ours, by a narrow one services pass
    try:
        app(exit_on_error=False, print_error=False)
    except CycloptsError as error:
        terminal.fail(_not_understood(error))
        return 2
    except SelfhostError as error:
        terminal.fail(error)
        return 2 if isinstance(error, WrongCall) else 1
    except KeyboardInterrupt:
        terminal.fail(Blocked("interrupted", "the same command finishes what was begun"))
        return 130
    except Exception as error:  # noqa: BLE001 (said in one line, the traceback kept for whoever mends it)
        terminal.fail(_unforeseen(error))
        return 1
    return 0


def _not_understood(error: CycloptsError) -> WrongCall:
    """What the command line's library did not understand, and the help of the verb it was for."""
    verb = " ".join(error.command_chain or ())
    what = " ".join(str(error).split())
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        what = f"{verb} does not take {' '.join(map(repr, error.unused_tokens))}"
    return WrongCall(what, " ".join(f"selfhost {verb} --help".split()))


def _unforeseen(error: Exception) -> SelfhostError:
    """What is said of an error that nobody took up; most are of a server which dies while we talk to it."""
    import httpx  # not before: a call which ends well can do without

    details = f"details in {_keep_traceback()}"
    if isinstance(error, httpx.HTTPStatusError) and error.response.is_server_error:
        answer = f"it answers {error.response.status_code}"
    elif isinstance(error, httpx.TransportError):
        answer = str(error)
    else:
        return SelfhostError(f"{type(error).__name__}: {error}", details)
    what = f"the server at {error.request.url.netloc.decode()}: {answer}"
    return SelfhostError(what, f"its disk may be full (df); the same command tries again; {details}")


def _keep_traceback() -> str:
    with tempfile.NamedTemporaryFile("w", prefix="selfhost-", suffix=".log", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name
