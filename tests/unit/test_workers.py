"""What an action makes of the stack's spec, and what is refused."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from blocks.errors import WrongCall
from blocks.spec import StackSpec, Worker, build_spec
from blocks.workers import WorkerEdit, as_toml, planned

SPEC = build_spec(
    {
        "name": "s",
        "workers": [
            {"name": "maintenance", "pool": "maintenance", "concurrency": 2},
            {"name": "reports", "pool": "reports", "packages": ["humanize"], "env": {"TZ": "UTC"}},
        ],
    },
    "test",
)
SERVICES = ("postgres", "server-blue", "nginx", "worker-maintenance", "worker-reports")
FULL: dict[str, Any] = {
    "name": "more",
    "pool": "elsewhere",
    "concurrency": 3,
    "packages": ["pandas==2.2.3", "rich"],
    "env": ["A=b=c", "EMPTY="],
    "git_credentials": "secret/git@git.example.org",
}


def names(spec: StackSpec) -> list[str]:
    return [each.name for each in spec.workers]


@pytest.mark.parametrize(
    ("given", "worker"),
    [
        ({"name": "more"}, Worker(name="more", pool="more")),
        ({"name": "more", "pool": "reports"}, Worker(name="more", pool="reports")),
        (
            FULL,
            Worker(
                name="more",
                pool="elsewhere",
                concurrency=3,
                packages=("pandas==2.2.3", "rich"),
                env={"A": "b=c", "EMPTY": ""},
                git_credentials="secret/git@git.example.org",
            ),
        ),
    ],
)
def test_add_puts_the_worker_behind_those_that_are_there(given: dict[str, Any], worker: Worker) -> None:
    changed = planned(SPEC, WorkerEdit("add", **given), SERVICES)
    assert changed.workers == (*SPEC.workers, worker)
    assert changed.model_copy(update={"workers": SPEC.workers}) == SPEC


def test_adding_it_again_as_it_is_changes_nothing() -> None:
    once = planned(SPEC, WorkerEdit("add", **FULL), SERVICES)
    assert planned(once, WorkerEdit("add", **FULL), SERVICES) == once


def test_remove_takes_that_one_alone() -> None:
    assert names(planned(SPEC, WorkerEdit("remove", "reports"), SERVICES)) == ["maintenance"]


def test_a_removal_that_was_cut_short_is_finished() -> None:
    without = planned(SPEC, WorkerEdit("remove", "reports"), SERVICES)
    assert planned(without, WorkerEdit("remove", "reports"), SERVICES) == without


@pytest.mark.parametrize("name", ["reports", "maintenance"])
def test_scale_changes_the_number_of_runs_and_ignores_what_is_for_add(name: str) -> None:
    changed = planned(SPEC, WorkerEdit("scale", name, concurrency=5, pool="other", packages=("x",)), SERVICES)
    for before, after in zip(SPEC.workers, changed.workers, strict=True):
        assert after == (before.model_copy(update={"concurrency": 5}) if before.name == name else before)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (WorkerEdit("add"), "add wants the name of a worker"),
        (WorkerEdit("remove"), "remove wants the name of a worker"),
        (WorkerEdit("remove", "nobody"), "there is no worker 'nobody'"),
        (WorkerEdit("scale", "nobody"), "there is no worker 'nobody'"),
        (WorkerEdit("scale", "reports", concurrency=0), "concurrency"),
        (WorkerEdit("scale", "reports", concurrency=1001), "concurrency"),
        (WorkerEdit("scale", "maintenance", concurrency=1), "must be 2 or more"),
        (WorkerEdit("remove", "maintenance"), "which runs backups and upgrades"),
        (WorkerEdit("add", "more", pool="maintenance"), "has its worker"),
        (WorkerEdit("add", "reports", pool="elsewhere"), "is taken by a worker on the pool 'reports'"),
        (WorkerEdit("add", "server"), "is the name of a release"),
        (WorkerEdit("add", "Not a name"), "name"),
        (WorkerEdit("add", "more", type="docker"), "type"),
        (WorkerEdit("add", "more", pool="no pool"), "pool"),
        (WorkerEdit("add", "more", env=("NOSIGN",)), "'NOSIGN' is not KEY=VALUE"),
        (WorkerEdit("add", "more", env=("9=x",)), "no name of an environment variable"),
        (WorkerEdit("add", "more", packages=("--index-url",)), "no requirement"),
        (WorkerEdit("add", "more", packages=("rich\n--index-url x",)), "no requirement"),
        (WorkerEdit("add", "more", packages=("x @ file:///tmp/x.whl",)), "leads elsewhere than to the package index"),
        (WorkerEdit("add", "more", packages=("tmp/x.whl",)), "no requirement"),
        (WorkerEdit("add", "more", packages=("https:\\\\evil\\x-1.0-py3-none-any.whl",)), "no requirement"),
        (WorkerEdit("add", "more", packages=("${TARGET}",)), "no requirement"),
        *(
            (WorkerEdit("add", "more", git_credentials=wrong), "git_credentials")
            for wrong in (
                "nonsense",
                "secret/git@",
                "secret/git@a b",
                "secret/git@$(x)",
                "secret/git@h:port",
                "secret/git\nx",
            )
        ),
        (WorkerEdit("add", "more", git_credentials="secret/a", env=("GIT_CONFIG_COUNT=1",)), "do not go together"),
    ],
)
def test_refused_in_one_line(edit: WorkerEdit, told: str) -> None:
    with pytest.raises(WrongCall) as refused:
        planned(SPEC, edit, SERVICES)
    assert told in refused.value.what
    assert "\n" not in refused.value.what.replace("\\n", "")


def test_workers_as_lines_of_a_spec_file_are_read_back_as_they_are() -> None:
    spec = planned(SPEC, WorkerEdit("add", **{**FULL, "env": ['Q="x\\y"', "U=ü\x7f", "TZ=Europe/Berlin"]}), SERVICES)
    read = tomllib.loads('name = "s"\n' + as_toml(spec.workers))
    assert build_spec(read, "test") == spec
