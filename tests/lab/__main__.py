"""`python -m tests.lab up`: Google Cloud with real parts, to look at; `down`: without a trace of it; needs Docker.

`machine` boots a machine with systemd alone, which `down` removes, too.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.emulator.server import environment
from tests.lab import image, nginx_image
from tests.lab.cloud import FOLDERS, Running, alone, running_lab, sweep
from tests.lab.engine import PREFIX, NoEngine, docker, require
from tests.lab.machine import CHECKOUT, Machine, left

NAME = "up"
PROJECT = "lab-project"
SERVE = "serve"
LOG, EXPORTS, PROCESS = (FOLDERS / f"{NAME}.{each}" for each in ("log", "env", "pid"))
STARTS, STOPS = 60.0, 120.0
"""Seconds."""


def up() -> None:
    """Start a lab that stays when this command ends; one that has crashed goes first."""
    began = time.monotonic()
    with alone(NAME):  # says at once where there is one
        EXPORTS.unlink(missing_ok=True)
    with LOG.open("wb") as log:
        command = [sys.executable, "-m", "tests.lab", SERVE]
        serving = subprocess.Popen(command, stdin=-3, stdout=log, stderr=log, start_new_session=True)
    while not EXPORTS.exists():
        if serving.poll() is not None or time.monotonic() - began > STARTS:
            raise SystemExit(f"the lab did not start: {LOG.read_text(errors='replace')[-3000:]}")
        time.sleep(0.1)
    print(f"# Google Cloud emulated, with real parts, after {time.monotonic() - began:.0f} s. For gcloud and clients:")
    print(EXPORTS.read_text(), end="")
    print(f"# docker exec -it {PREFIX}{NAME}-vm-{PROJECT}-INSTANCE bash   # a shell in an instance")
    print("# uv run python -m tests.lab down")


def serve() -> None:
    """The lab itself, until SIGTERM."""
    FOLDERS.mkdir(mode=0o700, parents=True, exist_ok=True)
    PROCESS.write_text(str(os.getpid()))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # in all threads, which begin after it
    with running_lab(NAME) as lab:
        lab.cloud.add_project(PROJECT, ("all",))
        told = environment(lab.cloud, PROJECT, lab.address, lab.folder / "environment")
        beside = Path(f"{EXPORTS}.new")
        beside.write_text("".join(f"export {key}={shlex.quote(value)}\n" for key, value in told.items()))
        beside.replace(EXPORTS)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})
    EXPORTS.unlink()


def machine() -> None:
    """Boot a machine; one that was left by a crash goes first."""
    began = time.monotonic()
    one = Machine("machine")
    one.create()
    print(f"{one.name} is up after {time.monotonic() - began:.0f} s, with systemd as PID 1 and Python 3.11.2.")
    print(f"docker exec -it -w {CHECKOUT} {one.name} bash   # a shell; this checkout is in {CHECKOUT}, uv is there")
    print("uv run --no-dev selfhost bootstrap --name lab   # in it: a stack under systemd")
    print(f"docker restart -t 180 {one.name}   # a reboot")
    print("uv run python -m tests.lab down")


def down() -> None:
    """End the lab and remove all of it; images go, too, unless another lab runs; base images stay cached."""
    _end()
    sweep(NAME)
    Machine("machine").remove()
    for each in (LOG, EXPORTS, PROCESS):
        each.unlink(missing_ok=True)
    images = {*docker("images", "--quiet", f"{PREFIX}*").split(), *nginx_image.ours()}
    if images and not left():
        docker("rmi", "--force", *images)
    print(f"nothing of the lab is left but what is cached in {image.cache()}")


def _end() -> None:
    """Tell the lab's process to end and wait for it; nothing where there is none."""
    pid = int(PROCESS.read_text()) if PROCESS.exists() else 0
    command = Path(f"/proc/{pid}/cmdline")
    if pid and command.exists() and command.read_bytes().endswith(f"tests.lab\0{SERVE}\0".encode()):
        os.kill(pid, signal.SIGTERM)
    limit = time.monotonic() + STOPS
    while _runs() and time.monotonic() < limit:
        time.sleep(0.1)


def _runs() -> bool:
    try:
        with alone(NAME):
            return False
    except Running:
        return True


def main(arguments: list[str]) -> int:
    """Carry out one command; returns the exit status."""
    commands = {"up": up, "down": down, "machine": machine, SERVE: serve}
    if len(arguments) != 1 or arguments[0] not in commands:
        sys.stderr.write("usage: python -m tests.lab up|down|machine\n")
        return 2
    try:
        require()
        commands[arguments[0]]()
    except (NoEngine, Running) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
