"""What the ledger's objects are called by which a host elsewhere is asked to do something, and what it writes.

Here, as both the host agent and `blocks.requests` know them.
"""

from __future__ import annotations

INBOX, ANSWERS, STATUS, WANTED = "ledger/inbox", "ledger/answers/", "ledger/status", "ledger/wanted"
LOGS = "ledger/logs/"
"""Below it, a folder for each request: pieces of the log of its carrying out, each under its offset in 12 digits."""
BOOT = "boot/"
"""Below it, how far the last boot of a VM has come: an object for each stage."""
TAKE_SECONDS = 60.0
"""Time a host gets to take a request: it looks every few seconds. Afterwards its asker may be gone: it is refused."""
WAITS = "waits"
"""Key of `taken` which says that the host has seen the request, and has yet to install what carries it out."""


def too_late(verb: str, age: float) -> tuple[str, str]:
    """What is said, and advised, of a request that is refused as it was not taken in time."""
    what = f"{verb} was asked for {age:.0f} s ago, and is not begun after {TAKE_SECONDS:.0f}"
    return what, "nothing was changed; run the same command again"


def interrupted(verb: str) -> tuple[str, str]:
    """The same of one whose carrying out has ended without an answer."""
    return f"the host was interrupted in the midst of {verb}", "run the same command again"


def log_piece(request: str, offset: int) -> str:
    """Key of a piece of a request's log."""
    return f"{LOGS}{request}/{offset:012d}"
