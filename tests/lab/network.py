"""VPCs on this machine: a Docker network for each subnetwork, and one set of iptables' chains for all of them.

They follow the emulated world: after each operation they are made what it says (`Network.follow`). Ranges may not
overlap, not even in different VPCs: there is one table of routes on this machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.emulator.world import relative
from tests.lab.engine import PREFIX, docker
from tests.lab.firewall import Place, chains
from tests.lab.topology import Subnet, Topology

BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
"""Whether packets between machines on one bridge pass iptables."""


class Network:
    """The networks of one lab, by its name."""

    def __init__(self, name: str, labels: Sequence[str], world: Callable[[], Topology], place: Place) -> None:
        """`labels` are options for all that Docker makes, `world` tells what there is to be."""
        self.name, self.labels, self.world, self.place = name, labels, world, place
        self._lock = threading.Lock()
        self._made: dict[str, str] = {}
        """Ranges of the subnetworks that have a Docker network."""
        self._applied = ""

    def open(self) -> None:
        """Lay the chains, which hold nobody back who is not of the lab."""
        if not BRIDGED.exists():
            _run("modprobe", "br_netfilter")
        BRIDGED.write_text("1")
        self._apply(Topology())
        for table, chain, ours in self.place.hooks:
            _iptables("-t", table, "-I", chain, "-j", ours)

    def follow(self) -> None:
        """Make everything as the world says now; costs nothing where that has not changed."""
        with self._lock:
            there = self.world()
            wanted = {each.name: each for each in there.subnets}
            for name in self._made.keys() - wanted.keys():
                docker("network", "rm", self.of(name))
                del self._made[name]
            for name in wanted.keys() - self._made.keys():
                self._make(wanted[name])
                self._made[name] = wanted[name].range
            self._apply(there)

    def of(self, subnetwork: str) -> str:
        """Name of the Docker network that is a subnetwork, given by its link or its name."""
        return f"{PREFIX}{self.name}-{_mark(relative(subnetwork))}"

    def _make(self, subnet: Subnet) -> None:
        """Those who ask for no address of their own get one of the upper half."""
        primary = ipaddress.IPv4Network(subnet.range)
        upper = list(primary.subnets())[1]
        ranges = ("--subnet", subnet.range, "--gateway", str(primary[1]), "--ip-range", str(upper))
        options = {"name": self.place.bridge(subnet.name), "enable_ip_masquerade": "false"}
        told = [word for key, value in options.items() for word in ("-o", f"com.docker.network.bridge.{key}={value}")]
        docker("network", "create", *self.labels, *ranges, *told, self.of(subnet.name))

    def _apply(self, there: Topology) -> None:
        text = chains(self.place, there)
        if text != self._applied:
            _run("iptables-restore", "--wait", "--noflush", stdin=text)
            self._applied = text


def bridge(bridges: str, subnetwork: str) -> str:
    """The interface of a subnetwork: 15 characters at most."""
    return bridges + _mark(subnetwork)


def _mark(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def uplink() -> str:
    """The interface by which this machine reaches the world; "lo" where it does not."""
    words = _run("ip", "-o", "route", "show", "default").split()
    return words[words.index("dev") + 1] if "dev" in words else "lo"


def take_away(prefix: str) -> None:
    """Remove all chains whose names begin so, and the jumps to them."""
    for table in ("filter", "nat"):
        rules = _iptables("-t", table, "-S").splitlines()
        for rule in rules:
            words = rule.split()
            if words[0] == "-A" and words[-1].startswith(prefix) and not words[1].startswith(prefix):
                _iptables("-t", table, "-D", *words[1:])
        ours = [words[1] for rule in rules if (words := rule.split())[0] == "-N" and words[1].startswith(prefix)]
        for verb in ("-F", "-X"):
            for chain in ours:
                _iptables("-t", table, verb, chain)


def _iptables(*arguments: str) -> str:
    return _run("iptables", "--wait", *arguments)


def _run(*argv: str, stdin: str | None = None) -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}\n{stdin or ''}"
    return done.stdout
