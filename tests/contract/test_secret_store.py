"""Every secret store behaves the same; written from the port's docstrings."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.local.secret_store import LocalSecretStore
from blocks.resource import Apply, plan, visit, visit_to_delete
from blocks.secret_store import SecretResource, SecretStore

ADAPTERS: dict[str, Callable[[Path], SecretStore]] = {
    "local": lambda folder: LocalSecretStore(folder=folder / "secrets"),
}


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    return ADAPTERS[request.param](tmp_path)


def ensured(store: SecretStore, value: str, results: object) -> None:
    results.put(store.ensure("raced", lambda: value))  # type: ignore[attr-defined]


def test_ensure_stores_once(store: SecretStore) -> None:
    assert store.ensure("key", lambda: "first")
    assert not store.ensure("key", lambda: "second")
    assert store.read("key") == "first"


def test_ensure_does_not_even_make_a_second_value(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    assert not store.ensure("key", lambda: pytest.fail("made a value for nothing"))


def test_of_processes_that_race_one_stores_and_all_read_its_value(store: SecretStore) -> None:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    racers = [context.Process(target=ensured, args=(store, f"value {number}", results)) for number in range(4)]
    for each in racers:
        each.start()
    for each in racers:
        each.join(30)
    assert sorted(results.get() for _ in racers) == [False, False, False, True]
    assert store.read("raced").startswith("value ")
    assert store.names() == ["raced"]


@pytest.mark.parametrize("value", ["plain", "with spaces", 'quotes " and $dollars', "ümlaut ✓", "=" * 2000])
def test_a_value_comes_back_as_it_was_stored(store: SecretStore, value: str) -> None:
    store.ensure("key", lambda: value)
    assert store.read("key") == value


def test_reading_what_is_not_there_is_blocked(store: SecretStore) -> None:
    with pytest.raises(Blocked, match="absent"):
        store.read("absent")


def test_a_new_version_is_the_current_one(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    assert store.read("key") == "second"
    store.add_version("key", "third")
    assert store.read("key") == "third"
    assert store.names() == ["key"]


def test_names_are_sorted_and_those_that_are_there(store: SecretStore) -> None:
    assert store.names() == []
    for name in ("b", "c", "a"):
        store.ensure(name, lambda: "value")
    store.remove("c")
    assert store.names() == ["a", "b"]


def test_removed_with_all_its_versions(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    store.remove("key")
    store.remove("key")
    with pytest.raises(Blocked):
        store.read("key")
    assert store.ensure("key", lambda: "anew")
    assert store.read("key") == "anew"


def test_errors_and_texts_never_show_a_value(store: SecretStore) -> None:
    store.ensure("key", lambda: "open-sesame")
    assert "open-sesame" not in repr(store)
    assert "open-sesame" not in repr(store)


def test_as_a_resource_it_is_made_once_and_left_alone(store: SecretStore) -> None:
    values = iter(["first", "second"])
    secret = SecretResource(store, "key", lambda: next(values), ())
    assert [change.action for change in plan([secret])] == ["create"]
    visit(secret, Apply())
    assert plan([secret]) == []
    assert visit(secret, Apply()).action == "keep"
    assert store.read("key") == "first"
    visit_to_delete(secret, Apply())
    assert store.names() == []


def test_a_plan_of_a_secret_does_not_show_it(store: SecretStore) -> None:
    secret = SecretResource(store, "key", lambda: "open-sesame", ())
    assert "open-sesame" not in str(plan([secret]))
    visit(secret, Apply())
    assert "open-sesame" not in str(visit_to_delete(secret, Apply()))


def test_local_files_are_closed_to_others_from_the_first_moment_on(tmp_path: Path) -> None:
    store = ADAPTERS["local"](tmp_path)
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    files = list((tmp_path / "secrets").iterdir())
    assert len(files) == 2
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
