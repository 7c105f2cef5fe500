"""Installs the releases of a spec, one at a time, beside everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import releases
from .arrivals import Arrivals
from .definitions import releases_needed
from .retry import Retry
from .spec import Release

Install = Callable[[Release, Path], object]
"""Makes a release in the folder of all releases, see `releases.install`."""


class Installation:
    """Which releases are wanted, and how far each is."""

    def __init__(self, root: Path, install: Install, arrivals: Arrivals) -> None:
        """`root` is the folder of all releases."""
        self._root = root
        self._make = install
        self._arrivals = arrivals
        self._wanted: dict[str, Release] = {}
        self._retries: dict[str, Retry] = {}
        self._is_busy = False
        self.installed: set[str] = set()

    def take(self, wanted: Sequence[Release]) -> None:
        """Install these from now on."""
        self._wanted = {each.id: each for each in wanted}
        self._retries = {each.id: Retry() for each in wanted}
        self.installed = {each.id for each in wanted if releases.is_whole(each, self._root)}

    def step(self, now: float) -> None:
        """Begin with the next one that is due, unless one is under way."""
        due = [each for each in self._wanted if each not in self.installed and self._retries[each].is_due(now)]
        if due and not self._is_busy:
            threading.Thread(target=self._install, args=(self._wanted[due[0]],), daemon=True).start()
            self._is_busy = True  # only now: where no thread can be started, a later step tries again

    def faults(self) -> tuple[str, ...]:
        return tuple(each.reason for each in self._retries.values() if each.reason)

    def missing(self, argv: tuple[str, ...]) -> str:
        """The release a program needs that is not installed yet; empty where there is none."""
        needed = releases_needed(argv, str(self._root), tuple(self._wanted))
        return next((each for each in needed if each not in self.installed), "")

    def _install(self, release: Release) -> None:
        """In a thread of its own: takes seconds to minutes."""
        reason = ""
        try:
            self._make(release, self._root)
        except (releases.ReleaseFailed, OSError) as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the release's fault; a dead thread would say nothing
            reason = f"release {release.id}: {type(error).__name__}: {error}"
        self._arrivals.post(lambda: self._take_in(release, reason))

    def _take_in(self, release: Release, reason: str) -> None:
        self._is_busy = False
        retry = self._retries.get(release.id, Retry())
        if reason:
            retry.failed(reason, time.monotonic())
        else:
            retry.succeeded()
            self.installed.add(release.id)
