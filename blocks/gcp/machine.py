"""A machine at Compute Engine, which is asked through the stack's bucket: nobody logs in to it.

Its host agent looks into the bucket every few seconds, carries out what is asked there, and reports how the host is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from blocks.agent.inbox import BOOT, LOGS, STATUS, TAKE_SECONDS
from blocks.agent.mark import Bucket
from blocks.agent.spec import HostStatus
from blocks.errors import NotReady, SelfhostError
from blocks.gcp.account import ProjectRoles, ServiceAccount
from blocks.gcp.google import Google
from blocks.gcp.instance import Instance
from blocks.gcp.network import Network
from blocks.gcp.startup import HostPrograms, digests, script
from blocks.gcp_spec import Gcp
from blocks.host.host import Host
from blocks.host.verbs import NEED_LEASE
from blocks.ledger import Ledger
from blocks.machine import Machine
from blocks.object_store import ObjectStore
from blocks.requests import Request, Requests
from blocks.resource import Resource
from blocks.waiting import wait_until

ROLES = ("roles/logging.logWriter", "roles/monitoring.metricWriter")
"""Of the host's account in the project: what Google's own agents on the machine write. All else it may is given to it
for the one bucket and each secret."""
BOOT_SECONDS = 900.0
"""Time a machine gets from its start to the first report of its host agent: two minutes as a rule, ten more where its
account's rights are not known yet."""
SILENT_SECONDS = 180.0
"""Age of the host's last report from which on it is not there: an idle host reports once a minute."""
EVERY = 2.0
"""Seconds between two looks for an answer."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GcpMachine(Machine):
    """The stack's machine at Compute Engine, from outside and on it."""

    google: Google
    stack: str
    gcp: Gcp
    """The spec's section."""
    bucket: Bucket
    objects: ObjectStore
    """What is in that bucket."""
    there: Machine
    """The machine as its own host has it."""
    is_host: bool = False
    """Whether this is that host."""
    every: float = EVERY

    def outside(self) -> list[Resource]:
        roles = ProjectRoles(self.google, self.account, ROLES)
        return [self.account, roles, *self.network.resources(), HostPrograms(self.objects), self.instance]

    def on_host(self) -> list[Resource]:
        return self.there.on_host()

    def host(self) -> Host:
        return self.there.host()

    def users(self) -> Mapping[str, str]:
        return self.there.users()

    @cached_property
    def account(self) -> ServiceAccount:
        """The account which the machine runs as."""
        return ServiceAccount(self.google, self.stack, "host")

    @cached_property
    def network(self) -> Network:
        return Network(self.google, self.stack, self.gcp.region, self.account.email, self.gcp.network)

    @cached_property
    def instance(self) -> Instance:
        needs = ["address of the host", f"roles: {self.account.name}", HostPrograms.name]
        return Instance(
            self.google,
            self.stack,
            self.gcp.of_zone,
            self.network.subnetwork("host"),
            self.gcp.network.host_address,
            self.account.email,
            self._script,
            self.gcp.host,
            tuple(needs + ["router with NAT"] * self.gcp.network.nat),
        )

    def _script(self) -> str:
        """The text it starts with. Before the stack has an identity, none can be in it: a plan shows it without."""
        home = PurePosixPath(self.there.host().home.root)
        return script(self.stack, Ledger(self.objects).id, home, self.bucket, digests())

    def run(self, verb: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        """As the port says. From elsewhere it waits for a machine that boots, and logs how far that is, then what the
        host logs. Whoever was killed asks again: what is still asked for in the same words is waited for."""
        if self.is_host:
            return self.there.run(verb, arguments)
        self._require_running()
        self._wait_for_host()
        ledger, requests = Ledger(self.objects), Requests(self.objects)
        number = ledger.require_lease() if verb in NEED_LEASE else 0
        return self._answer(requests, requests.ask(verb, arguments, number, ledger.id))

    def observe(self) -> HostStatus | None:
        return self.there.observe() if self.is_host else Requests(self.objects).status()

    def log(self, service: str, lines: int) -> list[str]:
        """As the port says; of a machine whose host never reported, what it wrote to its serial port."""
        if not self.is_host and self.observe() is None:
            return self.instance.serial_output(lines)
        return super().log(service, lines)

    def start(self) -> None:
        self.there.start() if self.is_host else self.instance.start()

    def stop(self) -> None:
        self.there.stop() if self.is_host else self.instance.stop()

    def _require_running(self) -> None:
        where, is_running = f"{self.stack}-host in {self.gcp.of_zone}", self.instance.is_running()
        if is_running is None:
            raise NotReady(f"there is no machine {where} yet", "selfhost bootstrap makes it")
        if not is_running:
            raise NotReady(f"the machine {where} is stopped", "selfhost start")

    def _wait_for_host(self) -> None:
        told = [""]

        def is_heard() -> bool:
            if self._is_heard():
                return True
            stage = self._stage()
            if stage != told[-1]:
                logger.info("waiting for the host agent of the machine: %s", stage)
                told.append(stage)
            raise NotReady(stage)

        what, hint = "a report of the machine's host agent", f"selfhost logs agent; {self.instance.console()}"
        wait_until(is_heard, what, timeout=BOOT_SECONDS, every=self.every, hint=hint)

    def _is_heard(self) -> bool:
        """Whether its host has reported lately."""
        found = self.objects.read(STATUS)
        return found is not None and found.age <= SILENT_SECONDS

    def _stage(self) -> str:
        """How far its start has come, as it has said lately; else the last line on its serial port."""
        found = [self.objects.read(each) for each in self.objects.listing(BOOT)]
        recent = [each for each in found if each and each.age <= BOOT_SECONDS]
        if recent:
            return _said(min(recent, key=lambda each: each.age).content)
        return "".join(self.instance.serial_output(1)) or "it has said nothing yet"

    def _answer(self, requests: Requests, request: Request) -> Mapping[str, Any]:
        """The answer to a request, or what kept the host from one, as soon as there is either."""
        told: set[str] = set()

        def outcome() -> Outcome | None:
            self._tell(request, told)
            try:  # what is raised is the host's own answer, and no "not yet"
                answer = requests.answer_to(request) if self._is_heard() else requests.give_up(request)
            except SelfhostError as error:
                return Outcome(error=error)
            return None if answer is None else Outcome(answer)

        try:
            what, seconds = f"{request.verb} on the host", TAKE_SECONDS + request.seconds
            found = wait_until(outcome, what, timeout=seconds, every=self.every) or Outcome()
        except NotReady:
            return requests.give_up(request)
        self._tell(request, told)
        if found.error:
            raise found.error
        return found.answer

    def _tell(self, request: Request, told: set[str]) -> None:
        """Log what the host has logged since the last look, while it carries a request out."""
        for key in self.objects.listing(f"{LOGS}{request.id}/"):
            piece = None if key in told else self.objects.read(key)
            for line in piece.content.decode(errors="replace").splitlines() if piece else ():
                logger.info("host: %s", line)
            told.add(key)


@dataclass(frozen=True)
class Outcome:
    """What came of a request: one of both."""

    answer: Mapping[str, Any] = field(default_factory=dict)
    error: SelfhostError | None = None


def _said(content: bytes) -> str:
    """A stage of a start, as a person reads it."""
    try:
        data = json.loads(content)
        return ": ".join(str(each) for each in (data["stage"], data.get("said")) if each)
    except (ValueError, TypeError, KeyError, AttributeError):
        return content.decode(errors="replace")[:200]
