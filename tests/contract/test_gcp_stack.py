"""All of a stack that stands outside its host, put together from its spec: planned, made, found as wanted, removed; on
the emulator at Google's own speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from blocks import catalog, ledgers, targets
from blocks.errors import Blocked, NotReady, WrongCall
from blocks.gcp.google import Google
from blocks.host import secret_files
from blocks.host.home import Home
from blocks.resource import converge, plan
from blocks.site import here
from blocks.spec import SERVER, TOOLS, StackSpec, overlaid, read_spec
from blocks.stack import Stack
from flows import destroy as verb
from flows.cli import launch
from flows.cli.where import Where
from flows.converge import settled
from tests import google
from tests.contract.test_image import Builder, builder
from tests.unit.composed import release

__all__ = ["builder"]  # a fixture

RELEASES = {SERVER: release("3.8.8"), TOOLS: release("tools")}


@pytest.fixture
def project() -> google.Project:
    """A project in which nothing is enabled yet but what Google enables itself."""
    return google.project("serviceusage.googleapis.com", "storage.googleapis.com")


@pytest.fixture
def seen(project: google.Project, monkeypatch: pytest.MonkeyPatch) -> Google:
    """That project, as what every part of this process takes for Google."""
    found = project.seen_by()
    monkeypatch.setattr(ledgers, "google", lambda name: found)
    for module in (launch, verb):  # a user of the system for a temporary server, which none here starts
        monkeypatch.setattr(module, "postgres_user", lambda stack, where: "")
    return found


@pytest.fixture
def spec(seen: Google, tmp_path: Path) -> StackSpec:
    at = {"target": "gcp", "gcp.project": seen.project, "gcp.region": google.REGION}
    own = {"name": "trial", "local.home": str(tmp_path / "home")}
    return read_spec(None, {**at, **own, "gcp.proxy.build": "cloud-build", "gcp.database.protection": False})


def stack_of(spec: StackSpec, identity: str = "") -> Stack:
    return catalog.compose(spec, RELEASES, here(spec), {}, targets.known(spec, identity))


def test_a_plan_in_a_new_project_shows_all_that_would_be_made(spec: StackSpec) -> None:
    stack = stack_of(spec)
    found = plan(stack.outside())
    assert (found[0].resource, found[0].action) == ("APIs of Google's", "update")
    assert {each.action for each in found[1:]} == {"create"}
    named = {each.resource for each in found}
    assert named == {each.name for each in stack.outside()}
    assert named > {"bucket", "network", "machine", "database instance", "front door", "secret auth-string"}


def made(spec: StackSpec) -> Home:
    """The launcher's folder of the stack, which stands at Google as far as it does so outside its host."""
    home = Home(Path(spec.local.home or ""))
    launch.join(spec, home)
    lease = launch.take_lease(home, "a test")
    launch.prepare_home(spec)
    known = targets.known(spec, home.identity() or "")
    targets.access(home).ledger.write_wanted(spec.as_wanted(), RELEASES, found=known)
    stack = catalog.composed(spec.model_dump(mode="json"))
    converge(stack.outside())
    settled(stack)
    lease.release()
    return home


def test_it_is_made_from_nothing_and_is_then_as_wanted(spec: StackSpec, builder: Builder) -> None:
    home = made(spec)
    ledger = targets.access(home).ledger
    assert ledger.id and home.identity() == ledger.id and home.bucket is not None and not home.is_hosts()
    stack = catalog.composed(spec.model_dump(mode="json"))
    assert plan(stack.outside()) == []
    assert stack.known["database.address"].startswith("10.") and stack.database.tls is not None
    assert stack.known["database.address"] in stack.database.connection_url()
    assert stack.proxy.url() == targets.access(home).url(spec) == stack.known["url"]
    assert settled(stack) is stack, "nothing is learned anew"


def test_the_temporary_server_has_the_secrets_which_the_stack_has(spec: StackSpec, builder: Builder) -> None:
    home = made(spec)
    secrets = targets.access(home).secrets
    for name in launch.SHARED:
        assert secret_files.read(home.secrets, name) == secrets.found(name)


def test_another_launcher_finds_it_by_its_project_alone(spec: StackSpec, builder: Builder, tmp_path: Path) -> None:
    made(spec)
    at = {"target": "gcp", "project": spec.gcp.project, "region": spec.gcp.region}
    there = Where(name="trial", home=tmp_path / "another", **at)
    found, home = there.saved()
    assert found.gcp == spec.gcp and home.root == tmp_path / "another" and home.bucket is not None
    assert Where(name="trial", home=home.root).wanted().gcp == spec.gcp
    with pytest.raises(WrongCall, match=r"is at .*, not another-42 as --project says"):
        Where(home=home.root, project="another-42").there()
    with pytest.raises(Blocked, match="there is no stack in"):
        Where(name="other", home=tmp_path / "other", **at).there()
    assert not (tmp_path / "other").exists()


def test_it_is_removed_whole_and_its_backups_stay_with_their_key(spec: StackSpec, builder: Builder) -> None:
    home = made(spec)
    there = targets.access(home)
    there.objects.write("backups/x", b"1", if_generation=0)
    identity, key = there.ledger.id, there.secrets.found("encryption-key")
    with pytest.raises(NotReady, match=r"Google still holds subnetwork of the proxy, network \("):
        verb.destroy(home, "trial")
    google.pass_seconds(2 * 3600)
    assert verb.destroy(home, "trial") == [] and not home.root.exists()
    stack = stack_of(spec, identity)
    left = {each.name for each in stack.outside() if each.find()}
    assert left == {"APIs of Google's", "bucket", "secret encryption-key"}
    launch.join(spec, home)
    assert home.identity() == identity and not targets.access(home).ledger.has_wanted()
    launch.prepare_home(spec)
    assert targets.access(home).secrets.found("encryption-key") == key
    assert targets.access(home).objects.listing("backups/") == ["backups/x"]


def test_what_google_protects_is_not_removed(spec: StackSpec, builder: Builder) -> None:
    home = made(spec)
    protected = overlaid(spec.as_wanted(), {"gcp.database.protection": True})
    targets.access(home).ledger.write_wanted(protected, RELEASES)
    with pytest.raises(Blocked, match="Google protects the stack's database"):
        verb.destroy(home, "trial")
    (change,) = plan(catalog.composed(targets.saved(home).model_dump(mode="json")).outside())
    assert change.resource == "database instance" and change.action == "update"


def test_a_key_that_was_rotated_is_the_one_which_a_stack_made_anew_goes_on_with(
    spec: StackSpec, builder: Builder
) -> None:
    home = made(spec)
    there = targets.access(home)
    there.secrets.publish("encryption-key", there.secrets.add_version("encryption-key", "another key"))
    assert launch.adopted_versions(home, there.secrets, {"auth-string": 1})["encryption-key"] == 2
    assert launch.adopted_versions(home, there.secrets, {"encryption-key": 1}).keys() == {*secret_files.OF_A_STACK} - {
        "encryption-key"
    }
