"""The folder `nginx/`, which is found in a checkout and in an installed wheel alike."""

from __future__ import annotations

from pathlib import Path

DOCKERFILE = "Dockerfile"
TEMPLATE = "templates/default.conf.template"


def read(name: str) -> str:
    """Text of one of its files.

    Raises:
        FileNotFoundError: neither a checkout nor a whole wheel is around this module.
    """
    return (_folder() / name).read_text(encoding="utf-8")


def context() -> dict[str, bytes]:
    """What the front door's image is built from: path → content."""
    return {name: read(name).encode() for name in (DOCKERFILE, TEMPLATE)}


def _folder() -> Path:
    blocks = Path(__file__).resolve().parent
    for folder in (blocks.parent / "nginx", blocks / "assets" / "nginx"):
        if (folder / TEMPLATE).is_file():
            return folder
    raise FileNotFoundError(f"no nginx/{TEMPLATE} beside or inside {blocks}: the installation is damaged")
