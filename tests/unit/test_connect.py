"""`selfhost connect` writes a profile among the user's own, as Prefect's own command reads it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys
from blocks.spec import read_spec
from flows.connect import write_profile
print(write_profile(read_spec(None, {"name": "trial", "ports.public": 4300}), sys.stdin.read()))
"""


def connected(home: Path, auth_string: str = "admin:open-sesame") -> Path:
    """Write the profile in a process whose Prefect lives in `home`; path of the profiles file."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env=environment | {"PREFECT_HOME": str(home), "HOME": str(home)},
        input=auth_string,
        capture_output=True,
        text=True,
        check=True,
    )
    assert auth_string not in done.stdout + done.stderr
    return Path(done.stdout.strip().splitlines()[-1])


def test_profile_is_active_and_closed_to_others(tmp_path: Path) -> None:
    path = connected(tmp_path / "prefect")
    found = tomllib.loads(path.read_text("utf-8"))
    assert found["active"] == "trial"
    assert found["profiles"]["trial"] == {
        "PREFECT_API_URL": "http://127.0.0.1:4300/api",
        "PREFECT_API_AUTH_STRING": "admin:open-sesame",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_profiles_of_the_user_stay_and_ours_is_written_anew(tmp_path: Path) -> None:
    own = '[profiles.mine]\nPREFECT_API_URL = "https://example.org/api"\n'
    (tmp_path / "profiles.toml").write_text('active = "mine"\n' + own)
    connected(tmp_path)
    path = connected(tmp_path, "admin:another")
    found = tomllib.loads(path.read_text("utf-8"))
    assert found["profiles"]["mine"] == {"PREFECT_API_URL": "https://example.org/api"}
    assert found["profiles"]["trial"]["PREFECT_API_AUTH_STRING"] == "admin:another"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
