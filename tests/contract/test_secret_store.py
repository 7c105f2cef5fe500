"""Every secret store behaves the same; written from the port's docstrings."""

from __future__ import annotations

import multiprocessing
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.errors import Blocked
from blocks.gcp.secret_store import GcpSecretStore
from blocks.local.secret_store import LocalSecretStore
from blocks.resource import Apply, plan, visit, visit_to_delete
from blocks.secret_store import SecretResource, SecretStore
from tests import google

ADAPTERS: dict[str, Callable[[Path], SecretStore]] = {
    "local": lambda folder: LocalSecretStore(folder=folder / "secrets"),
    "gcp": lambda _: GcpSecretStore(google.project().seen_by(), "trial", google.REGION),
}


@pytest.fixture(params=ADAPTERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> SecretStore:
    return ADAPTERS[request.param](tmp_path)


def ensured(store: SecretStore, value: str, results: object) -> None:
    results.put(store.ensure("raced", lambda: value))  # type: ignore[attr-defined]


def test_ensure_stores_once(store: SecretStore) -> None:
    assert store.ensure("key", lambda: "first") == 1
    assert store.ensure("key", lambda: "second") == 1
    assert store.read("key", 1) == "first"


def test_ensure_does_not_even_make_a_second_value(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    store.ensure("key", lambda: pytest.fail("made a value for nothing"))


def test_of_those_who_race_one_stores_and_all_read_its_value(store: SecretStore) -> None:
    with ThreadPoolExecutor(4) as racers:
        results = set(racers.map(lambda number: store.ensure("raced", lambda: f"value {number}"), range(4)))
    assert results == {store.published("raced")} and store.versions("raced") == tuple(results)
    assert store.read("raced", results.pop()).startswith("value ")


def test_of_processes_that_race_for_files_one_stores(tmp_path: Path) -> None:
    store = ADAPTERS["local"](tmp_path)
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    racers = [context.Process(target=ensured, args=(store, f"value {number}", results)) for number in range(4)]
    for each in racers:
        each.start()
    for each in racers:
        each.join(30)
    assert {results.get() for _ in racers} == {1}
    assert store.read("raced", 1).startswith("value ")
    assert (store.versions("raced"), store.published("raced")) == ((1,), 1)


@pytest.mark.parametrize("value", ["plain", "with spaces", 'quotes " and $dollars', "ümlaut ✓", "=" * 2000])
def test_a_value_comes_back_as_it_was_stored(store: SecretStore, value: str) -> None:
    store.ensure("key", lambda: value)
    assert store.read("key", 1) == value
    assert store.read("key", store.add_version("key", f"{value}{value}")) == value + value


def test_reading_what_is_not_there_is_blocked(store: SecretStore) -> None:
    with pytest.raises(Blocked, match="absent"):
        store.read("absent", 1)
    store.ensure("key", lambda: "first")
    with pytest.raises(Blocked, match="key"):
        store.read("key", 2)
    with pytest.raises(Blocked, match="key"):
        store.publish("key", 2)


def test_versions_are_numbered_upwards_and_none_ever_changes(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    assert [store.add_version("key", each) for each in ("second", "third")] == [2, 3]
    assert store.versions("key") == (1, 2, 3)
    assert [store.read("key", each) for each in (1, 2, 3)] == ["first", "second", "third"]


def test_a_person_finds_the_version_that_was_published(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    number = store.add_version("key", "second")
    assert store.published("key") == 1
    for _ in range(2):
        store.publish("key", number)
        assert store.published("key") == number
    store.publish("key", 1)
    assert store.published("key") == 1


def test_where_a_person_finds_it_is_said_by_its_name_and_shows_no_value(store: SecretStore) -> None:
    store.ensure("key", lambda: "open-sesame")
    assert "key" in store.location("key") and "open-sesame" not in store.location("key")
    assert store.location("key") != store.location("absent")


def test_one_name_that_begins_like_another_is_another(store: SecretStore) -> None:
    store.ensure("key", lambda: "short")
    store.ensure("key-2", lambda: "long")
    store.add_version("key-2", "longer")
    assert (store.versions("key"), store.versions("key-2")) == ((1,), (1, 2))
    store.remove("key")
    assert (store.versions("key"), store.versions("key-2")) == ((), (1, 2))


def test_a_destroyed_version_is_gone_and_the_others_stay(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    number = store.add_version("key", "second")
    store.publish("key", number)
    for _ in range(2):
        store.destroy_version("key", 1)
    assert store.versions("key") == (2,)
    assert store.read("key", 2) == "second"
    assert store.ensure("key", lambda: pytest.fail("made a value for nothing")) == 2
    assert store.add_version("key", "third") == 3


def test_removed_with_all_its_versions(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    store.remove("key")
    store.remove("key")
    assert store.versions("key") == ()
    with pytest.raises(Blocked):
        store.read("key", 1)
    assert store.ensure("key", lambda: "anew") == 1
    assert store.read("key", 1) == "anew"


def test_errors_and_texts_never_show_a_value(store: SecretStore) -> None:
    store.ensure("key", lambda: "open-sesame")
    assert "open-sesame" not in repr(store)
    assert "open-sesame" not in repr(store)


def test_as_a_resource_it_is_made_once_and_left_alone(store: SecretStore) -> None:
    values = iter(["first", "second"])
    secret = SecretResource(store, "key", 1, lambda: next(values), ())
    assert [change.action for change in plan([secret])] == ["create"]
    visit(secret, Apply())
    assert plan([secret]) == []
    assert visit(secret, Apply()).action == "keep"
    assert store.read("key", 1) == "first"
    visit_to_delete(secret, Apply())
    assert store.versions("key") == ()


def test_as_a_resource_the_wanted_version_is_the_published_one(store: SecretStore) -> None:
    """A kill between the two is mended, and what nobody has promoted stays beside."""
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    store.add_version("key", "third")
    secret = SecretResource(store, "key", 2, lambda: "another", ())
    assert [change.action for change in plan([secret])] == ["update"]
    visit(secret, Apply())
    assert (store.published("key"), store.versions("key")) == (2, (1, 2, 3))
    assert plan([secret]) == []


def test_as_a_resource_a_wanted_version_that_is_lost_is_never_made_anew(store: SecretStore) -> None:
    store.ensure("key", lambda: "first")
    with pytest.raises(Blocked, match="version 2 of the secret key"):
        visit(SecretResource(store, "key", 2, lambda: "another", ()), Apply())
    assert (store.published("key"), store.versions("key")) == (1, (1,))


def test_a_plan_of_a_secret_does_not_show_it(store: SecretStore) -> None:
    secret = SecretResource(store, "key", 1, lambda: "open-sesame", ())
    assert "open-sesame" not in str(plan([secret]))
    visit(secret, Apply())
    assert "open-sesame" not in str(visit_to_delete(secret, Apply()))


def test_local_files_are_closed_to_others_from_the_first_moment_on(tmp_path: Path) -> None:
    store = ADAPTERS["local"](tmp_path)
    store.ensure("key", lambda: "first")
    store.add_version("key", "second")
    files = list((tmp_path / "secrets").iterdir())
    assert sorted(each.name for each in files) == ["key", "key@1", "key@2"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert stat.S_IMODE((tmp_path / "secrets").stat().st_mode) == 0o700
