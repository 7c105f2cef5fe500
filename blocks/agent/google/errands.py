"""What a VM's agent does over and over beside converging; no fault of the network holds that up."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence

from ..config import AgentConfig, Layout
from .carrier import Carrier
from .client import GoogleFailed
from .cloud import Cloud
from .reporter import Reporter

LOOK_EVERY = 3.0
"""Seconds between two looks into the inbox: 0.9 million a month, which cost 0.4 dollars."""
REPORT_EVERY = 1.0


class Errand:
    """Something that is done again and again in a thread of its own; what is amiss is told once, until it is not."""

    def __init__(self, do: Callable[[], None], every: float, tell: Callable[[str], None]) -> None:
        """`every` is in seconds; `tell` takes a line for the agent's log."""
        self._do, self._every, self._tell = do, every, tell
        self._thread: threading.Thread | None = None
        self._told = ""

    def ensure(self) -> None:
        """Have the thread run."""
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, daemon=True)
            thread.start()
            self._thread = thread  # only now: where no thread can be started, the next call tries again

    def _run(self) -> None:
        while True:
            self.attempt()
            time.sleep(self._every)

    def attempt(self) -> None:
        try:
            self._do()
            self._told = ""
        except (GoogleFailed, OSError) as error:
            self._tell_once(str(error))
        except Exception as error:  # noqa: BLE001 - a fault of the agent's own; the log says it
            self._tell_once("".join(traceback.format_exception(error)).rstrip())

    def _tell_once(self, fault: str) -> None:
        if fault != self._told:
            self._told = fault
            self._tell(fault)


def errands(
    config: AgentConfig, layout: Layout, wrapper: Sequence[str], cloud: Cloud, tell: Callable[[str], None]
) -> tuple[Errand, ...]:
    """Those of an agent on a VM."""
    carrier, reporter = Carrier(config, layout, wrapper, cloud), Reporter(layout.status, cloud.objects)
    return Errand(carrier.look, LOOK_EVERY, tell), Errand(reporter.look, REPORT_EVERY, tell)
