"""Artifacts of releases on a VM: fetched for an installation, and dropped after it, as the disk is small."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from ..files import make_folders
from ..releases import ReleaseFailed, Tools, install, is_whole
from ..spec import Artifact, Release
from .client import GoogleFailed
from .objects import Objects


class Artifacts:
    """The folder `store` of a VM, which the bucket fills. From any thread; one installation at a time."""

    def __init__(self, objects: Objects, store: Path, tools: Tools) -> None:
        self._objects = objects
        self._store, self._folder = store, store / "sha256"
        self._tools = tools
        self._turn = threading.Lock()

    def install(self, release: Release, root: Path) -> bool:
        """`releases.install`, with what is missing in the store fetched before.

        What was fetched is kept where the installation fails: it will be tried again.
        """
        with self._turn:
            if is_whole(release, root):
                return False
            artifacts = (release.lock, *release.wheels)
            make_folders(self._folder)
            for each in artifacts:
                self._ensure(release, each)
            install(release, root, self._store, self._tools)
            for each in artifacts:
                (self._folder / each.sha256).unlink(missing_ok=True)
            return True

    def _ensure(self, release: Release, artifact: Artifact) -> None:
        path = self._folder / artifact.sha256
        if path.exists() and _digest(path) == artifact.sha256:
            return
        try:
            self._objects.fetch(f"sha256/{artifact.sha256}", path, artifact.sha256)
        except GoogleFailed as error:
            raise ReleaseFailed(f"release {release.id}: {artifact.name}: {error}") from error
        except OSError as error:
            raise ReleaseFailed(f"release {release.id}: {artifact.name}: {error.strerror}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
