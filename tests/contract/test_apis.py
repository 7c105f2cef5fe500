"""Google's APIs in a project where nothing is enabled yet; and what is refused until they are known everywhere."""

from __future__ import annotations

import pytest

from blocks.errors import Blocked
from blocks.gcp.account import ServiceAccount
from blocks.gcp.apis import NEEDED, Apis
from blocks.gcp.network import Network
from blocks.gcp.registry import Registry
from blocks.resource import Apply, converge, plan, visit, visit_to_delete
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


def test_a_fresh_one_is_waited_for_so_that_what_needs_it_can_be_made(bare: google.Project) -> None:
    seen = bare.seen_by()
    account = f"trial-host@{bare.id}.iam.gserviceaccount.com"
    made = [Registry(seen, "trial", google.REGION), Network(seen, "trial", google.REGION, account).resources()[0]]
    converge([Apis(seen), ServiceAccount(seen, "trial", "host"), *made])
    assert seen.number.isdigit() and plan(made) == []


def test_a_project_that_nobody_pays_for_is_told_with_where_that_is_mended(bare: google.Project) -> None:
    bare.cloud.world.projects[bare.id].billing = False
    with pytest.raises(Blocked, match="it has no billing account") as caught:
        visit(Apis(bare.seen_by()), Apply())
    assert caught.value.hint.endswith(f"linkedaccount?project={bare.id}")


def test_whoever_may_not_is_told_what_was_tried(bare: google.Project) -> None:
    with pytest.raises(Blocked, match="reading which APIs are enabled: "):
        plan([Apis(bare.seen_by("user:stranger@example.com"))])
