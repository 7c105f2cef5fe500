"""Our own wheel: built from a checkout, or put together again from an installed one."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import os
import tempfile
import zipfile
from pathlib import Path

from blocks.release import PROJECT, ROOT


def build_wheel() -> tuple[str, bytes]:
    """Our own wheel as (file name, bytes): the same bytes for the same sources, in a checkout and in a release."""
    contents = _built_from_checkout() if (ROOT / "pyproject.toml").exists() else _unpacked_by_an_installer()
    info = next(path.split("/")[0] for path in contents if ".dist-info/" in path)
    contents[f"{info}/RECORD"] = _record(contents, f"{info}/RECORD")
    return f"{info.removesuffix('.dist-info')}-py3-none-any.whl", _zipped(contents)


def _built_from_checkout() -> dict[str, bytes]:
    """What hatchling puts into a wheel, without its record: path → bytes."""
    from hatchling.builders.wheel import WheelBuilder

    with tempfile.TemporaryDirectory() as folder:
        (built,) = WheelBuilder(str(ROOT)).build(directory=folder, versions=["standard"])
        with zipfile.ZipFile(built) as archive:
            names = [name for name in archive.namelist() if not name.endswith(".dist-info/RECORD")]
            return {name: archive.read(name) for name in sorted(names)}


def _unpacked_by_an_installer() -> dict[str, bytes]:
    """What an installer unpacked from our wheel, less what it added itself."""
    distribution = importlib.metadata.distribution(PROJECT)
    added = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json", "uv_cache.json")
    listed = sorted(distribution.files or [], key=str)
    files = [each for each in listed if _is_of_the_wheel(each.parts) and each.name not in added]
    return {str(each): Path(str(each.locate())).read_bytes() for each in files}


def _zipped(contents: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in contents.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 2, 2, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _is_of_the_wheel(parts: tuple[str, ...]) -> bool:
    return ".." not in parts and "__pycache__" not in parts and not os.path.isabs(parts[0])  # noqa: PTH117


def _record(contents: dict[str, bytes], own_path: str) -> bytes:
    rows = []
    for path, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    return "\n".join([*rows, f"{own_path},,", ""]).encode()
