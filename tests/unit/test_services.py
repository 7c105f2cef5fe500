"""What the services of a stack are started with."""

from __future__ import annotations

import prefect.settings

from blocks.services import QUIET_LOOPS


def test_every_quiet_loop_is_a_setting_of_prefect() -> None:
    assert [each for each in QUIET_LOOPS if not hasattr(prefect.settings, each)] == []
    assert not hasattr(prefect.settings, "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_MINUTES")
