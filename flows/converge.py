"""Bring a stack in line with its spec: plan, converge, drift."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from prefect import flow, task
from prefect.artifacts import (
    create_link_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from blocks import catalog
from blocks.errors import Blocked, SelfhostError
from blocks.resource import Apply, Change, Record, Resource, in_order, plan, visit
from blocks.server_objects import server_objects
from blocks.stack import Stack
from flows.progress import step

RUNNER: TaskRunner[PrefectFuture[Any]] = cast(TaskRunner[PrefectFuture[Any]], ThreadPoolTaskRunner(max_workers=32))
"""Holds all resources of a stack at one time: most of them wait for another one, or for something outside."""


@flow(name="converge", task_runner=RUNNER)
def converge(stack: str | None = None) -> None:
    """Bring the stack in line with its spec.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    wanted = catalog.load(stack)
    publish(wanted, visit_stack(wanted, Apply()), key="converge")


@flow(name="drift", task_runner=RUNNER)
def drift(stack: str | None = None) -> None:
    """Show how the stack differs from its spec, and change nothing.

    Args:
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    wanted = catalog.load(stack)
    changes = visit_stack(wanted, Record())
    publish(wanted, changes, key="drift")
    differing = [change.resource for change in changes if change.action != "keep"]
    if differing:
        raise Blocked(f"drift: {', '.join(differing)}", "the artifact `drift` shows it, the flow `converge` mends it")


def visit_stack(stack: Stack, applier: Apply | Record) -> list[Change]:
    """Visit what a stack is made of, then what its server keeps."""
    with this_server() as client:
        kept = server_objects(stack.spec, stack.blocks(), client)
        return [*visit_all(stack.resources(), applier), *visit_all(kept, applier)]


def plan_of(stack: Stack) -> list[Change]:
    """What would change on a stack that is there."""
    with this_server() as client:
        return plan([*stack.resources(), *server_objects(stack.spec, stack.blocks(), client)])


def plan_of_new(stack: Stack) -> list[Change]:
    """What would be made of a stack whose server is not there yet."""
    objects = server_objects(stack.spec, stack.blocks(), this_server())
    return [*plan(stack.resources()), *(Change(each.name, "create") for each in objects)]


def this_server() -> SyncPrefectClient:
    """A client to the server which this process's Prefect settings name."""
    return get_client(sync_client=True)


def visit_all(resources: Sequence[Resource], applier: Apply | Record) -> list[Change]:
    """Visit each resource as a task of its own, as soon as its needs are done.

    Raises:
        SelfhostError: some failed; all failures in one text. What does not need them was carried out.
    """
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
    if failures:
        told = "; ".join(f"{name}: {_what(error)}" for name, error in failures.items())
        hints = {error.hint for error in failures.values() if isinstance(error, SelfhostError) and error.hint}
        raise SelfhostError(told, "; ".join(sorted(hints)))
    return [change for change in results.values() if isinstance(change, Change)]


def _what(error: BaseException) -> str:
    return error.what if isinstance(error, SelfhostError) else f"{type(error).__name__}: {error}"


def publish(stack: Stack, changes: Sequence[Change], key: str) -> None:
    """Leave what was found or done as a table, and the way to the stack as a link."""
    rows = [
        {"resource": each.resource, "action": each.action, "changed": ", ".join(sorted(each.fields))}
        for each in changes
    ]
    create_table_artifact(
        table=rows, key=key, description=f"Resources of the stack **{stack.spec.name}**: what was done with each."
    )
    create_link_artifact(link=stack.proxy.url(), link_text=f"Prefect of {stack.spec.name}", key="stack-url")
