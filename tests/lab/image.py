"""The image of the lab's machines: what Google's Debian 12 has, made by debootstrap from the mirror that apt uses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

from tests.lab.engine import PREFIX, docker

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "python3", "ca-certificates", "curl"),
    *("procps", "iproute2", "passwd", "sudo", "openssl", "tzdata", "kmod", "udev"),
)
"""Of the base system. Neither pip nor venv, as on Google's image, and none of ours."""

INIT = """\
# A container's file systems are private, and what a service is given by systemd would not be seen by it.
mount --make-rshared /
# systemd wants one hierarchy of control groups, which is its own; where the engine's machine limits memory by the older
# kind, that hierarchy beside it.
umount -R /sys/fs/cgroup 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
if ! grep -qw memory /sys/fs/cgroup/cgroup.controllers; then
  umount /sys/fs/cgroup
  mount -t tmpfs -o mode=755,nosuid,nodev,noexec tmpfs /sys/fs/cgroup
  mkdir /sys/fs/cgroup/unified /sys/fs/cgroup/systemd /sys/fs/cgroup/memory
  mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
  mount -t cgroup -o memory cgroup /sys/fs/cgroup/memory
fi
exec /sbin/init
"""
BOOT = ("/bin/sh", "-c", INIT)
"""The command by which a machine boots."""


def ensure() -> str:
    """Name of the image; made where it is not there: a minute or more the first time, seconds from the cached tar."""
    key = hashlib.sha256("\n".join([SUITE, *PACKAGES]).encode()).hexdigest()[:12]
    name, tar = f"{PREFIX}base:{key}", cache() / f"base-{key}.tar"
    if not docker("images", "--quiet", name).strip():
        if not tar.exists():
            began = time.monotonic()
            make(tar)
            print(f"base image made in {time.monotonic() - began:.0f} s: {tar}")
        docker("import", str(tar), name, timeout=300)
    return name


def cache() -> Path:
    """Folder of base images that were made."""
    beside = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(beside) / "selfhost-lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make(tar: Path) -> None:
    """Bootstrap Debian into a folder and put it into that file."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        root = Path(folder) / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root), mirror()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        assert done.returncode == 0, f"debootstrap: {done.stdout[-2000:]}{done.stderr}"
        beside = tar.with_suffix(".new")
        unneeded = ["./var/cache/apt/archives", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale"]
        excluded = [f"--exclude={each}/*" for each in unneeded]
        subprocess.run(["tar", *excluded, "-C", str(root), "-cf", str(beside), "."], check=True)
        beside.replace(tar)


def mirror() -> str:
    """Address of the Debian mirror that this machine's apt is set up with."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    targets = (line.split() for line in done.stdout.splitlines())
    return next(each[0] for each in targets if each[1:] == [SUITE, "main"])
