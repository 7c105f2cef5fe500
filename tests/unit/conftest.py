"""What unit tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.host.home import Home


@pytest.fixture
def home() -> Iterator[Home]:
    """A home that is not there yet, with a path short enough for sockets: pytest's own folders are too long."""
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        yield Home(Path(folder) / "home")
