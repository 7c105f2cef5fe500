"""By which variables uv reaches an index, kept in the home for processes which do not have them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from blocks.agent.files import write_atomically
from blocks.host.home import Home

REACH = re.compile(r"(UV_|PIP_|SSL_CERT_)|(HTTPS?_PROXY|ALL_PROXY|NO_PROXY|REQUESTS_CA_BUNDLE|NETRC)$", re.IGNORECASE)
"""What an index is reached by: certificates, proxies, uv's settings and pip's."""


def reach(home: Home, agent_pid: int) -> dict[str, str]:
    """Variables by which uv reaches an index: this process's own, and those which were seen by a call before.

    A flow on a worker has none of them, nor has a start by cron; so they are kept in the home, where its user alone
    can read them: they may hold a login for an index. They go to uv and to the host agent, which calls it.

    Args:
        agent_pid: Process of the host agent, whose environment is looked at where none were kept; 0 for none.
    """
    path = home.agent / "reach.json"
    kept = _kept_reach(path) or _reach_in(_environment_of(agent_pid))
    found = kept | _reach_in(os.environ)
    if found and home.agent.exists() and found != _kept_reach(path):
        with contextlib.suppress(OSError):  # without room on the disk it is kept by a later call
            write_atomically(path, json.dumps(found, indent=1).encode(), 0o600)
    return found


def _reach_in(environment: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in environment.items() if REACH.match(key)}


def _kept_reach(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return {}


def _environment_of(pid: int) -> dict[str, str]:
    """A process's environment; empty where it is gone, or on a system without /proc."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (each.partition("=") for each in content.decode(errors="surrogateescape").split("\0"))
    return {key: value for key, sign, value in pairs if sign}
