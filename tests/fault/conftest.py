"""What a disturbed stack is compared with, and homes to disturb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack import Stack, scratch


@pytest.fixture(scope="session")
def undisturbed() -> Iterator[Stack]:
    """A stack which one bootstrap made without any disturbance; running."""
    with scratch("flt-") as stack:
        stack.bootstrap()
        yield stack


@pytest.fixture
def disturbed() -> Iterator[Stack]:
    """A stack that is not there yet, for a test to make and to disturb."""
    with scratch("flt-") as stack:
        yield stack
