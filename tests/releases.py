"""Real environments of other Prefect versions with a wheel of this project in them, for tests of upgrades."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from blocks import release
from blocks.host.interpreter import uv_binary
from blocks.wheel import build_wheel


def install(prefect_version: str, folder: Path, wheel: Path | None = None) -> Path:
    """Make an environment in `folder`; returns its Python. Takes 2 s with warm caches, 20 s without.

    Args:
        wheel: Another one than that of this checkout, which is put in with the pins it carries.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if wheel is None:
        name, content = build_wheel()
        wheel = folder / name
        wheel.write_bytes(content)
        project = release.running_project()
    else:
        project = release.project_of(wheel.read_bytes())
    python = folder / "environment/bin/python"
    (folder / "pins.txt").write_text("\n".join(release.constraints(prefect_version, project)))
    _uv(folder, "venv", "--quiet", "--no-project", "--python", sys.executable, "environment")
    pip = ("pip", "install", "--quiet", "--python", str(python))
    _uv(folder, *pip, "--constraints", "pins.txt", *release.requirements(prefect_version, project))
    _uv(folder, *pip, "--no-deps", str(wheel))
    return python


def _uv(folder: Path, *arguments: str) -> None:
    subprocess.run([uv_binary(), *arguments], cwd=folder, check=True, capture_output=True, timeout=300)
