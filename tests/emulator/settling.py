"""What Google has accepted and does not yet know everywhere: grants, new accounts, APIs just enabled.

Sources: https://cloud.google.com/iam/docs/access-change-propagation, https://cloud.google.com/iam/docs/overview#consistency;
the figures stand beside their sources in latencies.py and take the scale. A test of something else, which would have to
wait for this at every step, says why it does without: `Cloud(…, at_once="why")`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.emulator.clock import Clock
from tests.emulator.latencies import LATENCIES


@dataclass(frozen=True)
class Settling:
    """Until when a write is on its way."""

    clock: Clock
    scale: float
    at_once: str = ""
    """Why a test wants every write to be known at once; "" is as at Google."""

    def until(self, kind: str) -> datetime:
        """When what is written now is known everywhere; `kind` is a key of the table that begins with `settle.`."""
        seconds = 0.0 if self.at_once else LATENCIES[kind].seconds * self.scale
        return self.clock.now() + timedelta(seconds=seconds)
