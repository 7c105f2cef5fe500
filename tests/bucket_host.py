"""A host elsewhere, as a process of this machine: it carries out what is asked in a bucket of the emulated Google.

It stands for a VM with its host agent. Run as a program it is that host.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from google.oauth2.credentials import Credentials

from blocks.agent.mark import Bucket
from blocks.errors import SelfhostError
from blocks.gcp.google import Google
from blocks.gcp.machine import GcpMachine
from blocks.gcp.object_store import GcsObjectStore
from blocks.gcp_spec import Gcp
from blocks.host import verbs
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.ledger import Ledger
from blocks.local.machine import LocalMachine
from blocks.requests import Request, Requests
from blocks.resource import converge
from tests import google
from tests.emulator.cloud import OWNER

LOOK_EVERY = 0.05


@dataclass(frozen=True)
class OnEmulator(GcpMachine):
    """The adapter whose machine is power for this process's host."""

    power: Power = field(kw_only=True)

    def start(self) -> None:
        super().start()
        self.power.on()

    def stop(self) -> None:
        super().stop()
        self.power.off()


class Power:
    """What the machine's power does to its host: the agent with its services, and who carries requests out."""

    def __init__(self, home: Path, store: GcsObjectStore, project: google.Project) -> None:
        self._home, self._store, self._project = home, store, project
        self._process: subprocess.Popen[bytes] | None = None

    def on(self) -> None:
        if self._process is None:
            Host(Home(self._home)).start()
            token = self._project.cloud.access.mint(OWNER)
            told = [str(self._home), self._project.id, self._store.bucket, self._project.address, token]
            self._process = subprocess.Popen([sys.executable, "-P", "-m", "tests.bucket_host", *told])

    def off(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            Host(Home(self._home)).stop()


def machine(there: LocalMachine) -> OnEmulator:
    """A machine in a project of its own, with its bucket, whose host is another process; nothing is made yet."""
    project = google.project()
    seen, bucket = project.seen_by(), Bucket(f"{project.id}-objects", project.id, google.REGION)
    store = GcsObjectStore(seen, there.stack, bucket.name, bucket.region)
    converge(store.outside())
    gcp, power = Gcp(project=project.id, region=google.REGION), Power(there.root, store, project)
    return OnEmulator(seen, there.stack, gcp, bucket, store, there, every=LOOK_EVERY, power=power)


def main(home: Path, store: GcsObjectStore) -> None:
    """Be the host, for ever."""
    requests, ledger = Requests(store), Ledger(store)
    while True:
        request = requests.take(ledger.id)
        if request is not None:
            requests.answer(request, _outcome(home, request))
        seen = Host(Home(home)).observe()
        if seen is not None:
            requests.write_status(seen)
        time.sleep(LOOK_EVERY)


def _outcome(home: Path, request: Request) -> verbs.Answer | SelfhostError:
    try:
        return verbs.carry_out(home, request.verb, request.arguments)
    except SelfhostError as error:
        return error


if __name__ == "__main__":
    _home, _project, _bucket, _address, _token = sys.argv[1:]
    _google = Google(_project, Credentials(_token), _address)  # type: ignore[no-untyped-call]
    main(Path(_home), GcsObjectStore(_google, "trial", _bucket, google.REGION))
