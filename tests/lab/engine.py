"""The Docker engine of this machine, as the lab uses it: by its command, and by names of the lab's own."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping

PREFIX = "selfhost-lab-"
"""Start of the name of all that the lab makes; nothing else is touched."""

PROGRAMS = {
    "docker": "docker.io",
    "debootstrap": "debootstrap",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "iptables": "iptables",
    "losetup": "mount",
    "resize2fs": "e2fsprogs",
    "stunnel4": "stunnel4",
}
"""What the lab needs, and Debian's package that has it."""


class NoEngine(Exception):
    """No Docker engine answers. The text says why."""


def docker(
    *arguments: str, timeout: float = 120.0, stdin: bytes | None = None, more: Mapping[str, str] | None = None
) -> str:
    """Run docker, with `more` in its environment; returns what it prints.

    Raises:
        AssertionError: it fails; the text is what it said.
    """
    # Debian's docker has no builder but the old one.
    environment = {**os.environ, "DOCKER_BUILDKIT": "0", **(more or {})}
    command = ["docker", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=timeout, check=False, input=stdin, env=environment)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {said}{done.stderr.decode(errors='replace')}"
    return said


def require() -> None:
    """Find what the lab needs.

    Raises:
        NoEngine: no engine answers, or one of PROGRAMS is not there.
    """
    lacking = [each for each in PROGRAMS if shutil.which(each) is None]
    if lacking:
        raise NoEngine(f"{' and '.join(lacking)} not found: apt-get install {' '.join(PROGRAMS.values())}")
    done = subprocess.run(["docker", "version"], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise NoEngine(f"no Docker engine answers: {done.stderr.strip().splitlines()[-1]}")


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar of these files by path, as `docker cp` and `docker build` take it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path, content in files.items():
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
