"""What a VM's agent reports, where others can read it: the status, sent when it changes and as a sign of life."""

from __future__ import annotations

import json
import time
from pathlib import Path

from ..inbox import STATUS
from .objects import Objects

PAUSE = 3.0
"""Seconds between two changes that are sent: one object may be written about once a second."""
SIGN_OF_LIFE = 45.0
"""Seconds without a change after which it is sent again: with the 25 in which the file itself is renewed it is never 90
old, after which the agent counts as gone. 58,000 a month cost 0.3 dollars."""


class Reporter:
    """The status file of a home, and its copy in the bucket."""

    def __init__(self, path: Path, objects: Objects) -> None:
        self._path, self._objects = path, objects
        self._sent = ""
        self._sent_at = float("-inf")

    def look(self) -> None:
        """Send the status, where it is to be sent now.

        Raises:
            GoogleFailed: it could not be sent; the next look tries again.
        """
        age = time.monotonic() - self._sent_at
        if age < PAUSE or not self._path.exists():
            return
        content = self._path.read_bytes()
        said = _said(content)
        if said != self._sent or age >= SIGN_OF_LIFE:
            self._objects.write(STATUS, content)
            self._sent, self._sent_at = said, time.monotonic()


def _said(content: bytes) -> str:
    """All of a status but when it was written."""
    return json.dumps({**json.loads(content), "time": 0.0}, sort_keys=True)
