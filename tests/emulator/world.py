"""What exists in the emulated Google Cloud: projects, resources, and what still holds on to them.

A resource is one record under its full name, for instance `compute/projects/p/global/networks/n`: the body as the API
returns it, and what the API never returns. References between resources are what their bodies say; each kind tells
where (`Kind.references`), so that one place answers who uses what.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.emulator.clock import Clock
from tests.emulator.settling import Settling

FIRST_NUMBER = 100_000_000_001
DEFAULT_SERVICES = ("storage.googleapis.com", "serviceusage.googleapis.com", "cloudapis.googleapis.com",
                    "logging.googleapis.com", "monitoring.googleapis.com",
                    "servicemanagement.googleapis.com", "storage-api.googleapis.com",
                    "storage-component.googleapis.com")  # fmt: skip
"""APIs a new project has, of those that matter here.

Source: https://cloud.google.com/service-usage/docs/enabled-service#default; cloudresourcemanager is not among them.
"""


@dataclass
class Project:
    """A project: its number, the APIs enabled in it, its IAM policy."""

    id: str
    number: int
    services: set[str] = field(default_factory=lambda: set(DEFAULT_SERVICES))
    labels: dict[str, str] = field(default_factory=dict)
    created: datetime | None = None
    answering: dict[str, datetime] = field(default_factory=dict)
    """From when a service that was enabled does answer; those that are not here do."""
    used: dict[str, datetime] = field(default_factory=dict)
    """When each service was last called for it."""
    agents: set[str] = field(default_factory=set)
    """Emails of Google's service agents that work for it."""
    billing: bool = True
    """Whether a billing account pays for it."""
    organization: str = ""
    """The domain of the organization it is in, with what that forbids (organization.py); "" for a person's own."""


@dataclass
class Record:
    """One resource: its full name, its body as returned, what is never returned, and its kind's collection."""

    name: str
    collection: str
    body: dict[str, Any]
    hidden: dict[str, Any] = field(default_factory=dict)
    busy: str = ""
    """`insert` or `delete` while that is under way, for kinds that refuse work meanwhile."""


@dataclass(frozen=True)
class Hold:
    """Something gone that Google releases late: `name` stays in use by `by` until `until`."""

    name: str
    by: str
    until: datetime


class World:
    """All of it. Handlers run one at a time, so nothing here locks."""

    def __init__(self, clock: Clock, settling: Settling) -> None:
        self.clock = clock
        self.settling = settling
        self.projects: dict[str, Project] = {}
        self.records: dict[str, Record] = {}
        self.before: dict[str, Record] = {}
        """As records were before the last write, where a fault wants to show that."""
        self.holds: list[Hold] = []
        self.limits: dict[tuple[str, str, str], float] = {}
        """Quotas other than Google's, by project, metric and region (quotas.py)."""
        self.recent: dict[str, list[tuple[datetime, float]]] = {}
        """When something was last done that must not be done too often, by the clock and by `time.monotonic`."""
        self._numbers = itertools.count(FIRST_NUMBER)

    def number(self) -> int:
        """A number nothing else has: ids of resources, operations, projects."""
        return next(self._numbers)

    def add_project(self, project_id: str) -> Project:
        project = Project(project_id, self.number(), created=self.clock.now())
        self.projects[project_id] = project
        return project

    def project(self, reference: str) -> Project | None:
        """A project by id, by number, or by either behind `projects/`."""
        reference = reference.removeprefix("projects/")
        found = self.projects.get(reference)
        if found or not reference.isdecimal():
            return found
        return next((each for each in self.projects.values() if each.number == int(reference)), None)

    def put(self, record: Record) -> Record:
        self.records[record.name] = record
        return record

    def find(self, name: str) -> Record | None:
        return self.records.get(name)

    def drop(self, name: str) -> None:
        self.records.pop(name, None)

    def all(self) -> list[Record]:
        """Every record, in a list of its own: tests make and drop some from a thread of their own."""
        return list(self.records.values())

    def under(self, prefix: str, collection: str = "") -> list[Record]:
        """Records whose name begins so, in the order of their names."""
        found = (each for each in self.all() if each.name.startswith(prefix))
        return sorted((each for each in found if collection in ("", each.collection)), key=lambda each: each.name)

    def of(self, collection: str) -> Iterator[Record]:
        return (each for each in self.all() if each.collection == collection)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """What is put and dropped within is undone where it ends in an error."""
        before = dict(self.records)
        try:
            yield
        except Exception:
            self.records.clear()
            self.records.update(before)
            raise

    def hold(self, name: str, by: str, until: datetime) -> None:
        """Keep `name` in use after its user is gone."""
        self.holds.append(Hold(name, by, until))

    def holders(self, name: str) -> list[str]:
        """Who still holds a name now, though it is gone itself."""
        now = self.clock.now()
        self.holds = [hold for hold in self.holds if hold.until > now]
        return [hold.by for hold in self.holds if hold.name == name]

    def reset(self) -> None:
        """Forget everything but how far numbers have got."""
        self.projects.clear()
        self.records.clear()
        self.before.clear()
        self.holds.clear()
        self.limits.clear()
        self.recent.clear()


def relative(link: str) -> str:
    """`projects/p/global/networks/n` of a link in any of the forms the APIs take.

    Source: https://cloud.google.com/apis/design/resource_names and "partial URL" in compute's reference.
    """
    path = re.sub(r"^(https?:)?//[^/]+/", "", link)
    found = re.search(r"(^|/)((projects|folders|organizations)/.+)$", path)
    return found[2] if found else path
