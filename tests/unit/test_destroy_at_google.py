"""A stack at Google of which nobody knows any more what it consists of is not said to be gone."""

from __future__ import annotations

import pytest

from blocks.agent.mark import Bucket
from blocks.errors import Blocked
from blocks.host.home import Home, claim
from flows import destroy


def test_without_what_is_wanted_nothing_is_removed(home: Home) -> None:
    claim(home, "trial", "id-1", Bucket("trial-1f2e", "acme-data-42", "europe-west1"))
    with pytest.raises(Blocked, match="nothing at Google was removed") as told:
        destroy._remove_unknown(home, "trial")
    assert "selfhost bootstrap" in told.value.hint
    assert home.owner() == "trial"
