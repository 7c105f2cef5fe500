"""What `selfhost status --json` says of a stack whose front door is closed: the stable keys, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from blocks import catalog
from blocks.agent.spec import Artifact, Condition, Release
from blocks.errors import Blocked
from blocks.host.home import Home
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import Stack
from flows.status import probed_pools, report, require
from tests.postgres import free_port

RELEASE = Release("3.8.8-0123456789ab", Artifact("lock.txt", "0" * 64))


@pytest.fixture
def stack(home: Home) -> Stack:
    home.secrets.mkdir(parents=True)
    (home.secrets / "auth-string").write_text("admin:open-sesame")
    (home.secrets / "encryption-key").write_text("open-sesame-too")
    spec = build_spec(
        {
            "home": str(home.root),
            "ports": {"public": free_port()},
            "public_url": "https://prefect.example.org",
            "alerts": {"notification_block": "slack-webhook/ops"},
            "workers": [{"name": name, "pool": pool} for name, pool in (("a", "maintenance"), ("b", "x"), ("c", "x"))],
        },
        "test",
    )
    return catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {})


def test_closed_front_door_is_reported_whole(stack: Stack, home: Home) -> None:
    found = json.loads(json.dumps(report(stack)))
    assert list(found) == [
        "name",
        "target",
        "url",
        "api_url",
        "auth_string_file",
        "prefect_version",
        "healthy",
        "generation",
        "observed_generation",
        "services",
        "conditions",
    ]
    assert (found["url"], found["api_url"]) == ("https://prefect.example.org", "https://prefect.example.org/api")
    assert (found["healthy"], found["generation"], found["observed_generation"]) == (False, 0, 0)
    assert found["auth_string_file"] == str(home.secrets / "auth-string")
    assert "open-sesame" not in json.dumps(found)
    assert {each["type"]: each["status"] for each in found["conditions"]} == {
        "ServicesReady": False,
        "ExpectedVersion": False,
        "ClientsFit": True,
        "BackupRecent": False,
        "KeptDatabases": False,
        "AlertsReach": False,
    }  # what would only wait for the front door is left out
    assert all(
        list(each) == ["type", "status", "reason", "message"] and each["message"] for each in found["conditions"]
    )


def test_each_pool_is_probed_once(stack: Stack) -> None:
    assert probed_pools(stack) == ["maintenance", "x"]


@pytest.mark.parametrize("bad", [[], ["A"], ["A", "B"]])
def test_all_that_is_not_well_is_told_together(bad: Sequence[str]) -> None:
    conditions = [Condition(kind, kind not in bad, "Reason", f"about {kind}") for kind in ("A", "B", "C")]
    if not bad:
        require(conditions)
        return
    with pytest.raises(Blocked) as caught:
        require(conditions)
    assert caught.value.what == "; ".join(f"{kind}: about {kind}" for kind in bad)
