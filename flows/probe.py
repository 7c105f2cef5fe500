"""The smallest flow that shows a worker works: one task, one log line."""

from __future__ import annotations

from typing import Annotated

from prefect import flow, task
from prefect.logging import get_run_logger
from pydantic import Field

Question = Annotated[str, Field(min_length=1, max_length=200)]


@task
def answer(question: str) -> str:
    """Log the question and give it back."""
    get_run_logger().info("probe answers %s", question)
    return question


@flow
def probe(question: Question = "are you there?") -> str:
    """See that a worker takes a run, runs its task and sends its log.

    Args:
        question: Any text; it is found again in the log of the task run.
    """
    return answer(question)
