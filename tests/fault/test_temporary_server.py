"""The temporary server dies while a stack is made: one clear line, and the same command finishes."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.fault.comparison import Undisturbed, require_equal
from tests.fault.runs import disturbed_call, says_one_line_with_a_hint
from tests.stack import Stack

pytestmark = pytest.mark.fault


def test_the_temporary_server_and_then_its_database_die(disturbed: Stack, undisturbed: Undisturbed) -> None:
    for part in ("server", "postgres"):

        def kill(step: str, _: object, part: str = part) -> None:
            if step == "temporary server ready":
                record = json.loads((disturbed.home / f"bootstrap/{part}.json").read_text())
                os.kill(int(record["pid"]), signal.SIGKILL)

        done = disturbed_call(disturbed, ("bootstrap", *disturbed.where), kill)
        assert done.status == 1 and says_one_line_with_a_hint(done), done.output
        assert len(done.stderr.splitlines()[0]) < 500, done.output
    disturbed.bootstrap()
    require_equal(disturbed, undisturbed)
