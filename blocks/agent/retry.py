"""When to try again what failed."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
"""1, 2, 4, … 60 s: about two minutes to the longest, then for as long as it takes."""


@dataclass
class Retry:
    """Backoff of one thing that is tried until it succeeds. `now` is monotonic seconds."""

    reason: str = ""
    """Why the last attempt failed; empty after a success."""
    failures: int = 0
    not_before: float = 0.0

    def is_due(self, now: float) -> bool:
        return now >= self.not_before

    def failed(self, reason: str, now: float) -> None:
        self.not_before = now + min(FIRST_DELAY * 2**self.failures, LONGEST_DELAY)
        self.failures = min(self.failures + 1, 10)
        self.reason = reason

    def succeeded(self) -> None:
        self.reason, self.failures, self.not_before = "", 0, 0.0
