"""Programs of Debian's that are not installed: fetched from apt's mirror once, and unpacked into the lab's cache."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tests.lab import image


def program(package: str, path: str) -> Path:
    """A file of a package, for instance (`docker-registry`, `usr/bin/docker-registry`)."""
    folder = image.cache() / package
    if not (folder / path).exists():
        with tempfile.TemporaryDirectory(dir=image.cache()) as beside:
            command = ["apt-get", "-qq", "download", package]
            done = subprocess.run(command, cwd=beside, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
            [archive] = Path(beside).glob("*.deb")
            unpacked = Path(beside) / "unpacked"
            subprocess.run(["dpkg-deb", "-x", str(archive), str(unpacked)], check=True)
            unpacked.replace(folder)
    return folder / path
