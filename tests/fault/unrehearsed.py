"""`unrehearsed.py HOME VERSION`: the flow `upgrade`, without dump, drill and rehearsal, as if those had been done.

The Python of the stack's own release runs it, as a worker would. The report is the artifact of the run.
"""

from __future__ import annotations

import sys
from pathlib import Path

from blocks import ledgers
from blocks.host.home import Home
from blocks.spec import build_spec
from flows.cli import launch

home = Home(Path(sys.argv[1]))
launch.use_own_server(build_spec(dict(ledgers.of(home).wanted().spec), "what is wanted"), home)

from flows.upgrade import steps, upgrade  # noqa: E402 (Prefect reads its settings as it is imported)

steps.Upgrade.dump_and_rehearse = lambda self: None  # type: ignore[method-assign]
upgrade(to=sys.argv[2])
