"""What a stack keeps on its own Prefect server: pools, deployments, automations and its blocks, as resources.

Each carries our mark in its description where it has one. What a person sets in the UI and we do not list
among the wanted attributes (pausing, parameters) is left as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags, FlowFilter, FlowFilterName
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.callables import parameter_schema
from prefect.workers.base import BaseWorker
from prefect.workers.process import ProcessWorker

from blocks.automations import MARK, Automation, UnneededAutomations, automations, digest
from blocks.documents import FormerBlocks, KeptDocument, StackDocument
from blocks.errors import Blocked
from blocks.pools import marked, resume
from blocks.release import asset
from blocks.resource import Attributes, Change, Resource
from blocks.stack import Stack

TAG = "selfhost"
"""Marks a deployment as ours."""
DECLARED_SLUG = "declared-"
"""How the slug of every schedule in `prefect.yaml` begins; it marks the schedule as ours."""
WORKERS: dict[str, type[BaseWorker[Any, Any, Any]]] = {"process": ProcessWorker}
"""Worker class by type. Asking Prefect for it would import every collection, 0.5 s."""


def server_objects(stack: Stack, client: SyncPrefectClient, *, paused: bool = False) -> list[Resource]:
    """Everything a stack keeps on its server.

    Args:
        paused: Whether a deployment with a schedule is made paused, as the first bootstrap does: it resumes them
            once the stack has been verified. Nobody would resume one that a later converge makes.
    """
    spec = stack.spec
    pools = {worker.pool: worker.type for worker in spec.workers}
    kept: list[Resource] = [
        WorkPool(name, pools[name], limit, client) for name, limit in sorted(spec.pool_limits.items())
    ]
    kept += [Deployment(entry, client, paused=paused) for entry in deployments(sorted(pools))]
    kept += [UnneededProbes(sorted(pools), client), PoolsLeftPaused(client)]
    kept += [StackDocument(stack, client), FormerBlocks(spec.name, client)]
    kept += [KeptDocument(each, spec.name, client) for each in stack.documents]
    watched = automations(spec.alerts)
    kept += [Automation(name, make, client) for name, make in watched.items()]
    return [*kept, UnneededAutomations(watched.keys(), client)]


def declared_deployments() -> list[dict[str, Any]]:
    """The entries of `prefect.yaml`."""
    entries: list[dict[str, Any]] = yaml.safe_load(asset("prefect.yaml").read_text("utf-8"))["deployments"]
    return entries


def deployments(pools: Sequence[str]) -> list[dict[str, Any]]:
    """The declared deployments on these pools, and a probe for each pool that none was declared for."""
    declared = [each for each in declared_deployments() if each["work_pool"]["name"] in pools]
    probe = next(each for each in declared if each["entrypoint"].endswith(".probe"))
    probed = {each["name"] for each in declared if each["entrypoint"] == probe["entrypoint"]}
    more = [{**probe, "name": pool, "work_pool": {"name": pool}} for pool in pools if pool not in probed]
    return [*declared, *more]


class WorkPool(Resource):
    """A work pool; its type cannot be changed.

    Args:
        limit: Flow runs it begins at one time. The server counts Running and Pending ones, whichever worker has them.
    """

    def __init__(self, pool: str, kind: str, limit: int, client: SyncPrefectClient) -> None:
        self.name = f"work pool {pool}"
        self._pool, self._kind, self._limit, self._client = pool, kind, limit, client

    def find(self) -> Attributes | None:
        try:
            found = self._client.read_work_pool(self._pool)
        except ObjectNotFound:
            return None
        return {"type": found.type, "concurrency limit": found.concurrency_limit}

    def want(self) -> Attributes:
        return {"type": self._kind, "concurrency limit": self._limit}

    def check(self, actual: Attributes) -> None:
        if actual["type"] != self._kind:
            raise Blocked(
                f"the work pool {self._pool!r} is of type {actual['type']!r}, not {self._kind!r}",
                "give the worker another pool, or delete that pool in the UI",
            )

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is not None:
            self._client.update_work_pool(self._pool, WorkPoolUpdate(concurrency_limit=self._limit))
            return
        made = WorkPoolCreate(
            name=self._pool,
            type=self._kind,
            base_job_template=WORKERS[self._kind].get_default_base_job_template(),
            description=MARK,
            concurrency_limit=self._limit,
        )
        self._client.create_work_pool(made)

    def delete(self) -> None:
        self._client.delete_work_pool(self._pool)


class Deployment(Resource):
    """A deployment of one of our flows, as `prefect.yaml` declares it."""

    def __init__(self, entry: Mapping[str, Any], client: SyncPrefectClient, *, paused: bool) -> None:
        self._flow: Flow[Any, Any] = load_flow_from_entrypoint(entry["entrypoint"], use_placeholder_flow=False)
        self.name = f"deployment {self._flow.name}/{entry['name']}"
        self.needs = (f"work pool {entry['work_pool']['name']}",)
        self._entry, self._client = entry, client
        self._made_paused = paused and bool(entry.get("schedules"))

    def find(self) -> Attributes | None:
        try:
            found = self._client.read_deployment_by_name(f"{self._flow.name}/{self._entry['name']}")
        except ObjectNotFound:
            return None
        return {
            "entrypoint": found.entrypoint,
            "pool": found.work_pool_name,
            "description": found.description,
            "parameters": digest(found.parameter_openapi_schema or {}),
            "schedules": {slug: _when(each.schedule) for slug, each in _declared(found.schedules).items()},
        }

    def want(self) -> Attributes:
        return {
            "entrypoint": self._entry["entrypoint"],
            "pool": self._entry["work_pool"]["name"],
            "description": self._entry["description"].strip(),
            "parameters": digest(self._schema()),
            "schedules": {each["slug"]: _when(_cron(each)) for each in self._entry.get("schedules", [])},
        }

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is None:
            self._create()
        else:
            self._update(change)

    def delete(self) -> None:
        found = self._client.read_deployment_by_name(f"{self._flow.name}/{self._entry['name']}")
        self._client.delete_deployment(found.id)

    def _create(self) -> None:
        self._client.create_deployment(
            flow_id=self._client.create_flow_from_name(self._flow.name),
            name=self._entry["name"],
            entrypoint=self._entry["entrypoint"],
            work_pool_name=self._entry["work_pool"]["name"],
            description=self._entry["description"].strip(),
            parameter_openapi_schema=self._schema(),
            enforce_parameter_schema=True,
            schedules=self._schedules(),
            pull_steps=[],
            tags=[TAG],
            paused=self._made_paused,
        )

    def _update(self, change: Change) -> None:
        found = self._client.read_deployment_by_name(f"{self._flow.name}/{self._entry['name']}")
        fields: dict[str, Any] = {
            "entrypoint": self._entry["entrypoint"],
            "work_pool_name": self._entry["work_pool"]["name"],
            "description": self._entry["description"].strip(),
            "parameter_openapi_schema": self._schema(),
        }
        self._client.update_deployment(found.id, DeploymentUpdate(**fields))
        if "schedules" in change.fields:
            self._mend_schedules(found.id, _declared(found.schedules))

    def _mend_schedules(self, deployment: UUID, found: Mapping[str, DeploymentSchedule]) -> None:
        """Change in place what is there, so that one which a person switched off stays off."""
        wanted = {each.slug or "": each for each in self._schedules()}
        for slug, each in found.items():
            if slug not in wanted:
                self._client.delete_deployment_schedule(deployment, each.id)
            elif _when(each.schedule) != _when(wanted[slug].schedule):
                self._client.update_deployment_schedule(deployment, each.id, schedule=wanted[slug].schedule)
        missing = [each for slug, each in wanted.items() if slug not in found]
        if missing:
            self._client.create_deployment_schedules(deployment, missing)

    def _schedules(self) -> list[DeploymentScheduleCreate]:
        return [
            DeploymentScheduleCreate(schedule=_cron(each), active=True, slug=each["slug"])
            for each in self._entry.get("schedules", [])
        ]

    def _schema(self) -> dict[str, Any]:
        return dict(parameter_schema(self._flow).model_dump_for_openapi())


def _cron(declared: Mapping[str, str]) -> CronSchedule:
    return CronSchedule(cron=declared["cron"], timezone=declared["timezone"])


def _declared(schedules: Sequence[DeploymentSchedule]) -> dict[str, DeploymentSchedule]:
    """Those of `prefect.yaml`, by slug. One without such a slug is a person's, or a check's: never ours to mend."""
    return {each.slug: each for each in schedules if each.slug and each.slug.startswith(DECLARED_SLUG)}


def _when(schedule: Any) -> str:
    """What a schedule says, for comparison: its cron line and time zone, or what else somebody made of it."""
    return f"{schedule.cron} {schedule.timezone}" if isinstance(schedule, CronSchedule) else repr(schedule)


class UnneededProbes(Resource):
    """Our probe deployments of pools which have no worker any more are removed; the pools themselves are the user's.

    Args:
        pools: Pools that have a worker.
    """

    name = "probes of pools with a worker alone"

    def __init__(self, pools: Sequence[str], client: SyncPrefectClient) -> None:
        self._pools, self._client = pools, client

    def find(self) -> Attributes:
        return {"unneeded": sorted(self._found())}

    def want(self) -> Attributes:
        return {"unneeded": []}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self.delete()

    def delete(self) -> None:
        for deployment in self._found().values():
            self._client.delete_deployment(deployment)

    def _found(self) -> dict[str, UUID]:
        ours = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
        probes = FlowFilter(name=FlowFilterName(any_=["probe"]))
        found = self._client.read_deployments(flow_filter=probes, deployment_filter=ours)
        return {f"probe/{each.name}": each.id for each in found if each.name not in self._pools}


class PoolsLeftPaused(Resource):
    """Pools which a change of workers paused, and was killed: resumed, also where no worker serves them any more.

    Whoever visits this holds the lease, so that no such change is under way.
    """

    name = "pools left paused by a change"

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client

    def find(self) -> Attributes:
        return {"pools": marked(self._client)}

    def want(self) -> Attributes:
        return {"pools": []}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self.delete()

    def delete(self) -> None:
        resume(self._client, marked(self._client))
