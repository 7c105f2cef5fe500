"""The image of instances: the lab's base, and Debian's own google-guest-agent, which Google's image has, too."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from tests.lab import image
from tests.lab.engine import PREFIX, docker, packed

PACKAGE = "google-guest-agent"
DOCKERFILE = f"""\
FROM %s
COPY {PACKAGE}.deb /tmp/
RUN dpkg --install /tmp/{PACKAGE}.deb && rm /tmp/{PACKAGE}.deb
"""


@cache
def ensure() -> str:
    """Name of the image; made where it is not there: seconds."""
    base = image.ensure()
    text = (DOCKERFILE % base).encode()
    name = f"{PREFIX}guest:{hashlib.sha256(text).hexdigest()[:12]}"
    if not docker("images", "--quiet", name).strip():
        context = packed({"Dockerfile": text, f"{PACKAGE}.deb": _package().read_bytes()})
        docker("build", "--quiet", "--network=none", "--tag", name, "-", stdin=context, timeout=300)
    return name


def _package() -> Path:
    """The package as Debian's mirror has it, kept beside the base image."""
    folder = image.cache()
    if not (found := list(folder.glob(f"{PACKAGE}_*.deb"))):
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=folder, check=True, timeout=120)
        found = list(folder.glob(f"{PACKAGE}_*.deb"))
    return found[-1]
