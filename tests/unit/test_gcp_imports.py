"""What putting a stack at Google together imports."""

from __future__ import annotations

import subprocess
import sys

CALL = "import sys, blocks.gcp.parts; print('prefect' in sys.modules)"


def test_prefect_is_not_imported_before_its_settings_are_made() -> None:
    done = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
