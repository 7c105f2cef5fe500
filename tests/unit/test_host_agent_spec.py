"""What the agent refuses to take up, and how it orders what it takes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blocks.agent.spec import (
    Artifact,
    File,
    HostSpec,
    HostStatus,
    InvalidSpec,
    Job,
    JobStatus,
    Release,
    Service,
    ServiceStatus,
    Socket,
    from_json,
    to_json,
)
from blocks.agent.validation import levels_of, read_spec

ARTIFACT = Artifact("lock.txt", "0" * 64)
GOOD = HostSpec(
    "s",
    1,
    releases=(Release("3.8.8-abc", ARTIFACT, (ARTIFACT,), ("prefect",)),),
    sockets=(Socket("web", "127.0.0.1", 4201),),
    files=(File("/etc/x", "y"),),
    services=(Service("server", ("/x",), sockets=("web",), files=("/etc/x",)),),
    jobs=(Job("migrate", ("/x",), "1", after=("server",)),),
)


def test_what_was_written_before_december_2026_is_read() -> None:
    """Its releases said which Python and uv had made them; so does what is wanted of a stack from then."""
    now = HostSpec("prefect", 1, releases=(Release("3.8.8-abc", ARTIFACT),))
    then = json.loads(to_json(now))
    then["releases"][0] |= {"python": "/usr/bin/python3", "uv": "/old/checkout/.venv/bin/uv"}
    del then["releases"][0]["versions"]
    assert read_spec(json.dumps(then)) == now


def test_a_good_spec_comes_back_as_it_was() -> None:
    assert read_spec(to_json(GOOD)) == GOOD


def test_a_status_comes_back_as_it_was() -> None:
    servers = (ServiceStatus("server-blue", "ready", "3.8.8", 7, 1.5, clients={"3.8.3": 1764268800.5, "3.8.8": 2}),)
    status = HostStatus(1, services=servers, jobs=(JobStatus("migrate", "1", "succeeded", 0),))
    assert from_json(HostStatus, to_json(status)) == status


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"services": (Service("a", ("/x",)), Service("a", ("/x",)))}, "$.services: 'a' is there 2 times"),
        ({"services": (Service("a", ()),), "jobs": ()}, "$.services[0].argv: empty"),
        ({"services": (Service("../a", ("/x",)),), "jobs": ()}, "$.services[0].name: '../a' is not a name"),
        ({"services": (Service("circusd", ("/x",)),), "jobs": ()}, "$.services[0].name: 'circusd' is the agent"),
        ({"services": (Service("a", ("/x",), sockets=("no",)),), "jobs": ()}, "there is no socket 'no'"),
        ({"services": (Service("a", ("/x",), files=("/no",)),), "jobs": ()}, "there is no file '/no'"),
        ({"services": (Service("a", ("/x",), after=("no",)),), "jobs": ()}, "there is no service 'no'"),
        ({"services": (Service("a", ("/x",), after=("a",)),), "jobs": ()}, "`after` goes in a circle"),
        ({"services": (Service("a", ("/x",), stop_signal="TERM"),), "jobs": ()}, "'TERM' is not a signal"),
        ({"services": (Service("a", ("/x",), secrets={"V": "../x"}),), "jobs": ()}, "'../x' cannot name a secret"),
        ({"sockets": (Socket("web", "127.0.0.1", 0),)}, "$.sockets[0].port: 0 is not between"),
        ({"files": (File("x", ""), File("/etc/x", ""))}, "$.files[0].path: expected an absolute path"),
        ({"releases": (Release("../x", ARTIFACT),)}, "$.releases[0].id: '../x' cannot name a folder"),
        ({"releases": (Release("x", Artifact("l", "0")),)}, "not 64 hexadecimal digits"),
        ({"releases": (Release("x", Artifact("a/b", "0" * 64)),)}, "'a/b' cannot name a file"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_with_its_path(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec) as refused:
        read_spec(to_json(dataclasses.replace(GOOD, **changes)))
    assert message in str(refused.value)
    assert str(refused.value).startswith("$.")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"stack": 1, "generation": 1}', '{"stack": "s"'])
def test_what_is_no_spec_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec):
        read_spec(text)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=30))
def test_levels_put_everything_after_what_it_needs(edges: list[tuple[int, int]]) -> None:
    after = {str(name): [str(low) for low, high in edges if high == name and low < name] for name in range(10)}
    levels = levels_of(after)
    place = {name: index for index, level in enumerate(levels) for name in level}
    assert place.keys() == after.keys()
    assert all(place[need] < place[name] for name, needs in after.items() for need in needs)
