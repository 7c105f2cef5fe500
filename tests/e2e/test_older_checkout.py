"""A checkout from before there was a ledger, called for a stack that was carried over since."""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from blocks.agent.spec import Artifact, Release
from blocks.host.home import claim
from tests.stack import Stack, caller_environment, scratch

CHECKOUT = Path(__file__).parents[1] / "fault/before_december_2026.tar.xz"
"""Its sources, see `tests/fault/test_carried_over.py`."""
FORMER = {"spec": {"name": "trial"}, "releases": {"server": asdict(Release("r1", Artifact("lock.txt", "0" * 64)))}}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """The home of a stack which has been carried over, called from the older checkout."""
    with tarfile.open(CHECKOUT) as archive:
        archive.extractall(tmp_path, filter="data")
    with scratch() as stack:
        stack.command = (sys.executable, "-m", "flows.cli")
        stack.environment = caller_environment(PYTHONPATH=str(tmp_path))
        claim(stack.paths, stack.name)
        (stack.paths.agent).mkdir()
        (stack.paths.agent / "spec.json").write_text("{}")  # its host was given one, whatever that says
        (stack.home / "wanted.json").write_text(json.dumps(FORMER))
        stack.ledger.write_wanted({"name": stack.name}, {})
        stack.ledger.close_former()
        yield stack


def files(stack: Stack) -> set[Path]:
    return {each for each in stack.home.rglob("*") if each.name != "lease.json"}


def test_it_is_refused_with_the_way_out_and_changes_nothing(stack: Stack) -> None:
    (stack.folder / "spec.toml").write_text(f'name = "{stack.name}"\n')
    before = files(stack)
    by_file = ("bootstrap", *stack.where, "--spec", str(stack.folder / "spec.toml"))
    calls = [stack.start(*each) for each in (("bootstrap", *stack.where), by_file, ("upgrade", "--self", *stack.where))]
    for call in calls:
        _, said = call.communicate(timeout=60)
        assert call.returncode != 0 and "use bin/selfhost in this home" in said, said
    assert files(stack) == before
