"""Instances as containers: Debian's own guest agent runs in them what the emulated metadata server says.

A container has its systemd, its address in the subnetwork's Docker network, the memory of its machine type, and a disk
of its boot disk's size.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

from blocks.host.reach import REACH
from tests.emulator.errors import ApiError
from tests.emulator.services.compute import serial
from tests.emulator.services.compute.machine_types import machine_types
from tests.emulator.world import relative
from tests.lab import guest, image
from tests.lab.authority import CERTIFICATES, believing
from tests.lab.disks import Disk
from tests.lab.engine import docker, packed
from tests.lab.firewall import METADATA
from tests.lab.machine import RIGHTS

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

Body = dict[str, Any]
POWERED_OFF = 128 + signal.SIGINT
"""Exit status of a container whose machine turned itself off; at a reboot it is ended by SIGHUP."""
STOPS = 90
"""Seconds that a machine gets to shut down. Source:
https://cloud.google.com/compute/docs/instances/stop-start-instance"""


class Instances:
    """The part behind `compute.instances`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._up: set[str] = set()
        """Containers that are to be up."""

    def start(self, name: str, body: Body) -> None:
        """Power it on; made first where it is not there yet."""
        container = self.container(name)
        self.lab.network.follow()
        boot = self._boot_disk(body)
        if not docker("container", "ls", "--all", "--quiet", "--filter", f"name=^{container}$").strip():
            self._check_image(boot)
            self._disk(container).make(self.lab.labels, int(boot["sizeGb"]))
            self._create(container, body)
        self._disk(container).grow(int(boot["sizeGb"]))
        docker("update", *_memory(body), container)
        self._power_on(name, container)

    def _boot_disk(self, body: Body) -> Body:
        source = next(each["source"] for each in body["disks"] if each["boot"])
        return self.lab.cloud.world.records[f"compute/{relative(source)}"].body

    def _disk(self, container: str) -> Disk:
        return Disk(self.lab.folder, container)

    def _power_on(self, name: str, container: str) -> None:
        began = time.time()
        docker("start", container)
        self._up.add(container)
        threading.Thread(target=self._attend, args=(name, container, began), daemon=True).start()

    def _check_image(self, boot: Body) -> None:
        made_of = boot.get("sourceImage", "no image")
        if "/debian-12-" not in made_of:
            raise ApiError(501, f"lab: a machine of {made_of}: there is Debian 12 alone")

    def _create(self, container: str, body: Body) -> None:
        interface = body["networkInterfaces"][0]
        network = ("--network", self.lab.network.of(interface["subnetwork"]), "--ip", interface["networkIP"])
        names = ("--name", container, "--hostname", body["name"], "--dns", METADATA, "--env", "SYSTEMD_COLORS=0")
        console = ("--tty", "--env", "container=docker", "--env", "TERM=dumb", "--log-opt", "max-size=10m")
        disk = self._disk(container).option
        command = (*disk, *RIGHTS, "--tmpfs", "/run", "--stop-signal=SIGRTMIN+3", guest.ensure(), *image.BOOT)
        docker("create", *self.lab.labels, *names, *network, *console, *_memory(body), *command)
        docker("cp", "-", f"{container}:/", stdin=_added(self.lab.authority.bundle.read_bytes()))

    def _attend(self, name: str, container: str, began: float) -> None:
        """Write what it says into its serial port until it goes down; where nobody asked for that, it is a restart.

        A machine that turns itself off stays off. Source:
        https://cloud.google.com/compute/docs/instances/instance-lifecycle; reboot(2) for the signals in a container.
        """
        command = ["docker", "logs", "--follow", f"--since={began:.6f}", container]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as logs:
            assert logs.stdout is not None
            for line in logs.stdout:
                if (record := self.lab.cloud.world.find(name)) is not None:
                    serial.write(record, line.decode(errors="replace"))
        record = self.lab.cloud.world.find(name)
        if container not in self._up or record is None:
            return
        self._up.discard(container)
        if int(docker("wait", container)) == POWERED_OFF:
            record.body["status"] = "TERMINATED"
        else:
            self._power_on(name, container)

    def change(self, name: str, body: Body) -> None:
        """What may change while it is up, it is told by its metadata server, and the networks by the world."""

    def stop(self, name: str, body: Body) -> None:
        """Shut it down; at a reset, before which it is still RUNNING, cut its power."""
        container = self.container(name)
        self._up.discard(container)
        if body["status"] == "RUNNING":
            docker("kill", container)
        else:
            docker("stop", f"--time={STOPS}", container, timeout=STOPS + 30)

    def remove(self, name: str) -> None:
        self._up.discard(self.container(name))
        docker("rm", "--force", "--volumes", self.container(name))
        self._disk(self.container(name)).remove()

    def container(self, name: str) -> str:
        """Name of an instance's container, by the instance's link or name."""
        _, project, _, _, _, instance = relative(name).split("/")
        return self.lab.mine(f"vm-{project}-{instance}")

    def run(self, name: str, *argv: str, timeout: float = 60.0, stdin: bytes = b"") -> str:
        """Run a command as root in a machine that is up; returns what it prints."""
        return docker("exec", "--interactive", self.container(name), *argv, timeout=timeout, stdin=stdin)


def _memory(body: Body) -> list[str]:
    """That of the machine type, none of it on a disk."""
    wanted = body["machineType"].rpartition("/")[2]
    megabytes = next(each["memoryMb"] for each in machine_types() if each["name"] == wanted)
    return [f"--memory={megabytes}m", f"--memory-swap={megabytes}m"]


def _added(bundle: bytes) -> bytes:
    """What an instance has beside its image: whom it believes, and how packages are reached, as this machine does."""
    told = {key: value for key, value in os.environ.items() if REACH.match(key)} | believing()
    environment = " ".join(f'"{key}={value}"' for key, value in told.items())
    files = {
        str(CERTIFICATES): bundle,
        "/etc/systemd/system.conf.d/lab.conf": f"[Manager]\nDefaultEnvironment={environment}\nShowStatus=no\n".encode(),
        "/etc/systemd/journald.conf.d/lab.conf": b"[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\n",
    }
    return packed(files)
