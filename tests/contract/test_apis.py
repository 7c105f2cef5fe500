"""Google's APIs in a project where nothing is enabled yet; and what is refused until they are known everywhere."""

from __future__ import annotations

import pytest

from blocks.errors import Blocked
from blocks.gcp.apis import NEEDED, Apis
from blocks.resource import Apply, plan, visit, visit_to_delete
from tests import google


@pytest.fixture
def bare() -> google.Project:
    return google.project("serviceusage.googleapis.com")


def test_those_that_are_needed_are_enabled_and_left_so(bare: google.Project) -> None:
    apis = Apis(bare.seen_by())
    (change,) = plan([apis])
    assert (change.action, set(change.fields) <= set(NEEDED)) == ("update", True)
    visit(apis, Apply())
    assert plan([apis]) == []
    visit_to_delete(apis, Apply())
    assert plan([apis]) == []


def test_a_fresh_one_is_waited_for(bare: google.Project) -> None:
    seen = bare.seen_by()
    visit(Apis(seen), Apply())
    asked = seen.wait(lambda: seen.number, "the project's number", seconds=300)
    assert asked.isdigit()


def test_whoever_may_not_is_told_what_was_tried(bare: google.Project) -> None:
    with pytest.raises(Blocked, match="reading which APIs are enabled: "):
        plan([Apis(bare.seen_by("user:stranger@example.com"))])
