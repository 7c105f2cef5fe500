"""What a disturbed stack is compared with, and homes to disturb."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fault.comparison import Undisturbed, settled
from tests.stack import Stack, scratch


@pytest.fixture(scope="session")
def undisturbed() -> Undisturbed:
    """What is true of a stack which one bootstrap made without any disturbance; it is gone again, as it costs CPU."""
    with scratch("flt-") as stack:
        steps = stack.bootstrap().steps
        return Undisturbed(settled(stack), frozenset(steps))


@pytest.fixture
def disturbed() -> Iterator[Stack]:
    """A stack that is not there yet, for a test to make and to disturb."""
    with scratch("flt-") as stack:
        yield stack
