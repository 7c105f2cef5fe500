"""One running stack for all that is done to a stack in use: a bootstrap takes half a minute or more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import Stack, bootstrapped


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """A stack, as the tests before left it: bootstrapped and running. It ends with this package, as it costs CPU."""
    with bootstrapped("day-") as made:
        yield made
