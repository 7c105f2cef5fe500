"""The flow of the outage bench: 14 tasks one after another, each logs one line. Prints its run's id at first.

python -m tests.bench.fourteen SECONDS_A_TASK
"""

from __future__ import annotations

import sys
import time

from prefect import flow, get_run_logger, task
from prefect.runtime import flow_run

TASKS = 14


@task
def work(number: int, seconds: float) -> int:
    get_run_logger().info("line of task %s", number)
    time.sleep(seconds)
    return number


@flow
def fourteen(seconds: float) -> int:
    sys.stdout.write(f"{flow_run.get_id()}\n")
    sys.stdout.flush()
    return sum(work(number, seconds) for number in range(TASKS))


if __name__ == "__main__":
    fourteen(float(sys.argv[1]))
