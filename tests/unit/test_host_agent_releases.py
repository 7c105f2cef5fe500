"""Releases made by the real uv, from a wheel made here and no index."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import os
import shutil
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.agent.releases import NOBODY, ReleaseFailed, Tools, install, is_whole, locked_names
from blocks.agent.spec import Artifact, Release
from blocks.host.interpreter import base_python, uv_binary

TOOLS = Tools(base_python(), uv_binary())


def make_wheel(folder: Path, name: str, code: str) -> Path:
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}/__init__.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(path, "w") as wheel:
        for target, text in files.items():
            wheel.writestr(target, text)
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            lines.append(f"{target},sha256={digest},{len(text)}\n")
        wheel.writestr(f"{info}/RECORD", "".join([*lines, f"{info}/RECORD,,\n"]))
    return path


def put(store: Path, path: Path) -> Artifact:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (store / "sha256").mkdir(parents=True, exist_ok=True)
    shutil.copy(path, store / "sha256" / digest)
    return Artifact(path.name, digest)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def release(tmp_path: Path, store: Path) -> Release:
    locked, own = (
        make_wheel(tmp_path, "tiny_locked", "X = 1\n"),
        make_wheel(tmp_path, "tiny_own", "import tiny_locked\n"),
    )
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"tiny-locked==1.0 \\\n    --hash=sha256:{hashlib.sha256(locked.read_bytes()).hexdigest()}\n")
    return Release("1.0-abc", put(store, lock), (put(store, locked), put(store, own)), ("tiny_own",))


def test_a_release_is_installed_once_and_a_half_made_one_again(
    tmp_path: Path, store: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    root = tmp_path / "releases"
    assert install(release, root, store, TOOLS) is True
    assert is_whole(release, root)
    folder = root / release.id
    packages = next(folder.glob("lib/python*/site-packages"))
    assert list((packages / "tiny_own" / "__pycache__").iterdir())
    assert folder.stat().st_mode & 0o055 == 0o055
    assert (root / f".{release.id}.lock").stat().st_mode & 0o777 == 0o600  # who may read it may lock it
    assert not [each for each in root.rglob("*") if each.lstat().st_mode & 0o022 and not each.is_symlink()]
    assert not [each for each in root.iterdir() if each.name.endswith(".artifacts")]

    before = folder.stat().st_ino
    assert install(release, root, store, TOOLS) is False and folder.stat().st_ino == before

    (folder / "complete").unlink()
    (packages / "tiny_own" / "__init__.py").unlink()
    assert install(release, root, store, TOOLS) is True
    assert (packages / "tiny_own" / "__init__.py").exists()


def test_other_artifacts_under_one_id_are_installed_anew(tmp_path: Path, store: Path, release: Release) -> None:
    root = tmp_path / "releases"
    install(release, root, store, TOOLS)
    own = make_wheel(tmp_path, "tiny_own", "import tiny_locked, sys\n")
    other = dataclasses.replace(release, wheels=(release.wheels[0], put(store, own)))
    assert not is_whole(other, root)
    assert install(other, root, store, TOOLS) is True


def test_a_damaged_or_missing_artifact_is_named(tmp_path: Path, store: Path, release: Release) -> None:
    path = store / "sha256" / release.wheels[1].sha256
    path.write_bytes(b"broken")
    with pytest.raises(ReleaseFailed, match=r"tiny_own-1.0-py3-none-any.whl is damaged"):
        install(release, tmp_path / "releases", store, TOOLS)
    path.unlink()
    with pytest.raises(ReleaseFailed, match="is not in the store"):
        install(release, tmp_path / "releases", store, TOOLS)
    assert not is_whole(release, tmp_path / "releases")


def test_the_hashes_of_the_lock_are_required(tmp_path: Path, store: Path, release: Release) -> None:
    lock = tmp_path / "wrong.txt"
    lock.write_text(f"tiny-locked==1.0 --hash=sha256:{'0' * 64}\n")
    wrong = dataclasses.replace(release, lock=put(store, lock))
    with pytest.raises(ReleaseFailed, match=r"(?s)release 1.0-abc: uv pip install failed .*[Hh]ash"):
        install(wrong, tmp_path / "releases", store, TOOLS)


def test_what_does_not_import_is_not_whole(tmp_path: Path, store: Path, release: Release) -> None:
    broken = dataclasses.replace(release, smoke=("tiny_own", "not_there"))
    with pytest.raises(ReleaseFailed, match=r"(?s)smoke imports failed .*No module named 'not_there'"):
        install(broken, tmp_path / "releases", store, TOOLS)
    assert not is_whole(broken, tmp_path / "releases")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that any user can pass through: pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="sh-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def test_packages_that_anybody_chose_are_executed_by_root_in_no_way(open_folder: Path) -> None:
    """As their build, as a line of a `.pth` file, as an import: a worker's own release may have any."""
    marker = open_folder / "marker"
    tell = f"import os; open({str(marker)!r}, 'a').write(str(os.geteuid()))"
    locked = make_wheel(open_folder, "tiny_locked", "raise RuntimeError(__import__('os').geteuid())\n")
    with zipfile.ZipFile(locked, "a") as archive:
        archive.writestr("tiny_locked.pth", tell + "\n")
    own = make_wheel(open_folder, "tiny_own", "")
    lock, store = open_folder / "requirements.txt", open_folder / "store"
    lock.write_text(f"tiny-locked==1.0 --hash=sha256:{hashlib.sha256(locked.read_bytes()).hexdigest()}\n")
    wheels = (put(store, locked), put(store, own))
    made = Release("1.0-abc", put(store, lock), wheels, untrusted=True)
    assert install(made, open_folder / "releases", store, TOOLS)
    assert not marker.exists()
    (open_folder / "releases/1.0-abc/complete").unlink()
    tried = dataclasses.replace(made, smoke=("tiny_locked",))
    whose = os.geteuid() or NOBODY
    with pytest.raises(ReleaseFailed, match=f"tiny_locked cannot be imported: RuntimeError: {whose}"):
        install(tried, open_folder / "releases", store, TOOLS)
    assert not marker.exists() or marker.read_text() == str(whose)


def test_nothing_is_built(tmp_path: Path, store: Path, release: Release) -> None:
    """A source package says itself what is executed then."""
    source = tmp_path / "tiny_locked-1.0.tar.gz"
    files = {
        "PKG-INFO": "Metadata-Version: 2.2\nName: tiny-locked\nVersion: 1.0\n",
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "built"\nbackend-path = ["."]\n'
        '[project]\nname = "tiny-locked"\nversion = "1.0"\n',
        "built.py": f"open({str(tmp_path / 'marker')!r}, 'w').close()\n",
    }
    with tarfile.open(source, "w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"tiny_locked-1.0/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    lock = tmp_path / "source.txt"
    lock.write_text(f"tiny-locked==1.0 --hash=sha256:{hashlib.sha256(source.read_bytes()).hexdigest()}\n")
    wheels = (put(store, source), release.wheels[1])
    with pytest.raises(ReleaseFailed, match="uv pip install failed"):
        install(dataclasses.replace(release, lock=put(store, lock), wheels=wheels), tmp_path / "releases", store, TOOLS)
    assert not (tmp_path / "marker").exists()


def test_without_uv_it_says_so(tmp_path: Path, store: Path, release: Release) -> None:
    with pytest.raises(ReleaseFailed, match="/no/uv"):
        install(release, tmp_path / "releases", store, Tools(sys.executable, "/no/uv"))
    assert not is_whole(release, tmp_path / "releases")


def test_names_in_a_lock() -> None:
    lock = "# x\nA.b_C==1 \\\n    --hash=sha256:0\nuvicorn[standard]==2 ; python_version > '3'\n--no-index\n"
    assert locked_names(lock) == {"a-b-c", "uvicorn"}
