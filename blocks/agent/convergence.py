"""Makes the host match its spec, one short step after the other; nothing here waits.

Order: secrets → files → releases → services → jobs, but each thing only waits for what it needs itself. What fails is
tried again with a backoff and stops nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import releases, secret_value
from .arrivals import Arrivals
from .checks import Checks
from .config import AgentConfig, Layout
from .definitions import Wanted, wanted_services
from .installation import Install, Installation
from .jobs import Jobs
from .releases import Tools
from .rendering import Rendered
from .reporting import Findings
from .secret_value import UnusableSecret
from .secrets import Secrets
from .service_manager import ServiceManager
from .spec import HostSpec, Job, Service
from .supervision import Supervision

if TYPE_CHECKING:
    from .google.cloud import Cloud


class Convergence:
    """One spec at a time, converged by repeated `step()`s from one thread."""

    def __init__(
        self,
        config: AgentConfig,
        layout: Layout,
        service_manager: ServiceManager,
        jobs: Jobs,
        wake: Callable[[], None],
        cloud: Cloud | None = None,
    ) -> None:
        """`wake` is called from other threads when there is something to take in; `cloud` is a VM's at Google."""
        folder = Path(config.secrets)
        self._secrets_folder = config.secrets
        self._arrivals = Arrivals(wake)
        self._secrets = cloud and Secrets(folder, cloud.secrets.read, self._arrivals, self.render_files)
        self._guard = cloud and cloud.guard
        self._rendered = Rendered(folder)
        store, tools = Path(config.store), Tools.of_agent(layout.uv)
        install: Install = cloud.artifacts.install if cloud else partial(releases.install, store=store, tools=tools)
        self._releases = Installation(layout.releases, install, self._arrivals)
        self._checks = Checks(self._arrivals)
        self._manager = service_manager
        self._services = Supervision(service_manager, self._checks, self._obstacle)
        self._jobs = jobs
        self._spec: HostSpec | None = None

    def take(self, spec: HostSpec) -> None:
        """Converge to this spec from now on."""
        self._spec = spec
        if self._secrets:
            self._secrets.take(spec)
        self._releases.take(spec.releases)
        self._services.take()
        self.render_files()

    def render_files(self) -> None:
        """Render all files, and see which services want something else because of it."""
        if self._spec is not None:
            self._rendered.render(self._spec)
            self._services.wanted = wanted_services(self._spec, self._rendered.contents)

    def step(self) -> None:
        """Do all that can be done now."""
        if self._spec is None:
            return
        self._arrivals.take_in()
        now = time.monotonic()
        if self._secrets:
            self._secrets.step(now, self._secrets_in_use())
        if self._rendered.is_due(now):
            self.render_files()
        self._releases.step(now)
        self._services.step(self._spec, now)
        self._converge_jobs(self._spec)

    def is_quiet(self) -> bool:
        """Whether a step would find nothing new, at a cheap look: all processes are there, no check is due."""
        is_any_due = self._checks.is_any_due(time.monotonic())
        return self._arrivals.is_empty() and self._services.is_quiet() and not is_any_due

    def findings(self) -> Findings:
        """What there is to report."""
        spec = self._spec
        return Findings(
            spec=spec,
            installed=tuple(sorted(self._releases.installed)),
            release_faults=self._releases.faults(),
            secret_faults=self._secrets.faults() if self._secrets else (),
            file_faults=tuple(self._rendered.faults.values()),
            manager_fault=self._services.fault,
            watches=self._checks.watches,
            processes=self._services.processes,
            decisions=self._services.decisions,
            jobs=tuple(self._jobs.status(each) for each in spec.jobs) if spec else (),
        )

    def _converge_jobs(self, spec: HostSpec) -> None:
        lacks_secret = bool(self._secrets and self._secrets.faults())  # it may stand in a file that a job reads
        for job in spec.jobs:
            self._jobs.collect(job)
            if self._jobs.status(job) is None and not lacks_secret and not self._unmet(job):
                self._jobs.start(job)

    def _secrets_in_use(self) -> Iterator[str]:
        """Those of services as they were last started: one that ends before it can be changed starts again so."""
        for definition in self._manager.known().values():
            yield from (Path(each).name for each in definition.get("secrets", {}).values())

    def _obstacle(self, wanted: Wanted) -> str:
        """Why a service cannot be started as it is wanted now; empty where it can."""
        service = wanted.service
        faults = [self._rendered.faults[path] for path in service.files if path in self._rendered.faults]
        return next(iter(faults), "") or self._unusable_secret(service) or self._unmet(service)

    def _unusable_secret(self, service: Service) -> str:
        try:
            for secret in service.secrets.values():
                secret_value.read(f"{self._secrets_folder}/{secret}")
        except UnusableSecret as error:
            return (self._secrets and self._secrets.fault(secret)) or str(error)
        return ""

    def _unmet(self, program: Service | Job) -> str:
        """What a service or job still waits for, or what forbids its start."""
        if self._guard and program.user and (fault := self._guard.fault(program.user)):
            return fault
        missing = self._releases.missing(program.argv)
        if missing:
            return f"waits for release {missing}"
        return next((f"waits for {name}" for name in program.after if not self._services.is_ready(name)), "")
