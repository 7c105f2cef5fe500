"""What a call of the command line imports: a verb of a stack on this machine waits for nothing of Google's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from blocks.host.home import Home
from tests.unit.test_cli import saved

ROOT = Path(__file__).resolve().parents[2]
CALL = """
import sys
from flows.cli import main
sys.argv = ["selfhost", *sys.argv[1:]]
try:
    main.main()
except SystemExit:
    pass
from blocks import catalog, targets
from blocks.host.home import Home
if Home(__import__("pathlib").Path(sys.argv[-1])).mark.exists():
    catalog.in_home(Home(__import__("pathlib").Path(sys.argv[-1]))).outside()
found = sorted(each for each in sys.modules if each.startswith(("google.auth", "google.cloud", "blocks.gcp.", "grpc")))
print("imported:", " ".join(found))
"""


@pytest.mark.parametrize("words", [("--help",), ("lease", "--home")])
def test_nothing_of_googles_is_imported_for_this_machine(words: tuple[str, ...], home: Home) -> None:
    saved(home, name="trial")
    where = [str(home.root)] if words[-1] == "--home" else []
    done = subprocess.run(
        [sys.executable, "-c", CALL, *words, *where], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1].strip() == "imported:", done.stdout + done.stderr
