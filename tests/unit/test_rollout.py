"""Steps between two `HostSpec`s: only what is named changes."""

from __future__ import annotations

from dataclasses import replace

from blocks.agent.definitions import wanted_services
from blocks.agent.spec import Artifact, File, Folder, HostSpec, Job, Release, Service
from blocks.agent.validation import faults
from blocks.rollout import changed, ended_at_once, take, with_job, with_releases


def release(name: str) -> Release:
    return Release(name, Artifact("lock.txt", "0" * 64))


def service(name: str, version: str) -> Service:
    return Service(name, (f"/r/{version}/bin/python",), files=(f"/etc/{name}",))


def spec(version: str, *names: str, generation: int = 1) -> HostSpec:
    return HostSpec(
        stack="s",
        generation=generation,
        releases=(release(version),),
        files=tuple(File(f"/etc/{name}", version) for name in names),
        services=tuple(service(name, version) for name in names),
    )


OLD = spec("old", "postgres", "server-blue", "nginx", "worker-a", generation=7)
NEW = spec("new", "postgres", "server-green", "nginx", "worker-a", "worker-b")


def test_the_second_slot_is_added_and_nothing_else_changes() -> None:
    both = take(OLD, NEW, ["server-green"])
    assert [each.name for each in both.services] == ["postgres", "server-blue", "server-green", "nginx", "worker-a"]
    assert all(each in both.services for each in OLD.services)
    assert {each.id for each in both.releases} == {"old", "new"}
    assert both.generation == 8
    assert not list(faults(both))
    assert {each.path: each.content for each in both.files}["/etc/worker-a"] == "old"


def test_what_is_added_finds_its_folder() -> None:
    folder = Folder("/h/state/worker-b", user="b")
    assert take(OLD, replace(NEW, folders=(folder,)), ["worker-b"]).folders == (folder,)


def test_the_first_slot_goes_where_the_wanted_spec_lacks_it() -> None:
    both = take(OLD, NEW, ["server-green"])
    after = take(both, NEW, ["server-blue"])
    assert [each.name for each in after.services] == ["postgres", "server-green", "nginx", "worker-a"]


def test_taking_all_that_differs_leads_to_the_wanted_services() -> None:
    names = changed(OLD, NEW, "")
    assert names == ["nginx", "postgres", "server-blue", "server-green", "worker-a", "worker-b"]
    assert take(OLD, NEW, names).services == NEW.services


def test_a_changed_file_counts_as_a_changed_service() -> None:
    edited = replace(OLD, files=tuple(replace(each, content=each.content + "!") for each in OLD.files))
    assert changed(OLD, edited, "worker-") == ["worker-a"]
    assert not changed(OLD, OLD, "")
    assert {each.content for each in take(OLD, edited, ["worker-a"]).files} == {"old", "old!"}


def test_a_file_that_a_running_service_looks_at_changes_with_every_step() -> None:
    now, wanted = (
        replace(each, files=(*each.files, File("/etc/live", text))) for each, text in ((OLD, "1"), (NEW, "2"))
    )
    step = {each.path: each.content for each in take(now, wanted, ()).files}
    assert step["/etc/live"] == "2"
    assert step["/etc/nginx"] == step["/etc/worker-a"] == "old", "nginx and the worker would restart"


def test_a_job_comes_with_its_files_and_goes_with_the_next_step() -> None:
    job = Job("migrate", ("/r/new/bin/python",), run="1")
    working = with_job(with_releases(OLD, NEW), job, [File("/etc/job", "x")])
    assert (working.jobs, working.generation) == ((job,), 9)
    assert working.services == OLD.services
    assert not take(working, NEW, ["server-green"]).jobs


def test_workers_that_may_be_ended_at_once_are_not_restarted_by_that() -> None:
    services = tuple(replace(each, restart="when-idle") for each in OLD.services)
    guarded = replace(OLD, services=services)
    found = ended_at_once(guarded, "worker-")
    assert {each.name: each.restart for each in found.services if each not in services} == {"worker-a": "always"}
    before, after = wanted_services(guarded, {}), wanted_services(found, {})
    assert {name: each.digest for name, each in before.items()} == {name: each.digest for name, each in after.items()}
    assert found.generation == 8
