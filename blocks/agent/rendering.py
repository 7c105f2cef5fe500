"""Keeps the files and folders of a spec as they should be."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from .files import Trace, ensure_folder, ensure_rendered, folder_trace, trace
from .retry import Retry
from .secret_value import UnusableSecret
from .spec import File, Folder, HostSpec


class Rendered:
    """Files and folders as they were made last; a fault of one stops no other."""

    def __init__(self, secrets: Path) -> None:
        """`secrets` is the folder with a file for each secret."""
        self._secrets = secrets
        self._traces: dict[str, Trace | None] = {}
        self._folder_traces: dict[str, Trace | None] = {}
        self._retry = Retry()
        self.contents: dict[str, bytes] = {}
        """What was written, by path."""
        self.faults: dict[str, str] = {}
        """Why a file or folder cannot be made, by path."""

    def render(self, spec: HostSpec) -> None:
        """Make all of them."""
        self.contents, self.faults = {}, {}
        for folder in spec.folders:
            self._attempt(folder, partial(ensure_folder, folder))
        for file in spec.files:
            self._attempt(file, partial(self._render, file))
        self._traces = {path: trace(Path(path)) for path in self.contents}
        self._folder_traces = {each.path: folder_trace(Path(each.path)) for each in spec.folders}
        if self.faults:
            self._retry.failed("; ".join(self.faults.values()), time.monotonic())
        else:
            self._retry.succeeded()

    def is_due(self, now: float) -> bool:
        """Whether they must be made again: one failed a while ago, or somebody touched one of them."""
        return self._retry.is_due(now) and (bool(self.faults) or self._is_touched())

    def _is_touched(self) -> bool:
        """Whether somebody removed or changed a file or folder we made: its service would not start again."""
        return any(trace(Path(path)) != left for path, left in self._traces.items()) or any(
            folder_trace(Path(path)) != left for path, left in self._folder_traces.items()
        )

    def _render(self, file: File) -> None:
        _, self.contents[file.path] = ensure_rendered(file, self._secrets)

    def _attempt(self, part: File | Folder, make: Callable[[], None]) -> None:
        """Make it so, or note its fault."""
        try:
            make()
        except UnusableSecret as error:
            self.faults[part.path] = f"{part.path}: {error}"
        except KeyError:
            self.faults[part.path] = f"{part.path}: there is no user {part.user} on this host"
        except OSError as error:
            self.faults[part.path] = f"{part.path}: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - what lies there is its user's making: the other parts go on
            self.faults[part.path] = f"{part.path}: {type(error).__name__}: {error}"
