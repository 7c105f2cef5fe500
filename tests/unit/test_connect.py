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
from blocks.site import url
from blocks.spec import read_spec
from flows.cli.profile import write_profile
spec = read_spec(None, {"name": "trial", "local.ports.public": 4300, "public_url": sys.argv[1] or None})
print(write_profile(spec.name, url(spec), sys.stdin.read()))
"""


def connected(home: Path, auth_string: str = "admin:open-sesame", public_url: str = "") -> Path:
    """Write the profile in a process whose Prefect lives in `home`; path of the profiles file."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, public_url],
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


def test_links_that_prefect_prints_by_the_profile_lead_to_the_public_url(tmp_path: Path) -> None:
    home = connected(tmp_path / "prefect", public_url="https://prefect.example.org").parent
    script = "from prefect.settings import get_current_settings; print(get_current_settings().ui_url)"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment | {"PREFECT_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "https://prefect.example.org"


def test_profiles_of_the_user_stay_and_ours_is_written_anew(tmp_path: Path) -> None:
    own = '[profiles.mine]\nPREFECT_API_URL = "https://example.org/api"\n'
    (tmp_path / "profiles.toml").write_text('active = "mine"\n' + own)
    connected(tmp_path)
    path = connected(tmp_path, "admin:another")
    found = tomllib.loads(path.read_text("utf-8"))
    assert found["profiles"]["mine"] == {"PREFECT_API_URL": "https://example.org/api"}
    assert found["profiles"]["trial"]["PREFECT_API_AUTH_STRING"] == "admin:another"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


RENEW = """
import sys
from pathlib import Path
from flows.cli.profile import renew_profile
path, port = Path(sys.argv[1]), int(sys.argv[2])
print(renew_profile("trial", f"http://127.0.0.1:{port}", sys.stdin.read(), path))
"""


def renewed(path: Path, elsewhere: Path, port: int = 4300) -> bool:
    """Renew the profile in a process whose Prefect lives elsewhere, as that of a verb which is a run on the server."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", RENEW, str(path), str(port)],
        cwd=ROOT,
        env=environment | {"PREFECT_HOME": str(elsewhere), "HOME": str(elsewhere)},
        input="admin:renewed",
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[-1] == "True"


def test_our_profile_gets_a_new_auth_string_and_nothing_else_changes(tmp_path: Path) -> None:
    path = connected(tmp_path / "prefect")
    path.write_text(path.read_text().replace('active = "trial"', 'active = "mine"') + "[profiles.mine]\n")
    before = tomllib.loads(path.read_text("utf-8"))
    assert renewed(path, tmp_path / "elsewhere")
    after = tomllib.loads(path.read_text("utf-8"))
    assert after["profiles"]["trial"].pop("PREFECT_API_AUTH_STRING") == "admin:renewed"
    del before["profiles"]["trial"]["PREFECT_API_AUTH_STRING"]
    assert after == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_there_is_none_of_ours_nothing_is_written(tmp_path: Path) -> None:
    assert not renewed(tmp_path / "profiles.toml", tmp_path / "elsewhere")
    assert not (tmp_path / "profiles.toml").exists()
    path = connected(tmp_path / "prefect")
    before = path.read_text()
    assert not renewed(path, tmp_path / "elsewhere", port=4400), "it is for another server"
    assert path.read_text() == before
