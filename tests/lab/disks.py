"""The boot disks of instances: each a file with a file system of the disk's size, which is the machine's /var.

A container's root cannot be limited on every file system of an engine; what a service keeps is below /var. As at
Google, a disk that was made larger is one at the next boot.
Source: https://cloud.google.com/compute/docs/disks/resize-persistent-disk (public images grow their root at boot)
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.engine import docker

GIGABYTE = 2**30
MOUNTED = "/var"
MENDED = 1
"""Exit status of e2fsck that has mended something: lost+found is made anew."""


class Disk:
    """The disk of one container, by its name; a volume of Docker and a file in a folder of the lab."""

    def __init__(self, folder: Path, container: str) -> None:
        self.file, self.volume = folder / f"{container}.disk", f"{container}-disk"

    @property
    def option(self) -> list[str]:
        """By which a container has it; at first with what its image has there."""
        return ["--volume", f"{self.volume}:{MOUNTED}"]

    def make(self, labels: Sequence[str], gigabytes: int) -> None:
        self._extend(gigabytes)
        # Docker fills a volume that is empty, which one with lost+found is not.
        _run("mkfs.ext4", "-q", "-F", str(self.file))
        _run("debugfs", "-w", "-R", "rmdir lost+found", str(self.file))
        device = _run("losetup", "--find", "--show", str(self.file)).strip()
        options = ("--opt", "type=ext4", "--opt", f"device={device}")
        docker("volume", "create", *labels, "--driver", "local", *options, self.volume)

    def grow(self, gigabytes: int) -> None:
        """Make it as large as it is to be; it is not in use. It never shrinks."""
        if self.file.stat().st_size >= gigabytes * GIGABYTE:
            return
        self._extend(gigabytes)
        for device in attached(self.file):
            _run("losetup", "--set-capacity", device)
            _run("e2fsck", "-f", "-p", device, fine=(0, MENDED))
            _run("resize2fs", device)

    def _extend(self, gigabytes: int) -> None:
        with self.file.open("ab") as sparse:
            sparse.truncate(gigabytes * GIGABYTE)

    def remove(self) -> None:
        """Take it away; no container has it any more. Idempotent."""
        docker("volume", "rm", "--force", self.volume)
        detach(self.file)
        self.file.unlink(missing_ok=True)


def attached(under: Path) -> list[str]:
    """The loop devices of a file, or of all files in a folder."""
    lines = _run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines()
    found = (line.split(maxsplit=1) for line in lines)
    return [name for name, *file in found if file and Path(file[0].removesuffix(" (deleted)")).is_relative_to(under)]


def detach(under: Path) -> None:
    for device in attached(under):
        _run("losetup", "--detach", device)


def _run(*argv: str, fine: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in fine, f"{' '.join(argv)}: {done.stdout}{done.stderr}"
    return done.stdout
