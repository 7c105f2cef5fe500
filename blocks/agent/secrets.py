"""The secrets a spec refers to, on a VM: fetched into a folder in memory, beside everything else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .arrivals import Arrivals
from .files import make_folders, secrets_in, write_atomically
from .retry import Retry
from .spec import HostSpec, Job, Service

Fetch = Callable[[str, str], bytes]
"""Stack's name and a reference, such as `auth-string@7` → the secret's value; raises what it cannot be read for."""


class Secrets:
    """Which secrets are wanted, and which of them are there. After a boot none is: the folder is in memory."""

    def __init__(self, folder: Path, fetch: Fetch, arrivals: Arrivals, arrived: Callable[[], None]) -> None:
        """`arrived` is called in the agent's own thread when there are further ones."""
        self._folder = folder
        self._fetch = fetch
        self._arrivals = arrivals
        self._arrived = arrived
        self._stack = ""
        self._retries: dict[str, Retry] = {}
        self._is_busy = False

    def take(self, spec: HostSpec) -> None:
        """Have these from now on."""
        self._stack = spec.stack
        self._retries = {each: Retry() for each in sorted(references(spec))}

    def step(self, now: float, in_use: Iterable[str]) -> None:
        """Begin to fetch what is missing, unless that is under way; where nothing is, remove what nobody refers to.

        `in_use` are references of what runs, and of what would start again as it was.
        """
        missing = self._missing()
        due = [each for each in missing if self._retries[each].is_due(now)]
        if due and not self._is_busy:
            threading.Thread(target=self._fetch_all, args=(self._stack, due), daemon=True).start()
            self._is_busy = True  # only now: where no thread can be started, a later step tries again
        if not missing and not self._is_busy:
            self._sweep({*self._retries, *in_use})

    def faults(self) -> tuple[str, ...]:
        """Why what is missing is not there."""
        return tuple(filter(None, map(self.fault, self._retries)))

    def fault(self, reference: str) -> str:
        """Why a secret is not there; empty where it is."""
        if self._is_there(reference):
            return ""
        return self._retries[reference].reason or f"the secret {reference} is being fetched"

    def _missing(self) -> list[str]:
        return [each for each in self._retries if not self._is_there(each)]

    def _is_there(self, reference: str) -> bool:
        return (self._folder / reference).exists()

    def _sweep(self, kept: set[str]) -> None:
        for each in self._folder.iterdir() if self._folder.exists() else ():
            if each.name not in kept:
                each.unlink()

    def _fetch_all(self, stack: str, wanted: list[str]) -> None:
        """In a thread of its own: one that nobody answers takes half a minute."""
        faults = {each: self._fetched(stack, each) for each in wanted}
        self._arrivals.post(lambda: self._take_in(faults))

    def _fetched(self, stack: str, reference: str) -> str:
        """Fetch one. Returns why that failed, or nothing."""
        try:
            value = self._fetch(stack, reference)
            make_folders(self._folder)
            self._folder.chmod(0o700)
            write_atomically(self._folder / reference, value, 0o600)
        except OSError as error:
            return f"the secret {reference}: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - what is amiss with it; a dead thread would say nothing
            return str(error)
        return ""

    def _take_in(self, faults: dict[str, str]) -> None:
        self._is_busy = False
        for each, fault in faults.items():
            retry = self._retries.get(each, Retry())
            if fault:
                retry.failed(fault, time.monotonic())
            else:
                retry.succeeded()
        if "" in faults.values():
            self._arrived()


def references(spec: HostSpec) -> set[str]:
    """Secrets which programs get, or which stand in files."""
    programs: tuple[Service | Job, ...] = (*spec.services, *spec.jobs)
    own = {each for program in programs for each in program.secrets.values()}
    return own.union(*(secrets_in(each.content) for each in spec.files))
