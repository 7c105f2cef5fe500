"""Bring a stack in line with its spec: plan, converge, drift."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast
from uuid import UUID

import httpx
from prefect import flow, task
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.worker import EventsWorker
from prefect.futures import PrefectFuture
from prefect.logging.handlers import APILogWorker
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from blocks import catalog
from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.resource import Apply, Change, Record, Resource, in_order, plan, visit
from blocks.server_objects import server_objects
from blocks.site import SETTLED, URL
from blocks.stack import Stack
from flows.cli.progress import step

RUNNER: TaskRunner[PrefectFuture[Any]] = cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=32))
"""Holds all resources of a stack at one time: most of them wait for another one, or for something outside."""


@flow(name="converge", task_runner=RUNNER)
def converge(stack: str | None = None) -> None:
    """Bring the stack in line with its spec.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    wanted = catalog.load(stack)
    with wanted.ledger.held("converge, started from the UI"):
        visit_stack(wanted, Apply(), key="converge")


@flow(name="converge", task_runner=RUNNER)
def converge_from_outside(spec: dict[str, Any], done: list[dict[str, Any]]) -> None:
    """Bring the stack in line with a spec the launcher was given.

    Args:
        spec: The stack's spec, without secrets.
        done: What the launcher had to change on the host before this server could be asked, as rows of the table.
    """
    stack = catalog.composed(spec)
    before = [*done, *rows(visit_all(stack.outside(), Apply()))]
    make_stack(settled(stack), key="converge", before=before)


@flow(name="drift", task_runner=RUNNER)
def drift(stack: str | None = None) -> None:
    """Show how the stack differs from its spec, and change nothing.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    changes = visit_stack(catalog.load(stack), Record(), key="drift")
    differing = [change.resource for change in changes if change.action != "keep"]
    if differing:
        raise Blocked(f"drift: {', '.join(differing)}", "the artifact `drift` shows it, the flow `converge` mends it")


class PartlyDone(SelfhostError):
    """Some resources failed; `changes` is what was done with the others, `failed` names those."""

    def __init__(self, what: str, hint: str, changes: Sequence[Change], failed: Sequence[str]) -> None:
        super().__init__(what, hint)
        self.changes, self.failed = changes, failed


def visit_stack(stack: Stack, applier: Apply | Record, *, key: str) -> list[Change]:
    """Visit, on the host, what stands there, then what the server keeps; leave the table under `key`."""
    with this_server() as client:
        kept = server_objects(stack, client)
        return _in_turn(stack, key, (), lambda: visit_all(stack.on_host(), applier), lambda: visit_all(kept, applier))


def settled(stack: Stack) -> Stack:
    """The stack with all that is known of it now that what stands outside its host is there; its host learns it too."""
    learned = stack.learned()
    if learned.items() <= stack.known.items():
        return stack
    found = {**stack.known, **learned}
    composed = catalog.compose(stack.spec, stack.releases, stack.site, stack.versions, found)
    found |= {URL: composed.proxy.url(), SETTLED: "yes"}
    stack.ledger.write_wanted(stack.spec.as_wanted(), stack.releases, found=found)
    return catalog.compose(stack.spec, stack.releases, stack.site, stack.versions, found)


def make_stack(stack: Stack, *, key: str, before: Sequence[dict[str, Any]], first: bool = False) -> list[Change]:
    """Have the host bring in line what stands there, then what its server keeps; leave the table under `key`.

    Args:
        before: Rows of the table that were done before.
        first: Whether the server is a temporary one: schedules are made paused.
    """
    with this_server() as client:
        kept = server_objects(stack, client, paused=first)
        return _in_turn(stack, key, before, lambda: bring(stack), lambda: visit_all(kept, Apply()))


def bring(stack: Stack, *, mend: bool = False) -> list[Change]:
    """Have the host bring in line all that stands there, see `flows.requests.bring`."""
    return [Change.from_row(each) for each in stack.machine.run("bring", {"mend": mend})["changes"]]


def _in_turn(
    stack: Stack, key: str, before: Sequence[dict[str, Any]], *parts: Callable[[], list[Change]]
) -> list[Change]:
    """One part after the other; the table is left however it ends."""
    done: list[Change] = []
    failed: Sequence[str] = ()
    try:
        for part in parts:
            done += part()
    except PartlyDone as error:
        done, failed = [*done, *error.changes], error.failed
        raise
    finally:
        publish(stack, [*before, *rows(done), *({"resource": each, "action": "FAILED"} for each in failed)], key)
    return done


def bring_in_line(stack: Stack) -> list[Change]:
    """Bring what a stack is made of in line, without its server: what of the host it needs may be wrong, too."""
    changes = []
    for resource in in_order(stack.on_host()):
        with step(resource.name) as detail:
            changes.append(visit(resource, Apply()))
            detail.text = changes[-1].action
    return changes


def plan_of_parts(stack: Stack) -> list[Change]:
    """What would change of all that the stack is made of, as its releases are here: outside first, then on the host."""
    outside, machine = plan(stack.outside()), {each.name for each in stack.machine.outside()}
    if any(each.action == "create" and each.resource in machine for each in outside):  # there is nobody to ask
        return [*outside, *(Change(each.name, "create") for each in in_order(stack.on_host()))]
    releases = {name: dataclasses.asdict(each) for name, each in stack.releases.items()}
    wanted = {"spec": stack.spec.as_wanted(), "releases": releases, "versions": dict(stack.versions)}
    answer = stack.machine.run("plan", {**wanted, "found": dict(stack.known)})
    return [*outside, *map(Change.from_row, answer["changes"])]


def plan_of_objects(stack: Stack) -> list[Change]:
    """What would change on the server of a stack that runs.

    Raises:
        NotReady: its server does not answer.
    """
    try:
        with this_server() as client:
            return plan(server_objects(stack, client))
    except httpx.TransportError as error:
        raise NotReady(f"the stack's server does not answer: {error}", "selfhost start, then again") from error


def plan_of_new_objects(stack: Stack) -> list[Change]:
    """What would be made on the server of a stack that is not there yet."""
    return [Change(each.name, "create") for each in server_objects(stack, this_server())]


def this_server() -> SyncPrefectClient:
    """A client to the server which this process's Prefect settings name."""
    return get_client(sync_client=True)


@contextlib.contextmanager
def only_server() -> Iterator[None]:
    """Runs in this context belong to one server: what they still have to tell is told to it before the context ends."""
    try:
        yield
    finally:
        EventsWorker.drain_all()
        APILogWorker.instance().drain()


def visit_all(resources: Sequence[Resource], applier: Apply | Record) -> list[Change]:
    """Visit each resource as a task of its own, as soon as its needs are done.

    Raises:
        SelfhostError: some failed; all failures in one text. What does not need them was carried out.
    """
    if not resources:
        return []
    progress = cast(UUID, create_progress_artifact(progress=0.0, key="resources", description="Resources visited"))
    futures: dict[str, PrefectFuture[Change]] = {}
    for resource in in_order(resources):
        needs = [futures[need] for need in resource.needs]
        futures[resource.name] = _as_task(resource, applier).submit(wait_for=needs)
    for count, future in enumerate(futures.values(), start=1):
        future.wait()
        if count % 5 == 0 or count == len(futures):
            update_progress_artifact(progress, progress=round(100 * count / len(futures), 1))
    return _settled(futures)


def _as_task(resource: Resource, applier: Apply | Record) -> Any:
    def visit_resource() -> Change:
        with step(resource.name) as detail:
            change = visit(resource, applier)
            detail.text = change.action
            return change

    return task(name=resource.name, task_run_name=resource.name, cache_policy=NO_CACHE)(visit_resource)


def _settled(futures: dict[str, PrefectFuture[Change]]) -> list[Change]:
    # What was waiting for a failed one has not run: its state is not final, and it has no result.
    ended = {name: future for name, future in futures.items() if future.state.is_final()}
    results: dict[str, Any] = {name: future.result(raise_on_failure=False) for name, future in ended.items()}
    failures = {name: result for name, result in results.items() if isinstance(result, BaseException)}
    changes = [change for change in results.values() if isinstance(change, Change)]
    if failures:
        what = "; ".join(f"{name}: {_what(error)}" for name, error in failures.items())
        hints = {error.hint for error in failures.values() if isinstance(error, SelfhostError) and error.hint}
        raise PartlyDone(what, "; ".join(sorted(hints)), changes, sorted(failures))
    return changes


def _what(error: BaseException) -> str:
    return error.what if isinstance(error, SelfhostError) else f"{type(error).__name__}: {error}"


def rows(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Changes as rows of the table people read."""
    return [
        {"resource": each.resource, "action": each.action, "changed": ", ".join(sorted(each.fields))}
        for each in changes
    ]


def publish(stack: Stack, table: list[dict[str, Any]], key: str) -> None:
    """Leave what was found or done as a table, and the way to the stack as a link."""
    create_table_artifact(
        table=table, key=key, description=f"Resources of the stack **{stack.spec.name}**: what was done with each."
    )
    create_link_artifact(link=stack.proxy.url(), link_text=f"Prefect of {stack.spec.name}", key="stack-url")
