"""Workers of the stack, from the UI: add one, remove one, change how many runs it takes, list them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from pydantic import Field

from blocks import catalog, git_credentials, pools, release, rollout, verification
from blocks.agent.spec import HostSpec, HostStatus, Release, ServiceStatus
from blocks.errors import Blocked, NotReady
from blocks.resource import Apply, converge, plan, visit
from blocks.server_objects import PoolsLeftPaused, server_objects
from blocks.services import WORKER_PREFIX
from blocks.spec import GIT_CREDENTIALS, SERVER, StackSpec, Worker
from blocks.stack import USERS, HostServices, Stack, next_spec
from blocks.workers import Action, WorkerEdit, planned
from flows import change
from flows.backup import as_task
from flows.cli.progress import step
from flows.converge import this_server

Name = Annotated[str, Field(pattern=r"^([a-z]([a-z0-9-]{0,30}[a-z0-9])?)?$")]
Pool = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{0,60}$")]
Concurrency = Annotated[int, Field(ge=1, le=1000)]
Text = Annotated[str, Field(min_length=1, max_length=200)]
Pair = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*=.*$")]
Credentials = Annotated[str, Field(pattern=f"^({GIT_CREDENTIALS})?$")]
Minutes = Annotated[int, Field(ge=0, le=1440)]


@flow(name="workers")
def workers(
    action: Action = "list",
    name: Name = "",
    pool: Pool = "",
    type: Literal["process"] = "process",
    concurrency: Concurrency = 10,
    packages: list[Text] = [],  # noqa: B006 (Prefect reads the default off; nobody changes it)
    env: list[Pair] = [],  # noqa: B006
    git_credentials: Credentials = "",
    wait_minutes: Minutes = 60,
    stack: str | None = None,
) -> None:
    """Add, remove or scale a worker of the stack, or list them. No run is lost: a worker ends when nothing runs on it.

    Args:
        action: What to do. `list` leaves a table; so do the others at their end.
        name: The worker; needed for all but `list`.
        pool: For `add`: its work pool, made if missing. Empty: called like the worker.
        type: For `add`: `process` runs flows on this machine.
        concurrency: For `add` and `scale`: flow runs at one time, added to the limit of its pool; more wait there.
        packages: For `add`: requirements of the flows it runs, such as pandas==2.2.3.
        env: For `add`: environment of the flows it runs, each KEY=VALUE. Not for secrets: use blocks.
        git_credentials: For `add`: a block with the token for git clone in its runs, and the host it is for, such as
            secret/git@git.example.org or github-credentials/ours. Empty: none.
        wait_minutes: For `remove`: minutes that what runs on it gets to end; then it goes on as it was.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    edit = WorkerEdit(action, name, pool, type, concurrency, packages, env, git_credentials)
    with this_server() as client:
        try:
            if action != "list":
                carry_out(edit, stack, client, wait_minutes * 60.0)
        finally:
            publish(catalog.load(stack), client)


def carry_out(edit: WorkerEdit, name: str | None, client: SyncPrefectClient, wait_seconds: float) -> None:
    """Change the stack's spec and then the stack, under its lease."""
    with catalog.load(name).ledger.held(f"workers {edit.action} {edit.name}"):
        now = catalog.load(name)
        with none_left_paused(edit, client):
            wanted = as_task("plan", lambda: with_change(now, edit, client))
            as_task("install", lambda: install(now, wanted))
            as_task("keep the spec", lambda: write_spec(wanted, client))
            as_task("pools and probes", lambda: bring_objects_in_line(wanted, client))
            as_task("system users", lambda: bring_users_in_line(wanted))
            late = as_task("drain and change", lambda: drain_and_change(wanted, edit, client, wait_seconds))
        if late:
            go_back(now, wanted, client, late)
        as_task("verify", lambda: verify(wanted, edit, client))


@contextmanager
def none_left_paused(edit: WorkerEdit, client: SyncPrefectClient) -> Iterator[None]:
    """Resume the pools which an interrupted change of workers had paused: under our lease nobody else pauses one.

    The pool of the worker that is changed now stays paused until this context ends: the interrupted change may be about
    to end that worker, which would lose a run that it is given meanwhile.
    """
    own = cut_short(edit, client)
    pools.resume(client, set(pools.marked(client)) - set(own))
    try:
        yield
    finally:
        pools.resume(client, own)


def cut_short(edit: WorkerEdit, client: SyncPrefectClient) -> list[str]:
    """Pools of this worker which carry our mark: an interrupted change of it had paused them."""
    return [each for each in pools.marked(client) if edit.name in _served_by(each, client)]


def _served_by(pool: str, client: SyncPrefectClient) -> set[str]:
    """Names of the workers which serve a pool or have done so."""
    return {each.name for each in client.read_workers_for_work_pool(pool)}


def there(now: Stack, edit: WorkerEdit, client: SyncPrefectClient) -> set[str]:
    """Services of the host, those that are about to end or whose folder it still lists, and this worker's where a
    change of it was interrupted."""
    given, seen = now.machine.run("given", {}), now.machine.observe()
    leaving = {each.name for each in (seen.services if seen else ())}
    return {*given["services"], *given["folders"]} | leaving | ({edit.service} if cut_short(edit, client) else set())


def with_change(now: Stack, edit: WorkerEdit, client: SyncPrefectClient) -> Stack:
    """The stack with this change of its workers, its releases resolved; everything that refuses does so here.

    Raises:
        Blocked: it cannot be done; nothing was changed.
    """
    with step("plan") as detail:
        spec = planned(now.spec, edit, there(now, edit, client))
        require_block(edit.git_credentials, client)
        wanted = catalog.compose(spec, releases_of(now, spec), now.site, now.versions, now.known)
        plan(server_objects(wanted, client))
        detail.text = "the spec changes" if spec != now.spec else "the spec says so already"
    return wanted


def require_block(reference: str, client: SyncPrefectClient) -> None:
    """Refuse git credentials which no block holds, or which nothing says the host of."""
    if not reference:
        return
    slug, name, _ = git_credentials.split(reference)
    what, hint = git_credentials.fault(reference, git_credentials.found(slug, name, client))
    if what:
        raise Blocked(what, hint)


def releases_of(now: Stack, spec: StackSpec) -> dict[str, Release]:
    """The releases of a changed spec: those that are there stay as they are, a new worker's own is resolved."""
    wanted = {each.name: each for each in spec.workers if each.packages}
    before = {each.name for each in now.spec.workers}
    kept = {name: each for name, each in now.releases.items() if name in wanted or name not in before}
    return kept | {name: _prepared(now, each) for name, each in wanted.items() if name not in kept}


def _prepared(now: Stack, worker: Worker) -> Release:
    (wheel,) = now.releases[SERVER].wheels
    goal = release.platform_of(now.spec)
    return release.prepare(now.spec.prefect_version, wheel, now.objects, worker.packages, now.host.reach(), goal)


def install(now: Stack, wanted: Stack) -> None:
    """Install a new release beside the others, before anything is kept; where that fails, all is as it was."""
    with step("install") as detail:
        seen = now.host.observe()
        there = set(seen.releases) if seen else set()
        new = [each.id for each in wanted.releases.values() if each.id not in there]
        detail.text = f"release {new[0]}" if new else "nothing new"
        if not new:
            return
        try:
            now.host.apply(rollout.with_releases(change.current(now), next_spec(wanted)))
        except Blocked:
            visit(HostServices(now), Apply())
            raise


def write_spec(stack: Stack, client: SyncPrefectClient) -> None:
    """Make this the wanted form of the stack: from now on a bootstrap, too, would finish the change."""
    with step("keep the spec"):
        change.make_wanted(stack, client)


def bring_objects_in_line(stack: Stack, client: SyncPrefectClient) -> None:
    """Make what the server keeps for the stack match its spec, the new pool and its probe above all.

    But for the pools that are paused by us: `none_left_paused` knows which of them may not be resumed yet.
    """
    with step("pools and probes") as detail:
        objects = server_objects(stack, client)
        done = converge([each for each in objects if not isinstance(each, PoolsLeftPaused)])
        changed = [f"{each.action} {each.resource}" for each in done if each.action != "keep"]
        detail.text = ", ".join(changed) or "nothing to change"


def bring_users_in_line(stack: Stack) -> None:
    """Make a new worker's system user, and take away those of workers that are gone. Without root there are none."""
    with step("system users") as detail:
        done = [visit(each, Apply()) for each in stack.machine.on_host() if each.name in USERS]
        detail.text = ", ".join(each.resource for each in done if each.action != "keep") or "nothing to change"


def drain_and_change(wanted: Stack, edit: WorkerEdit, client: SyncPrefectClient, wait_seconds: float) -> str:
    """Change the one worker's service. Returns the runs that were not over in time, in words; empty: it has changed."""
    with step("drain and change") as detail:
        host = next_spec(wanted)
        if edit.action == "scale":
            detail.text = f"{edit.service} goes on, the limit of its pool was all"
        else:
            late = _changed(wanted, host, edit.service, client, wait_seconds)
            if late:
                return late
        visit(HostServices(wanted), Apply())  # drops releases and files which no service needs any more
    bring_users_in_line(wanted)
    return ""


def _changed(wanted: Stack, host: HostSpec, service: str, client: SyncPrefectClient, wait_seconds: float) -> str:
    """Change the service. Returns why it is as it was, in words; empty: it has changed."""
    try:
        return change.change_workers(wanted, host, [service], client, wait_seconds)
    except (Blocked, NotReady) as error:
        return f"{error.what}: {error.hint}" if error.hint else error.what


def go_back(before: Stack, wanted: Stack, client: SyncPrefectClient, late: str) -> None:
    """The worker is as it was, so the spec says that again.

    Raises:
        Blocked: always, with what still runs, or why it does not start.
    """
    if before.spec == wanted.spec:  # an earlier run was killed after it had changed the spec
        raise Blocked(late, "the spec says so already: it changes as soon as it can, and nobody need wait")
    with step("the spec as it was"):
        change.make_wanted(before, client)
        visit(HostServices(before), Apply())
    bring_users_in_line(before)
    bring_objects_in_line(before, client)
    raise Blocked(late, "all is as it was; where runs are named, wait for them or cancel them, or give more minutes")


def verify(wanted: Stack, edit: WorkerEdit, client: SyncPrefectClient) -> None:
    """See that the worker runs a flow, where it was changed and its pool is not paused."""
    with step("verify") as detail:
        worker = next((each for each in wanted.spec.workers if each.name == edit.name), None)
        if worker is None:
            detail.text = f"{edit.name} is gone, its pool stays"
        elif edit.action == "scale":
            detail.text = f"the pool {worker.pool} runs {wanted.spec.pool_limits[worker.pool]} at one time"
        elif client.read_work_pool(worker.pool).is_paused:
            detail.text = f"the pool {worker.pool} is paused, so that no run was tried"
        else:
            found = verification.probe(wanted.door, worker.pool)
            if not found.status:
                raise Blocked(
                    found.message, f"the worker {worker.name} is there; selfhost workers remove takes it away"
                )
            detail.text = found.message


def rows(stack: Stack, client: SyncPrefectClient) -> list[dict[str, Any]]:
    """What `selfhost workers list --json` tells of each worker of the spec; keys are stable."""
    host = stack.machine.observe()
    return [_row(each, _services(host), client) for each in stack.spec.workers]


def _services(host: HostStatus | None) -> Mapping[str, ServiceStatus]:
    return {each.name: each for each in (host.services if host else ())}


def _row(worker: Worker, services: Mapping[str, ServiceStatus], client: SyncPrefectClient) -> dict[str, Any]:
    service = services.get(WORKER_PREFIX + worker.name)
    return {
        "name": worker.name,
        "pool": worker.pool,
        "type": worker.type,
        "concurrency": worker.concurrency,
        "packages": list(worker.packages),
        "git_credentials": worker.git_credentials,
        "state": service.state if service else "missing",
        "version": service.version if service else "",
        "pool_paused": _is_paused(client, worker.pool),
        "pool_runs": len(pools.alive(client, [worker.pool])),
    }


def _is_paused(client: SyncPrefectClient, pool: str) -> bool:
    try:
        return client.read_work_pool(pool).is_paused
    except ObjectNotFound:
        return False


def publish(stack: Stack, client: SyncPrefectClient) -> None:
    """Leave the workers as a table."""
    table = [{**each, "packages": " ".join(each["packages"])} for each in rows(stack, client)]
    create_table_artifact(table=table, key="workers", description="Workers of the stack, and what runs on their pools.")
