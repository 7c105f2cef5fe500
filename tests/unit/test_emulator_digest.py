"""When the emulator's own tests have to run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.emulator_digest import FOLDERS, is_tested, keep


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout for which they have passed."""
    for folder in FOLDERS:
        (tmp_path / folder).mkdir(parents=True)
    pins(tmp_path, "google-auth==2.62.2", "rich==15.0.0")
    (tmp_path / FOLDERS[0] / "app.py").write_text("one")
    assert not is_tested(tmp_path)
    keep(tmp_path)
    assert is_tested(tmp_path)
    return tmp_path


def pins(root: Path, *pins: str) -> None:
    (root / "pyproject.toml").write_text(f"[tool.uv]\nconstraint-dependencies = {list(pins)}\n")


def test_a_changed_new_or_moved_file_of_either_folder(root: Path) -> None:
    for path, text in ((FOLDERS[0] + "/app.py", "two"), (FOLDERS[1] + "/test_new.py", "")):
        (root / path).write_text(text)
        assert not is_tested(root)
        keep(root)
    (root / FOLDERS[0] / "app.py").rename(root / FOLDERS[0] / "other.py")
    assert not is_tested(root)


def test_another_client_of_googles_and_no_other_package(root: Path) -> None:
    pins(root, "google-auth==2.62.2", "rich==15.0.1")
    assert is_tested(root)
    pins(root, "google-auth==2.62.3", "rich==15.0.1")
    assert not is_tested(root)
