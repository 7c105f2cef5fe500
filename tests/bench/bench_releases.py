"""Disk that releases take: how much one does, and what is left of ten upgrades one after the other.

    uv run python -m tests.bench.bench_releases [--upgrades 10] [--versions 3.8.3 3.8.8]

Each upgrade resolves and installs a release as the host does, imports what a server needs (its byte code comes with
that), and then removes what is disused, as the flow's end does: the release that runs and the one before stay, those
older go. Between upgrades our own wheel is another one, so that no two releases are alike. All is counted once with
files that uv copies, as on a host whose cache is on another disk or was emptied, and once as uv links them. It prints
and judges nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from blocks import release
from blocks.agent import releases as agent
from blocks.agent.spec import Artifact, Release
from blocks.host import disused, interpreter
from blocks.local.object_store import LocalObjectStore
from blocks.wheel import build_wheel

TOOLS = agent.Tools(interpreter.base_python(), interpreter.uv_binary())


def used(*folders: Path) -> float:
    """MB on the disk, a file with several names once."""
    paths = [Path(folder, name) for each in folders for folder, _, names in os.walk(each) for name in names]
    found = [each.lstat() for each in paths]
    return sum({(each.st_dev, each.st_ino): each.st_blocks * 512 for each in found}.values()) / 1e6


def wheel_of(store: Path, number: int) -> Artifact:
    """Our own wheel, made another one by a file in it."""
    name, content = build_wheel()
    changed = io.BytesIO(content)
    with zipfile.ZipFile(changed, "a") as archive:
        archive.writestr("blocks/assets/number", str(number))
    return release.put(LocalObjectStore(store), name, changed.getvalue())


def upgrade(root: Path, store: Path, version: str, number: int) -> Release:
    made = release.prepare(version, wheel_of(store, number), LocalObjectStore(store))
    agent.install(made, root, store, TOOLS)
    return made


def measure(home: Path, versions: Iterable[str]) -> list[tuple[str, float, float, str]]:
    """For each upgrade: version, MB at its height, MB afterwards, what went."""
    root, store = home / "releases", home / "store"
    rows, listed = [], list[Release]()
    tools = release.prepare_tools(LocalObjectStore(store))
    agent.install(tools, root, store, TOOLS)
    for number, version in enumerate(versions):
        listed = [*listed[-1:], upgrade(root, store, version, number)]
        height, leaving = used(home), disused.find(root, store, [tools, *listed])
        gone = str(leaving) if leaving else ""
        leaving.remove()
        rows.append((version, height, used(home), gone))
    return rows


def show(title: str, rows: list[tuple[str, float, float, str]]) -> None:
    table = Table("upgrade", "Prefect", "MB at its height", "MB afterwards", "removed", title=title)
    for number, (version, height, left, gone) in enumerate(rows):
        table.add_row(str(number), version, f"{height:.0f}", f"{left:.0f}", gone)
    Console(width=160).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upgrades", type=int, default=10)
    parser.add_argument("--versions", nargs="+", default=["3.8.3", "3.8.8"])
    parser.add_argument("--modes", nargs="+", default=["copy", "hardlink"])
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for mode in options.modes:
        os.environ["UV_LINK_MODE"] = mode
        home = Path(tempfile.mkdtemp(prefix="releases-"))
        try:
            wanted = [options.versions[each % len(options.versions)] for each in range(options.upgrades + 1)]
            show(f"{mode}: 0 is the bootstrap; python {sys.version.split()[0]}", measure(home, wanted))
        finally:
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
