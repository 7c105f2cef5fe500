"""First boot of a VM: `settle` makes its home out of an empty disk and the bucket; on the emulator, without systemd."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from blocks.agent import processes
from blocks.agent.config import Layout, load_config
from blocks.agent.mark import Bucket
from blocks.agent.settling import CannotSettle, Settlement, Settling
from blocks.host.bundle import build_agent
from blocks.host.home import Home
from blocks.requests import Requests
from tests import google, vm

UV = b"#!/bin/sh\nexit 0\n"
DIGEST = hashlib.sha256(UV).hexdigest()


@pytest.fixture(scope="module")
def made() -> vm.Vm:
    found = vm.vm()
    found.store.write(f"sha256/{DIGEST}", UV, if_generation=0)
    return found


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "downloaded.pyz"
    path.write_bytes(build_agent())
    return path


@pytest.fixture
def wanted(made: vm.Vm, tmp_path: Path) -> Settlement:
    bucket = Bucket(made.bucket, made.project.id, google.REGION)
    emulated = (made.metadata, f"{made.project.address}/storage", f"{made.project.address}/secretmanager")
    return Settlement(tmp_path / "home", vm.STACK, "id-1", bucket, DIGEST, *emulated, manager="circus")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Archives that were started, instead of starting them."""
    found: list[bytes] = []

    def start(settling: Settling) -> str:
        found.append(settling._layout.archive.read_bytes())
        return "" if found[-1] == build_agent() else "the host agent does not start: bad zip"

    monkeypatch.setattr(Settling, "_started", start)
    return found


def stage(made: vm.Vm, name: str) -> str:
    found = made.store.read(f"boot/{name}")
    return json.loads(found.content)["said"] if found else ""


def settle(wanted: Settlement, archive: Path, sleep: Callable[[float], None] = lambda _: None) -> None:
    Settling(wanted, archive, sleep).run()


def content(root: Path) -> dict[str, bytes]:
    """All files below a home, but for when it was marked."""
    found = {str(each.relative_to(root)): each.read_bytes() for each in root.rglob("*") if each.is_file()}
    found["stack.json"] = json.dumps(json.loads(found["stack.json"]) | {"created": ""}).encode()
    return found


@pytest.fixture
def running(wanted: Settlement) -> Iterator[Layout]:
    layout = Layout(wanted.home)
    yield layout
    command = [sys.executable, "-I", "-S", str(layout.archive), "stop", "--home", str(layout.home)]
    subprocess.run(command, check=True, timeout=60, capture_output=True)


def test_an_empty_vm_becomes_a_host_whose_agent_runs_and_reports(
    wanted: Settlement, made: vm.Vm, archive: Path, running: Layout
) -> None:
    options = {"home": wanted.home, "stack": wanted.stack, "identity": "id-1", "uv": DIGEST, "manager": "circus"}
    options |= {"bucket": made.bucket, "project": made.project.id, "region": google.REGION}
    options |= {"metadata": wanted.metadata, "storage": wanted.storage, "secret-manager": wanted.secret_manager}
    argv = [sys.executable, "-I", "-S", str(archive), "settle"]
    argv += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    for _ in range(2):  # at each boot
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert [each.partition(":")[2] for each in done.stdout.splitlines()] == [
            f" home: {wanted.home} is the home of trial", " uv: uv is there", " agent: the host agent runs",
        ]  # fmt: skip
    home = Home(wanted.home)
    assert (home.owner(), home.identity(), home.bucket) == ("trial", "id-1", wanted.bucket)
    assert load_config(wanted.home).bucket == made.bucket
    assert running.uv.read_bytes() == UV and running.uv.stat().st_mode & 0o777 == 0o755
    assert stage(made, "agent") == "the host agent runs"
    deadline = time.monotonic() + 20
    while (seen := Requests(made.store).status()) is None:
        assert time.monotonic() < deadline, running.log("agent").read_text()
        time.sleep(0.05)
    record = processes.from_data(json.loads(running.pid.read_text()))
    assert processes.is_alive(record) and record is not None and seen.agent_pid == record.pid
    assert seen.agent_sha256 == hashlib.sha256(build_agent()).hexdigest()


class Killed(BaseException):
    """SIGKILL at a moment of the test's choice: nothing is cleaned up."""


def test_it_may_be_killed_at_any_moment_and_ends_as_if_it_had_not(
    wanted: Settlement, archive: Path, started: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settling, "_say", lambda *_: None)
    settle(wanted, archive)
    whole, moments = content(wanted.home), 0
    makes = {"replace": Path.replace, "mkdir": Path.mkdir}
    while True:
        each = replace(wanted, home=tmp_path / f"killed-{moments}")
        left = [moments]

        def dies(name: str, left: list[int] = left) -> Callable[..., object]:
            def make(path: Path, *arguments: object, **more: object) -> object:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
                return makes[name](path, *arguments, **more)  # type: ignore[arg-type]

            return make

        with monkeypatch.context() as patched:
            for name in makes:
                patched.setattr(Path, name, dies(name))
            try:
                settle(each, archive)
                break  # with no moment left to be killed at
            except Killed:
                moments += 1
        settle(each, archive)
        assert {**content(each.home), "agent/config.json": b""} == {**whole, "agent/config.json": b""}
        assert load_config(each.home).bucket == wanted.bucket.name
    assert moments > 10 and len(started) == moments + 2


def test_an_agent_that_an_upgrade_has_brought_stays_and_one_that_does_not_start_is_replaced(
    wanted: Settlement, archive: Path, started: list[bytes]
) -> None:
    settle(wanted, archive)
    layout = Layout(wanted.home)
    layout.uv.write_bytes(b"newer")
    layout.archive.write_bytes(b"damaged")
    settle(wanted, archive)
    assert layout.uv.read_bytes() == b"newer"
    assert started == [build_agent(), b"damaged", build_agent()]
    archive.write_bytes(b"older")
    settle(wanted, archive)
    assert layout.archive.read_bytes() == build_agent()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stack": "other"}, "is the home of trial (id-1), not of other (id-1)"),
        ({"identity": "id-2"}, "is the home of trial (id-1), not of trial (id-2)"),
        ({"bucket": Bucket("elsewhere", "p", "r")}, "is the home of trial (id-1), not of trial"),
    ],
)
def test_another_stacks_home_is_refused(
    wanted: Settlement, made: vm.Vm, archive: Path, started: list[bytes], changes: dict[str, str], said: str
) -> None:
    settle(wanted, archive)
    before = content(wanted.home)
    with pytest.raises(CannotSettle) as caught:
        settle(replace(wanted, **changes), archive)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert content(wanted.home) == before and len(started) == 1


def test_a_folder_with_something_in_it_is_refused_and_that_is_told_in_the_bucket(
    wanted: Settlement, made: vm.Vm, archive: Path
) -> None:
    wanted.home.mkdir()
    (wanted.home / "letters").touch()
    with pytest.raises(CannotSettle):
        settle(wanted, archive)
    assert stage(made, "failed") == f"{wanted.home} is not empty and carries no mark of ours: letters"


def test_a_grant_that_is_on_its_way_is_waited_for(
    wanted: Settlement, made: vm.Vm, archive: Path, started: list[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    with made.project.fault("error", "storage.objects.*", code=403, message="No grant.", times=4):
        settle(wanted, archive, waited.append)
    assert len(waited) == 3 and len(started) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[1] == "settle: not told: writing boot/home: 403 No grant."
    assert told[2] == f"settle: waiting: fetching sha256/{DIGEST}: 403 No grant."
    assert stage(made, "home") == f"{wanted.home} is the home of trial"  # with the next stage


def test_what_is_not_in_the_bucket_is_told_at_once(wanted: Settlement, made: vm.Vm, archive: Path) -> None:
    with pytest.raises(CannotSettle, match=f"^fetching sha256/{'0' * 64}: 404 No such object"):
        settle(replace(wanted, uv="0" * 64), archive)
    assert "404" in stage(made, "failed")


def test_a_reboot_waits_for_nobody(wanted: Settlement, archive: Path, started: list[bytes]) -> None:
    settle(wanted, archive)
    away = Settling(replace(wanted, metadata="127.0.0.1:9"), archive)
    away._objects._client._sleep = lambda _: None
    away.run()
    assert len(started) == 2
