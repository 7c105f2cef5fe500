"""What a stack keeps on its server, against a real one: converge, change nothing, leave what is not ours, mend ours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.blocks.system import Secret
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import (
    BlockDocumentCreate,
    BlockDocumentUpdate,
    BlockSchemaCreate,
    BlockTypeCreate,
    DeploymentScheduleCreate,
    DeploymentUpdate,
    WorkPoolCreate,
    WorkPoolUpdate,
)
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound

from blocks import catalog, ledgers
from blocks.agent.spec import Artifact, Release
from blocks.automations import MARK
from blocks.documents import KeptDocument
from blocks.errors import Blocked
from blocks.gcp.google import Google
from blocks.gcp.parts import Parts
from blocks.host.home import Home
from blocks.resource import Apply, Change, Resource, in_order, plan, visit, visit_to_delete
from blocks.server_objects import DECLARED_SLUG, server_objects
from blocks.site import Site, here
from blocks.spec import SERVER, TOOLS, StackSpec, build_spec
from blocks.stack import StackBlock

FORMER_BLOCKS = {
    "local-database": "blocks.local.database",
    "local-machine": "blocks.local.machine",
    "local-object-store": "blocks.local.object_store",
    "local-proxy": "blocks.local.proxy",
    "local-secret-store": "blocks.local.secret_store",
}
RELEASE = Release("3.8.8-0123456789ab", Artifact("lock.txt", "0" * 64))


@pytest.fixture(scope="module")
def spec() -> Iterator[StackSpec]:
    with tempfile.TemporaryDirectory(prefix="sh-") as folder:
        yield build_spec({"name": "trial", "home": str(Path(folder) / "home")}, "test")


@pytest.fixture(scope="module")
def objects(spec: StackSpec, client: SyncPrefectClient) -> list[Resource]:
    """Objects of a server that was converged once; a test that changes some of them converges them again."""
    wanted = objects_of(spec, client)
    converge(wanted)
    return wanted


def objects_of(spec: StackSpec, client: SyncPrefectClient, *, paused: bool = False) -> list[Resource]:
    stack = catalog.compose(spec, {SERVER: RELEASE, TOOLS: RELEASE}, here(spec), {})
    return server_objects(stack, client, paused=paused)


def converge(resources: list[Resource]) -> list[Change]:
    return [visit(each, Apply()) for each in in_order(resources)]


def test_second_converge_changes_nothing(objects: list[Resource]) -> None:
    assert plan(objects) == []
    assert {each.action for each in converge(objects)} == {"keep"}


@pytest.mark.parametrize("first", [True, False])
def test_only_the_first_bootstrap_makes_scheduled_deployments_paused(
    spec: StackSpec, objects: list[Resource], client: SyncPrefectClient, first: bool
) -> None:
    """One that a later converge makes, or makes again, would stay paused for ever: only the pivot resumes."""
    for name in ("status/status", "converge/converge"):
        client.delete_deployment(client.read_deployment_by_name(name).id)
    converge(objects_of(spec, client, paused=first))
    assert client.read_deployment_by_name("status/status").paused == first
    assert not client.read_deployment_by_name("converge/converge").paused
    assert plan(objects) == []


def test_deployments_pull_nothing(objects: list[Resource], client: SyncPrefectClient) -> None:
    """Their flows are installed with the worker: a pull step would lead into the folder of whoever deployed."""
    assert client.read_deployment_by_name("probe/maintenance").pull_steps == []


def test_what_a_person_sets_and_we_do_not_list_is_left(objects: list[Resource], client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("status/status")
    client.update_deployment(deployment.id, DeploymentUpdate(tags=["mine"]))
    client.set_deployment_paused_state(deployment.id, False)
    client.update_work_pool("default", WorkPoolUpdate(is_paused=True))
    client.create_deployment_schedules(deployment.id, [(IntervalSchedule(interval=3600.0), True)])  # type: ignore[arg-type]
    (automation,) = client.read_automations_by_name("Maintenance run late")
    client.pause_automation(automation.id)
    assert plan(objects) == []
    converge(objects)
    after = client.read_deployment_by_name("status/status")
    assert (after.tags, after.paused, len(after.schedules)) == (["mine"], False, 2)
    assert client.read_work_pool("default").is_paused
    assert not client.read_automations_by_name("Maintenance run late")[0].enabled


def test_the_limit_of_a_pool_is_the_sum_over_its_workers_and_mended(
    spec: StackSpec, objects: list[Resource], client: SyncPrefectClient
) -> None:
    """Also where there is none, as in a pool which an earlier release of this project made."""
    assert {name: client.read_work_pool(name).concurrency_limit for name in ("maintenance", "default")} == {
        "maintenance": 4,
        "default": 10,
    }
    client.update_work_pool("default", WorkPoolUpdate(concurrency_limit=3))
    client.update_work_pool("maintenance", WorkPoolUpdate(concurrency_limit=None))
    assert {each.resource: dict(each.fields) for each in plan(objects)} == {
        "work pool default": {"concurrency limit": (3, 10)},
        "work pool maintenance": {"concurrency limit": (None, 4)},
    }
    workers = [{"name": name, "pool": "default", "concurrency": n} for name, n in (("one", 2), ("two", 5))]
    wanted = {**spec.model_dump(mode="json"), "workers": [*workers, {"name": "maintenance", "pool": "maintenance"}]}
    converge(objects_of(build_spec(wanted, "test"), client))
    assert client.read_work_pool("default").concurrency_limit == 7
    converge(objects)
    assert plan(objects) == []


def test_what_is_ours_is_mended(objects: list[Resource], client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("drift/drift")
    client.update_deployment(deployment.id, DeploymentUpdate(entrypoint="elsewhere.flow", description="mine"))
    for schedule in deployment.schedules:
        client.delete_deployment_schedule(deployment.id, schedule.id)
    (automation,) = client.read_automations_by_name("Maintenance run late")
    client.delete_automation(automation.id)
    client.delete_work_pool("default")  # takes its deployments along in no way: they lose their pool
    assert {change.resource: change.action for change in plan(objects)} == {
        "work pool default": "create",
        "deployment probe/default": "update",
        "deployment drift/drift": "update",
        "automation Maintenance run late": "create",
    }
    converge(objects)
    assert plan(objects) == []
    mended = client.read_deployment_by_name("drift/drift")
    assert (mended.id, mended.entrypoint) == (deployment.id, "flows.converge.drift")
    assert [each.active for each in mended.schedules] == [True]


def test_mending_a_schedule_leaves_a_persons_own(objects: list[Resource], client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("drift/drift")
    client.create_deployment_schedules(deployment.id, [(IntervalSchedule(interval=3600.0), False)])  # type: ignore[arg-type]
    (own,) = [each for each in deployment.schedules if not isinstance(each.schedule, IntervalSchedule)]
    client.delete_deployment_schedule(deployment.id, own.id)
    converge(objects)
    after = client.read_deployment_by_name("drift/drift").schedules
    assert sorted((type(each.schedule).__name__, each.active) for each in after) == [
        ("CronSchedule", True),
        ("IntervalSchedule", False),
    ]
    for each in after:
        if isinstance(each.schedule, IntervalSchedule):
            client.delete_deployment_schedule(deployment.id, each.id)


@pytest.mark.parametrize("slug", [None, "selfhost-scheduler-check-1a2b", "mine"])
def test_a_cron_schedule_of_a_person_or_a_check_is_no_drift(
    objects: list[Resource], client: SyncPrefectClient, slug: str | None
) -> None:
    """The UI gives a schedule no slug; what marks ours is its slug alone."""
    deployment = client.read_deployment_by_name("drift/drift")
    cron = CronSchedule(cron="0 9 * * 1", timezone="Europe/Berlin")
    (theirs,) = client.create_deployment_schedules(deployment.id, [DeploymentScheduleCreate(schedule=cron, slug=slug)])
    assert plan(objects) == []
    client.update_deployment_schedule(deployment.id, ours_of(client, deployment.id).id, schedule=cron)
    assert [each.resource for each in plan(objects)] == ["deployment drift/drift"]
    converge(objects)
    after = client.read_deployment_schedules(deployment.id)
    assert {each.id for each in after} == {theirs.id, ours_of(client, deployment.id).id}
    client.delete_deployment_schedule(deployment.id, theirs.id)


@pytest.mark.parametrize(
    "other", [CronSchedule(cron="41 5 * * *", timezone="Europe/Berlin"), CronSchedule(cron="0 6 * * *", timezone="UTC")]
)
def test_other_cron_or_time_zone_is_mended_and_stays_switched_off(
    objects: list[Resource], client: SyncPrefectClient, other: CronSchedule
) -> None:
    deployment = client.read_deployment_by_name("drift/drift").id
    before = ours_of(client, deployment)
    client.update_deployment_schedule(deployment, before.id, active=False, schedule=other)
    assert [sorted(each.fields) for each in plan(objects)] == [["schedules"]]
    converge(objects)
    after = ours_of(client, deployment)
    assert (after.id, after.schedule, after.active) == (before.id, before.schedule, False)
    client.update_deployment_schedule(deployment, after.id, active=True)


def test_a_schedule_no_longer_declared_is_removed(objects: list[Resource], client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("drift/drift").id
    more = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 0 1 1 *", timezone="UTC"), slug=f"{DECLARED_SLUG}1")
    client.create_deployment_schedules(deployment, [more])
    converge(objects)
    assert len(client.read_deployment_schedules(deployment)) == 1
    assert plan(objects) == []


def ours_of(client: SyncPrefectClient, deployment: UUID) -> DeploymentSchedule:
    (ours,) = [
        each for each in client.read_deployment_schedules(deployment) if (each.slug or "").startswith(DECLARED_SLUG)
    ]
    return ours


def test_switched_off_schedule_stays_off(objects: list[Resource], client: SyncPrefectClient) -> None:
    deployment = client.read_deployment_by_name("drift/drift")
    client.update_deployment_schedule(deployment.id, deployment.schedules[0].id, active=False)
    converge(objects)
    (after,) = client.read_deployment_by_name("drift/drift").schedules
    assert not after.active
    client.update_deployment_schedule(deployment.id, after.id, active=True)


def test_automation_of_a_person_with_our_name_is_left(objects: list[Resource], client: SyncPrefectClient) -> None:
    (ours,) = client.read_automations_by_name("Maintenance run failed")
    fields = ours.model_dump(exclude={"id", "description", "created", "updated"})
    theirs = client.create_automation(AutomationCore(description="my own", **fields))
    assert plan(objects) == []
    client.delete_automation(ours.id)
    converge(objects)
    found = {each.id: each.description for each in client.read_automations_by_name("Maintenance run failed")}
    assert found[theirs] == "my own"
    assert len([each for each in found.values() if each.startswith(MARK)]) == 1
    client.delete_automation(theirs)


def test_an_automation_of_ours_that_is_no_longer_wanted_goes_and_a_persons_stays(
    objects: list[Resource], client: SyncPrefectClient
) -> None:
    """The one that crashed healthy runs, of a stack which an earlier release made."""
    (like,) = client.read_automations_by_name("Maintenance run failed")
    fields = like.model_dump(exclude={"id", "name", "description", "created", "updated"})
    name = "Crash zombie flow runs"
    client.create_automation(AutomationCore(name=name, description=f"{MARK}: a run 0123456789ab", **fields))
    theirs = client.create_automation(AutomationCore(name=name, description="my own", **fields))
    assert [dict(each.fields) for each in plan(objects)] == [{"unneeded": ([name], [])}]
    converge(objects)
    assert [each.id for each in client.read_automations_by_name(name)] == [theirs]
    assert plan(objects) == []
    client.delete_automation(theirs)


def test_probe_of_a_pool_without_a_worker_goes_and_the_pool_stays(
    spec: StackSpec, objects: list[Resource], client: SyncPrefectClient
) -> None:
    workers = [*spec.model_dump(mode="json")["workers"], {"name": "heavy", "pool": "heavy"}]
    converge(objects_of(build_spec({**spec.model_dump(mode="json"), "workers": workers}, "test"), client))
    probe = client.read_deployment_by_name("probe/heavy")
    theirs = client.create_deployment(probe.flow_id, "theirs", work_pool_name="heavy", pull_steps=[])
    (change,) = [each for each in plan(objects) if not each.resource.startswith("block ")]
    assert dict(change.fields) == {"unneeded": (["probe/heavy"], [])}
    converge(objects)
    assert plan(objects) == []
    left = {each.name for each in client.read_deployments() if each.flow_id == probe.flow_id}
    assert left == {"maintenance", "default", "theirs"}
    assert client.read_work_pool("heavy").name == "heavy"
    client.delete_deployment(theirs)
    client.delete_work_pool("heavy")


def test_pool_of_another_type_is_refused_by_name(spec: StackSpec, client: SyncPrefectClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="theirs", type="docker"))
    workers = [{"name": "maintenance", "pool": "maintenance"}, {"name": "x", "pool": "theirs"}]
    wanted = objects_of(build_spec({**spec.model_dump(mode="json"), "workers": workers}, "test"), client)
    with pytest.raises(Blocked, match=r"the work pool 'theirs' is of type 'docker', not 'process'") as caught:
        plan(wanted)
    assert caught.value.hint
    client.delete_work_pool("theirs")


def test_notification_block_is_used_once_it_is_there(
    spec: StackSpec, objects: list[Resource], client: SyncPrefectClient
) -> None:
    alerts = {"alerts": {"notification_block": "secret/ops"}}
    wanted = objects_of(build_spec({**spec.model_dump(mode="json"), **alerts}, "test"), client)
    converge(wanted)
    (automation,) = client.read_automations_by_name("Maintenance run failed")
    assert [each.type for each in automation.actions] == ["do-nothing"]
    Secret(value="x").save("ops", overwrite=True)
    assert {each.resource for each in plan(wanted)} == {
        "automation Maintenance run failed",
        "automation Maintenance run late",
    }
    converge(wanted)
    (automation,) = client.read_automations_by_name("Maintenance run failed")
    assert [each.type for each in automation.actions] == ["send-notification"]
    converge(objects)


def test_a_stack_is_what_its_home_says_whatever_its_block_does(
    spec: StackSpec, objects: list[Resource], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever has the auth string may edit the block; what it names would be executed with the stack's rights."""
    releases = {SERVER: RELEASE, TOOLS: RELEASE}
    here(spec).home.mkdir()
    ledgers.of(Home(here(spec).home)).write_wanted(spec.model_dump(mode="json"), releases)
    monkeypatch.setenv("SELFHOST_HOME", str(here(spec).home))
    elsewhere = dict.fromkeys(StackBlock.model_fields, str(tmp_path))
    StackBlock(**elsewhere).save("trial", overwrite=True)
    stack = catalog.load()
    assert stack == catalog.compose(spec, releases, here(spec), {})
    assert str(tmp_path) not in repr(stack)
    with pytest.raises(Blocked, match="belongs to the stack 'trial', not 'other'"):
        catalog.load("other")
    assert [each.fields.keys() for each in plan(objects)] == [elsewhere.keys()]
    converge(objects)


def test_blocks_which_former_releases_kept_are_removed_and_no_namesake(
    objects: list[Resource], client: SyncPrefectClient
) -> None:
    """Every part of a stack was a block once; their types go as well, but for one that keeps another document."""
    ours = FORMER_BLOCKS.keys() - {"local-machine"}
    for slug in ours:
        document(client, slug, f"from {FORMER_BLOCKS[slug]} import Former", "trial")
    kept = document(client, "local-proxy", f"from {FORMER_BLOCKS['local-proxy']} import Former", "mine")
    document(client, "local-machine", "from ours import LocalMachine", "trial")
    (change,) = plan(objects)
    assert (change.resource, change.fields["left"][0]) == ("blocks of former releases", sorted(ours))
    converge(objects)
    assert plan(objects) == []
    left = [each.slug for each in client.read_block_types() if each.slug in FORMER_BLOCKS]
    assert sorted(left) == ["local-machine", "local-proxy"]
    assert [each.id for each in client.read_block_documents_by_type("local-proxy")] == [kept]
    for slug in left:
        client.delete_block_type(client.read_block_type_by_slug(slug).id)


def document(client: SyncPrefectClient, slug: str, example: str, name: str) -> UUID:
    """A block document, its type made where it is not there; returns its id."""
    try:
        kind = client.read_block_type_by_slug(slug)
    except ObjectNotFound:
        kind = client.create_block_type(BlockTypeCreate(name=slug, slug=slug, code_example=example))
    schema = client.create_block_schema(BlockSchemaCreate(block_type_id=kind.id, fields={"title": slug}))
    made = BlockDocumentCreate(name=name, block_type_id=kind.id, block_schema_id=schema.id)
    return client.create_block_document(made).id


def test_all_of_it_is_removed_and_nothing_else(objects: list[Resource], client: SyncPrefectClient) -> None:
    client.create_work_pool(WorkPoolCreate(name="mine", type="process"))
    assert {visit_to_delete(each, Apply()).action for each in reversed(in_order(objects))} == {"delete"}
    assert {change.action for change in plan(objects)} == {"create"}
    assert client.read_work_pool("mine").name == "mine"
    client.delete_work_pool("mine")
    converge(objects)


def test_users_flows_find_their_project_and_bucket_at_google_without_a_key(client: SyncPrefectClient) -> None:
    given = {"target": "gcp", "gcp": {"project": "acme-data-42", "region": "europe-west1"}}
    wanted = build_spec({"name": "trial", **given}, "test")
    site = Site(Path("/var/lib/prefect-selfhost/trial"), has_users=True, is_here=False)
    documents = Parts(Google("acme-data-42"), wanted, site, {"project.number": "123"}).documents()
    kept = [KeptDocument(each, "trial", client) for each in reversed(documents)]
    assert [each.action for each in converge(kept)] == ["create", "create"]
    assert plan(kept) == []
    found = client.read_block_document_by_name("trial", "gcs-bucket").data
    assert found["bucket"].startswith("trial-123-")
    assert found["gcp_credentials"] == {"project": "acme-data-42"}
    credentials = client.read_block_document_by_name("trial", "gcp-credentials")
    client.update_block_document(credentials.id, BlockDocumentUpdate(data={"project": "another"}))
    assert [each.resource for each in plan(kept)] == ["block gcp-credentials/trial"]
    converge(kept)
    assert (
        client.read_block_document_by_name("trial", "gcs-bucket").data["gcp_credentials"]["project"] == "acme-data-42"
    )
    for each in in_order(kept)[::-1]:
        each.delete()
    assert [each.find() for each in kept] == [None, None]
