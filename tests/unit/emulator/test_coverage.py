"""The coverage page says of each method whether it is emulated; the code that answers decides it, and nothing else."""

from __future__ import annotations

import re

import pytest

from tests.emulator.cloud import Cloud, all_kinds
from tests.emulator.coverage import page
from tests.emulator.discovery import APIS
from tests.emulator.kind import Kind
from tests.unit.emulator.conftest import Emulated

CLOUD = Cloud()
METHODS = [method for api in APIS for method in CLOUD.router.documents[api].methods]


def listed(chapter: str) -> set[tuple[str, str]]:
    """(document, method id) of all that a chapter of the page names."""
    text = page(CLOUD).partition(f"## {chapter}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^- (\S+) `([^`]+)`: (.+)$", text, re.M)
    return {(api, f"{collection}.{verb}") for api, collection, verbs in lines for verb in verbs.split(", ")}


def test_each_method_is_in_one_of_the_two_lists() -> None:
    done, not_done = listed("Emulated"), listed("Answered with 501")
    assert done | not_done == {(method.api, method.id) for method in METHODS}
    assert not done & not_done


def test_the_counts_are_those_of_the_lists() -> None:
    rows = re.findall(r"^\| (\S+) \| (\d+) \| (\d+) \|$", page(CLOUD), re.M)
    done = [api for api, _ in listed("Emulated")]
    assert [(api, int(count)) for api, _, count in rows] == [(api, done.count(api)) for api in APIS]


def test_what_is_emulated_answers_and_what_is_not_says_so(google: Emulated) -> None:
    project = f"/compute/compute/v1/projects/{google.project}"
    assert ("compute.v1", "compute.networks.list") in listed("Emulated")
    assert google.http().get(f"{project}/global/networks").status_code == 200
    assert ("compute.v1", "compute.healthChecks.list") in listed("Answered with 501")
    assert google.http().get(f"{project}/global/healthChecks").status_code == 501


@pytest.mark.parametrize("kind", all_kinds(), ids=lambda kind: kind.__name__)
def test_a_kind_answers_methods_that_there_are(kind: type[Kind]) -> None:
    """A misspelt verb would never be called. What a base class offers to all its kinds need not fit each."""
    there = {method.verb for method in METHODS if method.api in kind.apis and method.collection == kind.collection}
    own = {verb for verb, (function, _) in kind.handlers().items() if function in vars(kind).values()}
    assert own <= there
    assert there & set(kind.handlers()) or any(kind.raws())


def test_the_page_is_served(google: Emulated) -> None:
    assert google.http().get("/_emulator/coverage").text == page(google.cloud)
