"""`python -m tests.lab up`: a machine with systemd, to look at; `down`: without a trace of the lab; needs Docker."""

from __future__ import annotations

import sys
import time

from tests.lab import image
from tests.lab.engine import PREFIX, NoEngine, docker, require
from tests.lab.machine import CHECKOUT, Machine, left

NAME = "machine"


def up() -> None:
    """Boot a machine; one that was left by a crash goes first."""
    began = time.monotonic()
    machine = Machine(NAME)
    machine.create()
    print(f"{machine.name} is up after {time.monotonic() - began:.0f} s, with systemd as PID 1 and Python 3.11.2.")
    print(f"docker exec -it -w {CHECKOUT} {machine.name} bash   # a shell; this checkout is in {CHECKOUT}, uv is there")
    print("uv run --no-dev selfhost bootstrap --name lab   # in it: a stack under systemd")
    print(f"docker restart -t 180 {machine.name}   # a reboot")
    print("uv run python -m tests.lab down")


def down() -> None:
    """Remove all machines and images of the lab; what debootstrap has made stays cached."""
    for name in left():
        docker("rm", "--force", "--volumes", name)
    images = docker("images", "--quiet", f"{PREFIX}*").split()
    if images:
        docker("rmi", "--force", *images)
    print(f"nothing of the lab is left but its cached base image in {image.cache()}")


def main(arguments: list[str]) -> int:
    """Carry out one command; returns the exit status."""
    commands = {"up": up, "down": down}
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.stderr.write("usage: python -m tests.lab up|down\n")
        return 2
    try:
        require()
    except NoEngine as error:
        sys.stderr.write(f"{error}\n")
        return 1
    commands[arguments[0]]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
