"""The stack's instance of Cloud SQL: made, read again, mended, protected; on the emulator at Google's own speed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from blocks.errors import Blocked, NotReady
from blocks.gcp.database import AdminLogin
from blocks.gcp.network import Network
from blocks.gcp.sql import SqlInstance
from blocks.gcp_spec import GcpDatabase
from blocks.resource import Apply, Resource, converge, plan, visit, visit_to_delete
from tests import google
from tests.contract.test_network import Account

UNPROTECTED = GcpDatabase(protection=False, maintenance_day=2, maintenance_hour=4)


@pytest.fixture(scope="module")
def project() -> google.Project:
    return google.project()


@pytest.fixture(scope="module")
def network(project: google.Project) -> Network:
    """A network with its connection to Google's services."""
    made = Network(project.seen_by(), "trial", google.REGION, f"trial-host@{project.id}.iam.gserviceaccount.com")
    converge([Account(), *made.resources()])
    return made


@pytest.fixture(scope="module")
def names() -> Iterator[str]:
    """A name is not to be had again for a week."""
    return iter(f"trial-{number}" for number in range(100))


@pytest.fixture
def instance(network: Network, names: Iterator[str]) -> SqlInstance:
    return SqlInstance(network.google, network, next(names), UNPROTECTED)


def within(network: Network, instance: SqlInstance) -> list[Resource]:
    return [Account(), *network.resources(), instance]


def seen(instance: SqlInstance) -> Any:
    named = {"project": instance._google.project, "instance": instance._instance}
    return instance._google.sql("Instances").get(request=named)


def patched(instance: SqlInstance, **settings: Any) -> None:
    client = instance._google.sql("Instances")
    named = {"project": instance._google.project, "instance": instance._instance}
    client.patch(request={**named, "body": {"settings": settings}})
    google.pass_seconds(3600)


def test_it_is_made_as_the_notes_say_and_then_as_wanted(network: Network, instance: SqlInstance) -> None:
    assert [each.resource for each in plan(within(network, instance))] == ["database instance"]
    visit(instance, Apply())
    assert plan(within(network, instance)) == []
    found = seen(instance)
    assert (found.settings.tier, found.database_version.name) == ("db-custom-2-7680", "POSTGRES_18")
    assert [each.type_.name for each in found.ip_addresses] == ["PRIVATE"]
    assert found.settings.ip_configuration.ssl_mode.name == "ENCRYPTED_ONLY"
    assert found.settings.backup_configuration.point_in_time_recovery_enabled
    assert (found.settings.maintenance_window.day, found.settings.maintenance_window.hour) == (2, 4)
    assert instance.address() == found.ip_addresses[0].ip_address


def test_what_somebody_changed_of_it_is_seen_and_mended(network: Network, instance: SqlInstance) -> None:
    visit(instance, Apply())
    patched(instance, tier="db-custom-4-15360", database_flags=[{"name": "log_connections", "value": "on"}])
    (change,) = plan(within(network, instance))
    assert change.action == "update" and list(change.fields) == ["settings"]
    assert "restarted" in change.interrupts
    visit(instance, Apply())
    assert plan(within(network, instance)) == []


def test_a_disk_that_has_grown_is_no_drift(network: Network, instance: SqlInstance) -> None:
    visit(instance, Apply())
    patched(instance, data_disk_size_gb=50)
    assert plan(within(network, instance)) == []


def test_a_protected_one_stays(network: Network, names: Iterator[str]) -> None:
    instance = SqlInstance(network.google, network, next(names), GcpDatabase(tier="db-custom-1-3840"))
    visit(instance, Apply())
    with pytest.raises(Blocked, match="The instance is protected"):
        visit_to_delete(instance, Apply())
    unprotected = SqlInstance(
        network.google, network, instance._instance, GcpDatabase(tier="db-custom-1-3840", protection=False)
    )
    visit(unprotected, Apply())
    visit_to_delete(unprotected, Apply())
    assert unprotected.find() is None


def test_anothers_instance_is_left(network: Network, instance: SqlInstance) -> None:
    visit(instance, Apply())
    patched(instance, user_labels={"prefect-selfhost": "another"})
    with pytest.raises(Blocked, match="not this stack's"):
        visit(instance, Apply())
    assert visit_to_delete(instance, Apply()).action == "leave"


def test_one_that_is_still_being_made_is_waited_for_not_made_twice(network: Network, instance: SqlInstance) -> None:
    """As after a launcher that was killed right behind its call."""
    client = network.google.sql("Instances")
    body = {**instance.want(), "name": instance._instance}
    body["settings"] = {**body["settings"], "database_flags": []}  # type: ignore[dict-item]
    client.insert(request={"project": network.google.project, "body": body})
    with pytest.raises(NotReady, match="PENDING_CREATE"):
        plan(within(network, instance))
    google.pass_seconds(3600)
    assert visit(instance, Apply()).action == "update"
    assert plan(within(network, instance)) == []


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-after"])
def test_a_lost_answer_ends_in_the_same_instance(
    project: google.Project, network: Network, instance: SqlInstance, kind: str
) -> None:
    with project.fault(kind, "sql.instances.insert"):
        visit(instance, Apply())
    assert plan(within(network, instance)) == []


def test_a_login_that_may_make_roles_is_added_once_even_where_the_answer_is_lost(
    project: google.Project, network: Network, instance: SqlInstance
) -> None:
    login = AdminLogin(instance, lambda: "a password of ours")
    assert login.find() is None  # there is no instance yet
    visit(instance, Apply())
    with project.fault("reset-after", "sql.users.insert"):
        visit(login, Apply())
    assert visit(login, Apply()).action == "keep"
    assert "a password of ours" not in str(login.find())


def test_its_authorities_are_read_all_of_them_while_google_changes_them(
    network: Network, instance: SqlInstance
) -> None:
    with pytest.raises(NotReady, match="not made yet"):
        instance.authority()
    visit(instance, Apply())
    (first,) = certificates(instance)
    client = instance._google.sql("Instances")
    client.add_server_ca(request=instance._named())
    google.pass_seconds(3600)
    assert first in certificates(instance) and len(certificates(instance)) == 2


def certificates(instance: SqlInstance) -> list[bytes]:
    found = x509.load_pem_x509_certificates(instance.authority().encode())
    return [each.fingerprint(SHA256()) for each in found]
