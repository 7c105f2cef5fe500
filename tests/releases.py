"""Real environments of other Prefect versions with this project's wheel in them, for tests of upgrades."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from blocks import release
from blocks.host.interpreter import uv_binary
from blocks.wheel import build_wheel


def install(prefect_version: str, folder: Path) -> Path:
    """Make an environment in `folder`; returns its Python. Takes 2 s with warm caches, 20 s without."""
    name, content = build_wheel()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / name
    wheel.write_bytes(content)
    python = folder / "environment/bin/python"
    _uv(folder, "venv", "--quiet", "--no-project", "--python", sys.executable, "environment")
    pip = ("pip", "install", "--quiet", "--python", str(python))
    _uv(folder, *pip, *release.requirements(prefect_version, release.running_project()))
    _uv(folder, *pip, "--no-deps", str(wheel))
    return python


def _uv(folder: Path, *arguments: str) -> None:
    subprocess.run([uv_binary(), *arguments], cwd=folder, check=True, capture_output=True, timeout=300)
