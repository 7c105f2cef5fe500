"""What every stack watches for on its own server, as Prefect automations: failed and late maintenance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import DoNothing, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from blocks.resource import Attributes, Change, Resource
from blocks.spec import MAINTENANCE_POOL, Alerts

MARK = "Kept by prefect-selfhost"
AutomationMaker = Callable[[SyncPrefectClient], AutomationCore]
"""Makes an automation; the client looks up what it refers to."""


class Automation(Resource):
    """An automation; a digest of it in the description tells whether it is the wanted one."""

    def __init__(
        self, name: str, make: Callable[[SyncPrefectClient], AutomationCore], client: SyncPrefectClient
    ) -> None:
        self.name = f"automation {name}"
        self._name, self._make, self._client = name, make, client

    def find(self) -> Attributes | None:
        found = self._found()
        return {"digest": found.description.rpartition(" ")[2]} if found else None

    def want(self) -> Attributes:
        return {"digest": self._wanted().description.rpartition(" ")[2]}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        found = self._found()
        wanted = self._wanted()
        if found is None:
            self._client.create_automation(wanted)
        else:
            self._client.update_automation(found.id, wanted.model_copy(update={"enabled": found.enabled}))

    def delete(self) -> None:
        found = self._found()
        if found:
            self._client.delete_automation(found.id)

    def _found(self) -> Any:
        named = self._client.read_automations_by_name(self._name)
        return next((each for each in named if each.description.startswith(MARK)), None)

    def _wanted(self) -> AutomationCore:
        automation = self._make(self._client)
        sign = digest(_sorted(automation.model_dump()))
        return automation.model_copy(update={"description": f"{MARK}: {automation.description} {sign}"})


class UnneededAutomations(Resource):
    """Automations with our mark which are no longer wanted, as those of an earlier release, are removed.

    Args:
        names: The wanted ones.
    """

    name = "automations of ours that are wanted alone"

    def __init__(self, names: Collection[str], client: SyncPrefectClient) -> None:
        self._names, self._client = names, client

    def find(self) -> Attributes:
        return {"unneeded": sorted(each.name for each in self._found())}

    def want(self) -> Attributes:
        return {"unneeded": []}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self.delete()

    def delete(self) -> None:
        for each in self._found():
            self._client.delete_automation(each.id)

    def _found(self) -> list[Any]:
        ours = [each for each in self._client.read_automations() if each.description.startswith(MARK)]
        return [each for each in ours if each.name not in self._names]


def automations(alerts: Alerts) -> dict[str, AutomationMaker]:
    """The automations of every stack: name → how to make it."""

    def notification(client: SyncPrefectClient) -> list[Any]:
        return [_notification(alerts.notification_block, client)]

    return {
        "Maintenance run failed": lambda client: _failed(notification(client)),
        "Maintenance run late": lambda client: _late(notification(client), alerts.late_after_minutes),
    }


def _failed(actions: list[Any]) -> AutomationCore:
    return AutomationCore(
        name="Maintenance run failed",
        description="a flow on the maintenance pool failed or crashed.",
        trigger=EventTrigger(
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_on_maintenance_pool(),
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=actions,
    )


def _late(actions: list[Any], minutes: int) -> AutomationCore:
    return AutomationCore(
        name="Maintenance run late",
        description="a scheduled flow on the maintenance pool did not start in time.",
        trigger=EventTrigger(
            after={"prefect.flow-run.Late"},
            expect={"prefect.flow-run.Running", "prefect.flow-run.Pending", "prefect.flow-run.Cancelled"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            match_related=_on_maintenance_pool(),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(minutes=minutes),
        ),
        actions=actions,
    )


def _on_maintenance_pool() -> Any:
    return {"prefect.resource.name": MAINTENANCE_POOL, "prefect.resource.role": "work-pool"}


def _notification(reference: str | None, client: SyncPrefectClient) -> Any:
    """The action that tells a person; none is named, or it is not there yet: the event is only recorded."""
    document = _document_id(reference, client) if reference else None
    if document is None:
        return DoNothing()
    return SendNotification(
        block_document_id=document,
        subject="Prefect: {{ automation.name }}",
        body="Flow run {{ flow_run.name }} of {{ flow.name }}: {{ flow_run.state.name }}. {{ flow_run|ui_url }}",
    )


def _document_id(reference: str, client: SyncPrefectClient) -> UUID | None:
    kind, _, name = reference.partition("/")
    try:
        return client.read_block_document_by_name(name, kind, include_secrets=False).id
    except ObjectNotFound:
        return None


def digest(value: Any) -> str:
    """A short digest of anything JSON can hold, the same in every process."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _sorted(value: Any) -> Any:
    """The same value with its sets in order, so that equal values give equal text."""
    if isinstance(value, dict):
        return {key: _sorted(each) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(each) for each in value)
    return [_sorted(each) for each in value] if isinstance(value, list | tuple) else value
