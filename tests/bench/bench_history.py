"""How long backup, restore and upgrade take as a history grows: 1 k, 10 k and 100 k flow runs with all that is theirs.

    uv run python -m tests.bench.bench_history [--runs 1000 10000 100000]

Each history is in a stack of its own, made with the older version: first a backup with its drill, then a restore of it,
then the upgrade, each by its command, from the first second to its end. It prints and judges nothing: exit status 0.
40 minutes on two cores.
"""

from __future__ import annotations

import argparse
import time

from tests.bench import history
from tests.bench.bench_upgrade import NEW, OLD
from tests.stack import Stack, scratch

RUNS = [1_000, 10_000, 100_000]
MOST_SECONDS = 3600.0


def seconds(stack: Stack, *argv: str) -> float:
    began = time.monotonic()
    stack.run(*argv, seconds=MOST_SECONDS)
    return time.monotonic() - began


def measure(stack: Stack, runs: int) -> None:
    spec = stack.folder / "old.toml"
    spec.write_text(f'prefect_version = "{OLD}"\n')
    stack.bootstrap("--spec", str(spec))
    history.fill(stack.login, runs)
    megabytes = history.size(stack.login) / 1e6
    figures = [
        seconds(stack, "backup"),
        seconds(stack, "restore", "latest", "--yes"),
        seconds(stack, "upgrade", "--to", NEW),
    ]
    shown = " ".join(f"{each:>10.0f} {1000 * each / runs:>8.1f}" for each in figures)
    print(f"{runs:>9} {megabytes:>8.0f} {shown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, nargs="+", default=RUNS, help="lengths of the histories")
    columns = " ".join(f"{name:>10} {'ms/run':>8}" for name in ("backup, s", "restore, s", "upgrade, s"))
    print(f"     runs       MB {columns}", flush=True)
    for runs in parser.parse_args().runs:
        with scratch("bch-") as stack:
            measure(stack, runs)


if __name__ == "__main__":
    main()
