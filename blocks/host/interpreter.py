"""The interpreter which releases and the host agent run on, and uv which makes them: they outlive our own environment.

Where root makes a stack, its services run as users of their own, and each of them must be able to execute it: one in
somebody's home folder (pyenv, uv) is none for them. Then the system's own is taken.
"""

from __future__ import annotations

import filecmp
import functools
import os
import stat
import subprocess
import sys
from pathlib import Path
from platform import machine

from blocks.agent.files import write_atomically

SYSTEM = "/usr/bin/python3"
"""What stands in where ours is closed to others."""
LOWEST = (3, 11)


def base_python() -> str:
    """Absolute path of the interpreter."""
    return _chosen(_ours(), os.path.realpath(SYSTEM)) if os.geteuid() == 0 else _ours()


def fault() -> str:
    """Why no interpreter will do, with the command that mends it; empty where one does."""
    python = base_python()
    if os.geteuid() != 0 or (is_for_everyone(python) and _numbers(version(python)) >= LOWEST):
        return ""
    wanted = ".".join(map(str, LOWEST))
    return (
        f"users of the stack's services cannot execute {python}, and {SYSTEM} is not {wanted} or newer: "
        "apt-get install python3, or run selfhost by a Python outside of home folders"
    )


def is_for_everyone(python: str) -> bool:
    """Whether any user of this machine can execute it, and read its library."""
    library = [os.__file__] if python == _ours() else []
    try:
        return _has(python, stat.S_IXOTH) and all(_has(each, stat.S_IROTH) for each in library)
    except OSError:
        return False


@functools.cache
def version(python: str) -> str:
    """Its `sys.version`: a release made for one interpreter is not that of another."""
    if python == _ours():
        return sys.version
    argv = [python, "-I", "-S", "-c", "import sys; print(sys.version)"]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def platform() -> str:
    """What a release is made for: operating system, architecture and Python in two numbers, `linux-x86_64-3.11`."""
    return f"{sys.platform}-{machine()}-{'.'.join(map(str, minor()))}"


def uv_binary() -> str:
    """Path of the uv that came with our dependencies."""
    from uv import find_uv_bin

    return str(find_uv_bin())


def ensure_uv(path: Path) -> bool:
    """Keep a copy of our uv there for the host agent; True if it was not the same one. Takes 0.1 s, 40 MB."""
    if path.exists() and filecmp.cmp(uv_binary(), path, shallow=False):
        return False
    write_atomically(path, Path(uv_binary()).read_bytes(), 0o755)
    return True


def minor() -> tuple[int, ...]:
    """Its version in two numbers, such as (3, 11)."""
    return _numbers(version(base_python()))


def site_packages(environment: Path) -> Path:
    """Where packages lie in an environment, whatever Python it was made from; it need not be there yet."""
    found = next(iter(environment.glob("lib/python3.*")), None)
    return (found or environment / "lib" / "python{}.{}".format(*minor())) / "site-packages"


def _ours() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


@functools.cache
def _chosen(ours: str, system: str) -> str:
    if is_for_everyone(ours) or not is_for_everyone(system) or _numbers(version(system)) < LOWEST:
        return ours
    return system


def _has(path: str, bit: int) -> bool:
    """Whether others have this right to a file, and may pass through the folders on the way to it."""
    file = Path(os.path.realpath(path))
    return bool(file.stat().st_mode & bit) and all(each.stat().st_mode & stat.S_IXOTH for each in file.parents)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")[:2]))
