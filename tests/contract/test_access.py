"""What the host may do with the stack's bucket and secrets, and that others' rights there are left as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from blocks.errors import Blocked
from blocks.gcp.access import BucketRoles, SecretRoles
from blocks.gcp.account import ServiceAccount
from blocks.gcp.google import Google
from blocks.gcp.names import bucket_name
from blocks.gcp.object_store import GcsObjectStore
from blocks.gcp.secret_store import GcpSecretStore
from blocks.resource import Apply, Resource, converge, plan, visit, visit_to_delete
from blocks.secret_store import SecretResource
from tests import google


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def seen(project: google.Project) -> Google:
    return project.seen_by()


@pytest.fixture
def account(seen: Google) -> ServiceAccount:
    return ServiceAccount(seen, "trial", "host")


@pytest.fixture
def objects(seen: Google) -> GcsObjectStore:
    return GcsObjectStore(seen, "trial", bucket_name("trial", seen.number), google.REGION)


@pytest.fixture
def secrets(seen: Google) -> GcpSecretStore:
    return GcpSecretStore(seen, "trial", google.REGION)


@pytest.fixture
def parts(seen: Google, account: ServiceAccount, objects: GcsObjectStore, secrets: GcpSecretStore) -> list[Resource]:
    made = [SecretResource(secrets, name, 1, lambda: "open-sesame", ()) for name in ("ours", "others")]
    access = [BucketRoles(seen, account, objects.bucket), SecretRoles(seen, account, "ours", "trial-ours")]
    return [account, *objects.outside(), *made, *access]


def once_allowed(call: Callable[[], object]) -> object:
    """What a call gives as soon as everybody at Google knows of the grant."""
    for _ in range(100):
        try:
            return call()
        except Blocked:
            google.pass_seconds(10)
    return call()


def test_the_host_gets_at_the_bucket_and_at_the_secrets_it_was_given(
    project: google.Project, account: ServiceAccount, parts: list[Resource]
) -> None:
    assert [each.action for each in plan(parts)] == ["create"] * len(parts)
    converge(parts)
    assert plan(parts) == []
    own = project.seen_by(f"serviceAccount:{account.email}")
    objects = GcsObjectStore(own, "trial", bucket_name("trial", project.seen_by().number), google.REGION)
    secrets = GcpSecretStore(own, "trial", google.REGION)
    once_allowed(lambda: objects.write("ledger/x", b"1", if_generation=0))
    assert objects.read("ledger/x") is not None and objects.listing() == ["ledger/x"]
    objects.remove("ledger/x")
    assert once_allowed(lambda: secrets.read("ours", 1)) == "open-sesame"
    assert secrets.add_version("ours", "another") == 2 and secrets.versions("ours") == (1, 2)
    secrets.publish("ours", 2)
    secrets.destroy_version("ours", 1)
    assert secrets.versions("ours") == (2,) and secrets.found("ours") == "another"
    with pytest.raises(Blocked, match="others"):
        secrets.read("others", 1)
    with pytest.raises(Blocked, match="third"):
        secrets.ensure("third", lambda: "open-sesame")


def test_what_was_taken_away_is_given_back_and_nobody_elses_goes(
    seen: Google, account: ServiceAccount, objects: GcsObjectStore, parts: list[Resource]
) -> None:
    converge(parts)
    theirs, bucket = ServiceAccount(seen, "trial", "theirs"), BucketRoles(seen, account, objects.bucket)
    converge([theirs])
    other = BucketRoles(seen, theirs, objects.bucket)
    visit(other, Apply())
    visit_to_delete(bucket, Apply())
    assert [each.resource for each in plan(parts)] == ["access to the bucket"]
    visit(bucket, Apply())
    assert plan(parts) == [] and other.find() == other.want()
