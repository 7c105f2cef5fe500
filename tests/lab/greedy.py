"""A flow of a user's that takes all the memory it can get."""

from __future__ import annotations

from prefect import flow


@flow
def eat(megabytes: int) -> int:
    return sum(map(len, [b"x" * 1_000_000 for _ in range(megabytes)]))
