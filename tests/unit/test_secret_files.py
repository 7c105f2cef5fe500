from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from blocks.errors import Blocked
from blocks.host.secret_files import (
    add_version,
    adopt,
    ensure,
    names,
    new_auth_string,
    new_encryption_key,
    new_password,
    publish,
    published,
    read,
    versions,
)


def test_made_once_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    assert ensure(folder, "a", lambda: "first") == 1
    assert ensure(folder, "a", lambda: "second") == 1
    assert read(folder, "a") == "first"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert sorted(each.name for each in folder.iterdir()) == ["a", "a@1"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()} == {0o600}


def test_of_many_that_race_one_wins(tmp_path: Path) -> None:
    start = threading.Barrier(4)
    results = []

    def race(number: int) -> None:
        def make() -> str:
            start.wait(10)
            return str(number)

        results.append(ensure(tmp_path, "a", make))

    threads = [threading.Thread(target=race, args=[number]) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    assert results == [1, 1, 1, 1]
    assert read(tmp_path, "a") == read(tmp_path, "a", 1)
    assert versions(tmp_path, "a") == (1,)


def test_one_that_could_not_be_made_is_not_there(tmp_path: Path) -> None:
    def fail() -> str:
        raise Blocked("no entropy")

    with pytest.raises(Blocked, match="no entropy"):
        ensure(tmp_path, "a", fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "cannot be read"), (b"", "is empty"), (b" \n", "is empty"), (b"\xff\xfe", "cannot be read")],
)
def test_reading_says_what_is_wrong_with_it(tmp_path: Path, content: bytes | None, text: str) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(Blocked, match=text) as caught:
        read(tmp_path, "a")
    assert str(tmp_path / "a") in caught.value.what
    assert caught.value.hint


def test_a_copy_put_back_with_a_line_end_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("value\n")
    assert read(tmp_path, "a") == "value"


def test_a_folder_from_before_versions_has_the_first_of_each_secret(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("value\n")
    (tmp_path / "a.previous").write_text("older")
    assert read(tmp_path, "a", 1) == "value", "it can be read at once"
    assert versions(tmp_path, "a") == ()
    assert [ensure(tmp_path, "a", lambda: pytest.fail("made a value for nothing")) for _ in range(2)] == [1, 1]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "a@1"]
    assert add_version(tmp_path, "a", "new") == 2
    publish(tmp_path, "a", 2)
    assert [read(tmp_path, "a", each) for each in (1, 2)] == ["value", "new"]
    assert read(tmp_path, "a") == "new", "a release from before reads that"


def test_adding_a_version_to_a_secret_from_before_versions_numbers_that_first(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("value")
    assert add_version(tmp_path, "a", "new") == 2
    assert [read(tmp_path, "a", each) for each in (1, 2)] == ["value", "new"]


@pytest.mark.parametrize("promoted", [False, True])
def test_a_rotation_that_a_release_before_versions_left_is_the_second_version(tmp_path: Path, promoted: bool) -> None:
    (tmp_path / "a").write_text("new" if promoted else "value")
    (tmp_path / "a-next").write_text("new")
    assert adopt(tmp_path, "a") == 1
    assert read(tmp_path, "a", 2) == "new"
    assert versions(tmp_path, "a") == (1, 2)
    assert names(tmp_path) == ["a"]


def test_what_a_release_before_versions_put_there_becomes_a_version(tmp_path: Path) -> None:
    ensure(tmp_path, "a", lambda: "first")
    (tmp_path / "a").write_text("rotated")
    assert published(tmp_path, "a") is None
    assert [adopt(tmp_path, "a") for _ in range(2)] == [2, 2]
    assert read(tmp_path, "a", 2) == "rotated"


def test_encryption_key_is_one_of_fernets() -> None:
    key = Fernet(new_encryption_key().encode())
    assert key.decrypt(key.encrypt(b"text")) == b"text"


def test_values_are_never_the_same_and_fit_a_url() -> None:
    made = {new_password() for _ in range(50)} | {new_auth_string().removeprefix("admin:") for _ in range(50)}
    assert len(made) == 100
    assert all(len(value) == 32 and value.replace("-", "").replace("_", "").isalnum() for value in made)
    assert new_auth_string().startswith("admin:")
