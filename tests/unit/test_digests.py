"""When tests that have passed for what is there have to run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.digests import SUBJECTS, Subject


@pytest.fixture(params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


@pytest.fixture
def root(tmp_path: Path, subject: Subject) -> Path:
    """A checkout for which its tests have passed."""
    for folder in subject.folders:
        (tmp_path / folder).mkdir(parents=True)
    pins(tmp_path, "google-auth==2.62.2", "rich==15.0.0")
    (tmp_path / subject.folders[0] / "app.py").write_text("one")
    assert not subject.has_passed(tmp_path)
    subject.keep(tmp_path)
    assert subject.has_passed(tmp_path)
    return tmp_path


def pins(root: Path, *pins: str) -> None:
    (root / "pyproject.toml").write_text(f"[tool.uv]\nconstraint-dependencies = {list(pins)}\n")


def test_a_changed_new_or_moved_file_of_either_folder(root: Path, subject: Subject) -> None:
    for path, text in ((subject.folders[0] + "/app.py", "two"), (subject.folders[1] + "/test_new.py", "")):
        (root / path).write_text(text)
        assert not subject.has_passed(root)
        subject.keep(root)
    (root / subject.folders[0] / "app.py").rename(root / subject.folders[0] / "other.py")
    assert not subject.has_passed(root)


def test_another_client_of_googles_and_no_other_package(root: Path, subject: Subject) -> None:
    pins(root, "google-auth==2.62.2", "rich==15.0.1")
    assert subject.has_passed(root)
    pins(root, "google-auth==2.62.3", "rich==15.0.1")
    assert not subject.has_passed(root)


def test_another_gcloud_for_those_that_use_it(
    root: Path, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sdk = tmp_path / "sdk"
    (sdk / "bin").mkdir(parents=True)
    (sdk / "bin/gcloud").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(sdk / "bin"))
    for version in ("528.0.0", "529.0.0"):
        (sdk / "VERSION").write_text(version)
        assert subject.has_passed(root) != subject.gcloud
        subject.keep(root)
