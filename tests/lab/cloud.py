"""A lab: the emulator with real parts behind it, and networks, names and certificates that make them Google's.

Everything of it has the lab's name in it, or a label, so that a crashed one is taken away by the next of that name.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from tests.emulator.backing import Backing
from tests.emulator.clock import RealClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import listen, running
from tests.lab import disks, sql
from tests.lab.authority import LabAuthority
from tests.lab.build import Builds
from tests.lab.daemon import end_left
from tests.lab.edge import Edge
from tests.lab.engine import PREFIX, docker
from tests.lab.firewall import Place
from tests.lab.instances import Instances
from tests.lab.jobs import Executions
from tests.lab.names import Names
from tests.lab.network import Network, bridge, take_away, uplink
from tests.lab.registry import Repositories, disown
from tests.lab.run import Revisions
from tests.lab.sql import SqlServers
from tests.lab.topology import topology

FOLDERS = Path("/run/selfhost-lab")
LABEL = "selfhost-lab"
ADDRESSES = ipaddress.IPv4Network("198.18.0.0/16")
"""A /24 of these is a lab's. Source: RFC 2544, addresses for benchmarks, which are nobody's."""
METADATA_PORT = 8080


class Lab:
    """What the parts of a lab are given.

    Attributes:
        name: Five letters at most.
        folder: Its own, for root alone.
        cloud: The emulator.
        address: URL of the emulator for programs of this machine.
        exits: What is to be undone at the end, the last first.
    """

    cloud: Cloud
    address: str
    network: Network
    names: Names
    edge: Edge

    def __init__(self, name: str, exits: ExitStack) -> None:
        assert name.isalpha() and len(name) <= 5, f"a lab's name has 1 to 5 letters: {name!r}"
        self.name, self.exits = name, exits
        self.folder = FOLDERS / name
        self.labels = ["--label", f"{LABEL}={name}"]
        self.addresses = _addresses(name)
        self._free = self.addresses.hosts()
        self.folder.mkdir(mode=0o700, parents=True)
        self.authority = LabAuthority(self.folder)

    def mine(self, what: str) -> str:
        """A name for something of the lab's."""
        return f"{PREFIX}{self.name}-{what}"

    @property
    def instances(self) -> Instances:
        """The machines: `lab.instances.run(instance, "hostname")` runs a command in one."""
        part = self.cloud.backings.parts["compute.instances"]
        assert isinstance(part, Instances)
        return part

    def new_address(self) -> str:
        """An address of this machine for a server of the lab, TCP 80 and 443, where machines look for Google's."""
        address = str(next(self._free))
        subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"], check=True)
        return address


class Running(Exception):
    """A lab of this name runs already."""


PARTS: dict[str, Callable[[Lab], Backing]] = {
    "compute.instances": Instances,
    "sql.instances": SqlServers,
    "artifactregistry.repositories": Repositories,
    "run.revisions": Revisions,
    "run.executions": Executions,
    "cloudbuild.builds": Builds,
}
"""What stands behind the emulator's resources, by the names of backing.BACKED; made before the emulator answers."""
SWEEPS: list[Callable[[str], None]] = [sql.sweep, disown]
"""What takes away the rest of a lab by its name: what has no label, and no process that is written down."""


@contextmanager
def running_lab(name: str) -> Iterator[Lab]:
    """A lab; the rest of one of the same name that crashed goes first.

    Raises:
        Running: one of this name runs.
    """
    with alone(name), ExitStack() as exits:
        sweep(name)
        exits.callback(sweep, name)
        lab = Lab(name, exits)
        front = lab.new_address()
        lab.network = _network(lab, front)
        lab.network.open()
        lab.cloud = Cloud(RealClock(), parts={key: make(lab) for key, make in PARTS.items()})
        lab.cloud.operations.follow = lab.network.follow
        lab.address = exits.enter_context(running(lab.cloud, listen(METADATA_PORT, front)))
        exits.callback(lab.cloud.close)  # before the emulator ends, which machines wait on for news
        lab.names = Names(lab.folder, front, front)
        lab.edge = Edge(lab.folder, front, lab.authority, lab.address, lab.cloud.sqladmin_grpc)
        for each in (lab.names, lab.edge):
            exits.callback(each.stop)
            each.start()
        yield lab


@contextmanager
def alone(name: str) -> Iterator[None]:
    """Nobody else has a lab of this name meanwhile.

    Raises:
        Running: somebody has.
    """
    FOLDERS.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (FOLDERS / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Running(
                f"a lab called {name} runs on this machine (`python -m tests.lab down` ends that of `up`)"
            ) from None
        yield


def _network(lab: Lab, front: str) -> Network:
    bridges = f"l{lab.name}-"
    place = Place(
        prefix=_chains(lab.name),
        bridges=bridges,
        bridge=partial(bridge, bridges),
        google=str(lab.addresses),
        metadata=f"{front}:{METADATA_PORT}",
        resolver=front,
        uplink=uplink(),
    )
    return Network(lab.name, lab.labels, lambda: topology(lab.cloud.world), place)


def sweep(name: str) -> None:
    """Take away all that is left of a lab."""
    end_left(FOLDERS / name)
    for each in SWEEPS:
        each(name)
    told = f"label={LABEL}={name}"
    forced = {"container": ["--force", "--volumes"], "network": [], "volume": [], "image": ["--force"]}
    for kind, options in forced.items():
        every = ["--all"] if kind == "container" else []
        if found := docker(kind, "ls", *every, "--quiet", "--filter", told).split():
            docker(kind, "rm", *options, *dict.fromkeys(found))  # an image of two names is listed twice
    disks.detach(FOLDERS / name)
    take_away(_chains(name))
    for address in _left_on_loopback(name):
        subprocess.run(["ip", "address", "del", address, "dev", "lo"], check=True)
    shutil.rmtree(FOLDERS / name, ignore_errors=True)


def _chains(name: str) -> str:
    return f"LAB-{name}-"


def _addresses(name: str) -> ipaddress.IPv4Network:
    number = 1 + hashlib.sha256(name.encode()).digest()[0] % 254
    return next(islice(ADDRESSES.subnets(new_prefix=24), number, None))


def _left_on_loopback(name: str) -> list[str]:
    words = subprocess.run(["ip", "-o", "-4", "address", "show", "dev", "lo"], stdout=-1, text=True, check=True).stdout
    found = [ipaddress.IPv4Interface(line.split()[3]) for line in words.splitlines()]
    return [str(each) for each in found if each.ip in _addresses(name)]
