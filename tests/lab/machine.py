"""One machine of the lab: a container that boots systemd, with a checkout of this project and uv as all that is added.

It reaches packages as this machine does: by its variables, its certificates, and uv's cache, which is shared.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

from blocks.host.reach import REACH
from tests.lab import image
from tests.lab.authority import CERTIFICATES
from tests.lab.engine import PREFIX, docker

ROOT = Path(__file__).parents[2]
CHECKOUT = "/srv/selfhost"
"""Where a machine has the checkout that this is."""
BOOT_SECONDS = 60.0

RIGHTS = (
    *("--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--cgroupns=private"),
    *("--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"),
)
"""What systemd needs to be PID 1; `--privileged` asks for more than a container may get everywhere."""


class Failed(AssertionError):
    """A command in a machine ended with another status than 0."""


class Machine:
    """A machine by its name. Nothing happens by making one."""

    def __init__(self, name: str) -> None:
        self.name = PREFIX + name

    def create(self) -> None:
        """Make and boot it, in the place of one that was left."""
        self.boot()

    def boot(self, *options: str) -> None:
        """The same with further options of `docker run`."""
        self.remove()
        base = image.ensure()
        memory = ("--tmpfs", "/run", "--tmpfs", "/tmp:exec")
        names = ("--name", self.name, "--hostname", self.name, "--env", "container=docker")
        shared = ("--volume", f"{_uv_cache()}:/root/.cache/uv")
        docker(
            "run",
            "--detach",
            *names,
            *memory,
            *RIGHTS,
            *shared,
            *options,
            "--stop-signal=SIGRTMIN+3",
            base,
            *image.BOOT,
        )
        self.wait_booted()
        self._equip()

    def _equip(self) -> None:
        from uv import find_uv_bin

        if CERTIFICATES.exists():
            docker("cp", "--follow-link", str(CERTIFICATES), f"{self.name}:{CERTIFICATES}")
        docker("cp", str(find_uv_bin()), f"{self.name}:/usr/local/bin/uv")
        self.copy_checkout()

    def copy_checkout(self) -> None:
        """Give it the checkout as it is now."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, stdout=-1, check=True
        ).stdout.split(b"\0")
        present = b"\0".join(each for each in listed if each and (ROOT / os.fsdecode(each)).is_file())
        tar = ["tar", "--null", "--files-from=-", "--create"]
        packed = subprocess.run(tar, cwd=ROOT, input=present, stdout=-1, check=True).stdout
        self.run("mkdir", "-p", CHECKOUT)
        docker("exec", "--interactive", self.name, "tar", "-x", "--no-same-owner", "-C", CHECKOUT, stdin=packed)

    def wait_booted(self) -> float:
        """Wait until all units of the system are up; returns how long that took, seconds."""
        began = time.monotonic()
        while (state := self._state()) != "running":
            assert state != "degraded", self.run("systemctl", "--failed", "--no-pager")
            assert time.monotonic() - began < BOOT_SECONDS, f"{self.name} is {state} after {BOOT_SECONDS:g} s"
            time.sleep(0.1)
        return time.monotonic() - began

    def _state(self) -> str:
        command = ["docker", "exec", self.name, "systemctl", "is-system-running"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()

    def reboot(self) -> float:
        """Shut it down in order and boot it again; returns what the boot took, seconds."""
        docker("restart", "--time=180", self.name, timeout=240)
        return self.wait_booted()

    def run(self, *argv: str, timeout: float = 120.0) -> str:
        """Run a command as root in the checkout, with what a package index is reached by; returns what it prints.

        Raises:
            Failed: another status than 0.
        """
        given = [f"--env={key}={value}" for key, value in self.environment().items()]
        folder = "/" if argv[0] == "mkdir" else CHECKOUT
        command = ["docker", "exec", *given, "--workdir", folder, self.name, *argv]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=timeout, check=False)
        if done.returncode:
            raise Failed(f"{shlex.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        """Variables of each command in it."""
        reach = {key: value for key, value in os.environ.items() if REACH.match(key)}
        own = {"UV_PYTHON": "/usr/bin/python3", "UV_PYTHON_DOWNLOADS": "never", "UV_LINK_MODE": "copy"}
        return {**reach, **own}

    def selfhost(self, *arguments: str, timeout: float = 300.0) -> str:
        """Run the command line from the checkout, as the README does."""
        return self.run("uv", "run", "--quiet", "--no-dev", "selfhost", *arguments, timeout=timeout)

    def remove(self) -> None:
        """End it and remove every trace of it; idempotent."""
        docker("rm", "--force", "--volumes", self.name)


def left() -> list[str]:
    """Names of all machines of the lab that are there."""
    return docker("ps", "--all", "--filter", f"name=^{PREFIX}", "--format", "{{.Names}}").split()


def _uv_cache() -> str:
    command = ["uv", "cache", "dir"]
    folder = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)
