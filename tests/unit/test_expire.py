"""Which versions of the encryption key go with the backups that needed them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blocks import catalog
from blocks.agent.spec import Artifact, Release
from blocks.backups import Found
from blocks.host.home import Home
from blocks.host.secret_files import ENCRYPTION_KEY
from blocks.signature import key_mark
from blocks.site import here
from blocks.spec import SERVER, TOOLS, build_spec
from blocks.stack import Stack
from flows.expire import drop_keys
from tests.unit.test_backups import backup

RELEASE = Release("r1", Artifact("lock.txt", "0" * 64))


@pytest.fixture
def stack(home: Home) -> Stack:
    """A stack whose key was rotated twice, and a third time by a run that was killed before the end."""
    spec = build_spec({"home": str(home.root)}, "test")
    made = catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {ENCRYPTION_KEY: 3})
    made.secrets.ensure(ENCRYPTION_KEY, lambda: "key 1")
    for number in (2, 3, 4):
        made.secrets.add_version(ENCRYPTION_KEY, f"key {number}")
    return made


def found(*keys: str) -> Found:
    return Found([replace(backup(1), key=key_mark(each)) for each in keys])


def test_a_key_stays_while_a_backup_names_it_and_so_do_the_promoted_one_and_what_comes_next(stack: Stack) -> None:
    drop_keys(stack, found("key 2", "key 3"))
    assert stack.secrets.versions(ENCRYPTION_KEY) == (2, 3, 4)
    drop_keys(stack, found("key 3"))
    assert stack.secrets.versions(ENCRYPTION_KEY) == (3, 4)
    drop_keys(stack, found())
    assert stack.secrets.versions(ENCRYPTION_KEY) == (3, 4)


def test_where_a_backup_cannot_be_read_no_key_goes(stack: Stack) -> None:
    drop_keys(stack, replace(found("key 3"), unreadable={"20261124T120000Z-000000": "it is damaged"}))
    assert stack.secrets.versions(ENCRYPTION_KEY) == (1, 2, 3, 4)


def test_a_foreign_or_unsigned_backup_keeps_its_key_too(stack: Stack) -> None:
    drop_keys(stack, Found([], foreign=found("key 1").own, unsigned=found("key 2").own))
    assert stack.secrets.versions(ENCRYPTION_KEY) == (1, 2, 3, 4)
