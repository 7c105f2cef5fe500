"""`python -m tests.lab.load`, in a machine: clients without retries call its stack until standard input ends.

Prints how many calls there were, and the faults of those that failed, as JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.traffic import UNHURRIED, clients

CLIENTS = 4


def main(address: str, secret: Path) -> None:
    with clients(CLIENTS, address, secret.read_text("utf-8").strip(), UNHURRIED) as traffic:
        traffic.wait_for(CLIENTS)
        print("calling", flush=True)
        sys.stdin.read()
        traffic.wait_for(CLIENTS)
    print(json.dumps({"calls": len(traffic.calls), "faults": [each.fault for each in traffic.failed()]}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
