"""The process of a run on the pool `maintenance`: Prefect's engine with one of our own flows.

`prefect.engine` would load the flow as its deployment says at that moment, its pull steps and all; and it would read
the run's result as its state on the server says, which may name a pickle of anybody's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect._internal.control_listener import configure_from_env
from prefect.engine import handle_engine_signals
from prefect.filesystems import LocalFileSystem
from prefect.flow_engine import load_flow_run, run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.logging.loggers import flow_run_logger
from prefect.settings import PREFECT_HOME


def main(entrypoint: str, flow_run_id: UUID) -> None:
    """Run that flow as this flow run."""
    configure_from_env()  # the channel on which the worker tells a cancellation
    with handle_engine_signals(flow_run_id):
        flow_run = load_flow_run(flow_run_id)
        flow: Flow[Any, Any] = load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)
        # Never the server's default storage, which may hold pickles of anybody's.
        flow.result_storage = LocalFileSystem(basepath=str(Path(PREFECT_HOME.value()) / "storage"))
        logger: Any = flow_run_logger(flow_run)
        run_flow(flow, flow_run=flow_run, error_logger=logger, return_type="state")


if __name__ == "__main__":
    main(sys.argv[1], UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
