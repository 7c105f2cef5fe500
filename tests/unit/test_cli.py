"""`selfhost` as it is called: exit statuses, one clear line, nothing touched; a few times in a process of its own."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from blocks import ledgers
from blocks.agent.spec import Artifact, Release
from blocks.errors import WrongCall
from blocks.host import secret_files
from blocks.host.home import Home, claim
from blocks.spec import SERVER, TOOLS, read_spec
from flows.cli import main as cli
from flows.cli.where import Where
from tests.in_process import selfhost
from tests.unit.test_lease import LEAVE

ROOT = Path(__file__).resolve().parents[2]
RELEASE = Release("3.8.8-0123456789ab", Artifact("lock.txt", "0" * 64))


def in_a_process(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call it without a terminal, in a folder of the test's, with no home named by the environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("SELFHOST_", "PREFECT_"))}
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def saved(home: Home, **data: object) -> None:
    """Make a home look like one that was bootstrapped with this spec."""
    claim(home, str(data.get("name", "prefect")))
    spec = read_spec(None, {"local.home": str(home.root), **data})
    ledgers.of(home).write_wanted(spec.model_dump(mode="json"), {SERVER: RELEASE, TOOLS: RELEASE})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bootstrap", "--prot", "1"], "Unknown option"),
        (["bootstrap", "--port", "many"], "--port"),
        (["bootstrap", "--port", "70000"], "ports.public"),
        (["bootstrap", "--name", "UPPER"], "name: String should match"),
        (["bootstrap", "--spec", "absent.toml"], "no spec file at absent.toml"),
        (["frobnicate"], "frobnicate"),
        (["plan", "--yes"], "Unknown option"),
    ],
)
def test_wrong_call_is_exit_status_2_and_one_line(arguments: list[str], text: str, tmp_path: Path) -> None:
    done = selfhost(*arguments, folder=tmp_path)
    assert done.returncode == 2
    error, hint, *more = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert text in error
    assert hint.startswith("hint: ")
    assert more == []
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["status", "start", "stop", "connect", "logs", "open"])
def test_where_no_stack_is_there_is_a_failure_with_a_hint(command: str, tmp_path: Path) -> None:
    done = selfhost(command, "--home", str(tmp_path / "absent"), folder=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^error: (there is no stack|no stack has been bootstrapped) in ", done.stderr, re.M)
    assert "selfhost bootstrap makes one" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "absent").exists()


def test_unknown_key_of_the_spec_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text("[ports]\npublik = 1\n")
    done = selfhost("bootstrap", folder=tmp_path)
    assert done.returncode == 2
    assert "error: stack.toml: local.ports.publik: unknown key" in done.stderr


def test_unsupported_version_says_why(tmp_path: Path) -> None:
    (tmp_path / "stack.toml").write_text('prefect_version = "3.8.1"\n')
    done = selfhost("plan", folder=tmp_path)
    assert done.returncode == 2
    assert "task runs are silently never stored" in done.stderr


def test_another_stacks_home_is_refused_before_anything_is_made(home: Home) -> None:
    claim(home, "theirs")
    before = sorted(home.root.iterdir())
    done = selfhost("bootstrap", "--home", str(home.root), "--name", "ours", folder=home.root.parent)
    assert done.returncode == 2
    assert "belongs to the stack 'theirs', not 'ours'" in done.stderr
    assert sorted(home.root.iterdir()) == before


def test_damaged_mark_is_one_line(home: Home) -> None:
    home.root.mkdir()
    home.mark.write_text("{")
    done = selfhost("bootstrap", "--home", str(home.root), folder=home.root.parent)
    assert done.returncode == 1
    assert "the ownership mark" in done.stderr
    assert "Traceback" not in done.stderr


def test_connect_says_which_prefects_others_may_install(home: Home) -> None:
    saved(home, public_url="https://prefect.example.org")
    secret_files.ensure(home.secrets, secret_files.AUTH_STRING, secret_files.new_auth_string)
    done = in_a_process("connect", "--home", str(home.root), folder=home.root.parent)
    assert done.returncode == 0, done.stderr
    assert "  pip install 'prefect>=3.6.14,<=3.8.8'" in done.stdout.splitlines()
    assert "  export PREFECT_API_URL=https://prefect.example.org/api" in done.stdout.splitlines()


def test_destroy_without_a_person_wants_yes_and_touches_nothing(home: Home) -> None:
    saved(home)
    done = selfhost("destroy", "--home", str(home.root), folder=home.root.parent)
    assert done.returncode == 2
    assert "hint: say --yes" in done.stderr
    assert ledgers.of(home).has_wanted()


@pytest.mark.parametrize(
    ("owner", "status", "text"),
    [("theirs", 2, "belongs to the stack 'theirs', not 'ours'"), (None, 1, "there is no stack in")],
)
def test_destroy_refuses_what_is_not_the_named_stack(home: Home, owner: str | None, status: int, text: str) -> None:
    home.root.mkdir()
    (home.root / "thesis.tex").touch()
    if owner:
        claim(home, owner)
    done = selfhost("destroy", "--yes", "--name", "ours", "--home", str(home.root), folder=home.root.parent)
    assert done.returncode == status
    assert text in done.stderr
    assert (home.root / "thesis.tex").exists()


def test_second_at_the_same_time_is_told_who_is_at_it(home: Home) -> None:
    saved(home)
    lease = ledgers.of(home).acquire("bootstrap")
    done = in_a_process("destroy", "--yes", "--home", str(home.root), folder=home.root.parent)
    lease.release()
    assert done.returncode == 1
    assert f"process {os.getpid()}" in done.stderr
    assert "for: bootstrap" in done.stderr
    assert ledgers.of(home).has_wanted()


def test_logs_names_what_there_is(home: Home) -> None:
    saved(home)
    home.logs.mkdir()
    (home.logs / "nginx.log").write_text("one\ntwo\nthree\n")
    where = ["--home", str(home.root)]
    assert in_a_process("logs", *where, folder=home.root).stdout == "nginx\n"
    assert in_a_process("logs", "nginx", "-n", "2", *where, folder=home.root).stdout == "two\nthree\n"
    done = in_a_process("logs", "../secrets/auth-string", *where, folder=home.root)
    assert done.returncode == 2
    assert "hint: there are nginx" in done.stderr


@pytest.mark.parametrize(
    ("server", "said"), [("500", "the server at 127.0.0.1:{port}: it answers 500"), ("", "127.0.0.1:{port}: ")]
)
def test_a_server_that_dies_under_a_call_is_said_in_one_line(
    server: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(int(server))

    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        port = listening.server_port
        thread = threading.Thread(target=listening.handle_request)
        if server:
            thread.start()
        else:
            listening.socket.close()
        monkeypatch.setattr(cli, "app", lambda **_: httpx.get(f"http://127.0.0.1:{port}/").raise_for_status())
        assert cli.main() == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]  # before them the server's own log
    assert said.format(port=port) in error and hint.startswith("hint: its disk may be full (df)")


def test_says_its_version(tmp_path: Path) -> None:
    done = in_a_process("--version", folder=tmp_path)
    assert done.stdout.strip() == importlib.metadata.version("prefect-selfhost")


def test_help_names_every_command(tmp_path: Path) -> None:
    done = selfhost("--help", folder=tmp_path)
    assert done.returncode == 0
    commands = ("bootstrap", "plan", "status", "start", "stop", "destroy", "connect", "logs", "open")
    assert not [each for each in commands if each not in done.stdout]


def test_saved_spec_counts_where_nothing_else_is_said(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(home, name="trial", **{"local.ports.public": 5000})
    assert Where(home=home.root).wanted().local.ports.public == 5000
    changed = Where(home=home.root, port=6000).wanted()
    assert (changed.name, changed.local.ports.public, changed.local.ports.of_server) == ("trial", 6000, 6001)


def test_spec_file_of_the_folder_counts_before_the_saved_one(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(home, **{"local.ports.public": 5000})
    (tmp_path / "stack.toml").write_text("[ports]\npublic = 7000\n")
    assert Where(home=home.root).wanted().local.ports.public == 7000
    (tmp_path / "other.toml").write_text("[ports]\npublic = 8000\n")
    assert Where(spec=Path("other.toml"), home=home.root).wanted().local.ports.public == 8000


def test_verbs_of_a_stack_that_is_there_use_what_it_was_made_with(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(home, **{"local.ports.public": 5000})
    (tmp_path / "stack.toml").write_text("[ports]\npublic = 7000\n")
    spec, found = Where(home=home.root).saved()
    assert (spec.local.ports.public, found) == (5000, home)


def test_a_relative_home_is_one_below_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Where(home=Path("here")).wanted().local.home == str(tmp_path / "here")


def test_wrong_option_over_the_saved_spec_is_a_wrong_call(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(home)
    monkeypatch.chdir(home.root)
    with pytest.raises(WrongCall, match=r"local\.ports\.public"):
        Where(home=home.root, port=0).wanted()


def test_the_lease_of_a_dead_holder_is_shown_and_broken_for_a_reason_that_is_kept(home: Home, tmp_path: Path) -> None:
    saved(home)
    where = ("--home", str(home.root))
    assert "nobody holds the lease" in selfhost("lease", *where, folder=tmp_path).stdout
    with subprocess.Popen(
        [sys.executable, "-c", LEAVE, str(home.root)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline().split()[1])
        living = selfhost("lease", "--break", "it takes long", *where, folder=tmp_path)
        assert living.returncode == 1 and "its holder lives" in living.stderr
        holder.kill()
    shown = selfhost("lease", *where, folder=tmp_path)
    assert shown.returncode == 0 and f"(process {holder.pid})" in shown.stdout and "for: restore" in shown.stdout
    assert selfhost("lease", "--break", " ", *where, folder=tmp_path).returncode == 2
    assert not ledgers.of(home).is_free() and not (home.logs / "lease.log").exists()
    broken = selfhost("lease", "--break", "the restore\nwas killed", *where, folder=tmp_path)
    assert broken.returncode == 0 and f"ended processes {child} " in broken.stdout
    assert "nobody holds the lease" in selfhost("lease", *where, folder=tmp_path).stdout
    (line,) = in_a_process("logs", "lease", *where, folder=tmp_path).stdout.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC \S+@\S+ broke the lease for: the restore was killed; ", line)
    assert f"(process {holder.pid})" in line and line.endswith(f"ended processes: {child}")


def test_a_copy_of_a_home_is_no_way_to_destroy_the_stack_it_was_copied_from(home: Home, tmp_path: Path) -> None:
    saved(home)
    copy = tmp_path / "copy"
    shutil.copytree(home.root, copy)
    refused = selfhost("destroy", "--home", str(copy), "--yes", folder=tmp_path)
    assert refused.returncode == 1 and f"{copy} is a copy of the stack in {home.root}" in refused.stderr
    assert ledgers.of(home).has_wanted() and ledgers.of(Home(copy)).has_wanted()
