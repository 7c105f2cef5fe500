"""The threads on which real parts act."""

from __future__ import annotations

from concurrent.futures import wait
from threading import Barrier
from typing import Any

from tests.emulator.backing import Backings

EXECUTIONS = "run.projects.locations.jobs.executions"


class Part:
    """A real part."""

    def start(self, name: str, body: dict[str, Any]) -> None: ...

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


def test_what_takes_long_holds_nobody_up() -> None:
    backings = Backings({"run.executions": Part()})
    together = Barrier(20, timeout=10)
    acts = [backings.run(EXECUTIONS, lambda _: _meet(together)) for _ in range(20)]
    done, pending = wait([each for each in acts if each is not None], timeout=20)
    assert (len(done), len(pending)) == (20, 0)
    assert [each.exception() for each in done] == [None] * 20
    backings.close()


def _meet(others: Barrier) -> None:
    others.wait()
