"""Who makes a stack at Google needs exactly what is listed: whole, changed, removed by one who may do that alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import yaml

from blocks.agent.spec import Artifact, Release
from blocks.gcp import permissions
from blocks.gcp.access import SECRET_ROLES
from blocks.gcp.google import Google
from blocks.gcp.machine import GcpMachine
from blocks.gcp.parts import Parts
from blocks.local.machine import LocalMachine
from blocks.resource import Apply, Change, Resource, in_order, visit, visit_to_delete
from blocks.secret_store import SecretResource
from blocks.site import Site
from blocks.spec import build_spec
from tests import google
from tests.contract.test_image import Builder, builder
from tests.emulator.services.run.domains import verify

__all__ = ["builder"]  # a fixture

DEPLOYER = "user:deployer@example.com"
SECRETS = ("auth-string", "database-login", "database-admin-password")
HOME = Path("/var/lib/prefect-selfhost/trial")
FOR_ALL = {"compute.images.useReadOnly"}
"""Google asks for it on its own images, which everybody may use."""
MENDING = frozenset(
    {
        "artifactregistry.repositories.update",
        "cloudsql.instances.update",
        "cloudsql.users.update",
        "compute.firewalls.update",
        "compute.instances.deleteAccessConfig",
        "compute.instances.setDeletionProtection",
        "compute.instances.updateShieldedInstanceConfig",
        "compute.networks.update",
        "compute.routers.update",
        "compute.subnetworks.setPrivateIpGoogleAccess",
        "compute.subnetworks.update",
        "iam.serviceAccounts.enable",
        "storage.buckets.update",
    }
)
"""What brings back what somebody has changed by hand."""


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def asked(project: google.Project, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """What the deployer was asked for by Google."""
    access, found = project.cloud.access, set()
    may = access.may

    def noted(member: str, permission: str, resources: Iterable[str]) -> bool:
        if member == DEPLOYER:
            found.add(permission)
        return may(member, permission, resources)

    monkeypatch.setattr(access, "may", noted)
    yield found


def grant(seen: Google, member: str, listed: Iterable[str]) -> None:
    """Give somebody a role in the project with these permissions, and wait until everybody knows."""
    role = {"roleId": "deployer", "role": {"includedPermissions": list(listed), "stage": "GA"}}
    seen.rest("making a role", "POST", "iam", f"v1/projects/{seen.project}/roles", role)
    path, asked = f"v3/projects/{seen.project}", {"options": {"requestedPolicyVersion": 3}}
    policy = seen.rest("reading", "POST", "cloudresourcemanager", f"{path}:getIamPolicy", asked)
    policy["bindings"].append({"role": f"projects/{seen.project}/roles/deployer", "members": [member]})
    seen.rest("writing", "POST", "cloudresourcemanager", f"{path}:setIamPolicy", {"policy": policy})
    google.pass_seconds(900)


def parts(seen: Google, **host: object) -> list[Resource]:
    """All that is outside the host of a stack with a domain."""
    section = {"project": seen.project, "region": google.REGION, "domain": "prefect.example.com", "host": host}
    section |= {"proxy": {"build": "cloud-build"}, "database": {"protection": False}}
    spec = build_spec({"name": "trial", "target": "gcp", "gcp": section}, "the test")
    made = Parts(seen, spec, Site(HOME, has_users=True), {"identity": "0123456789", "project.number": seen.number})
    there, tools = LocalMachine(HOME, "trial"), Release("tools-1", Artifact("lock.txt", "0" * 64))
    machine = GcpMachine(seen, "trial", spec.gcp, made.bucket(), made.objects(), there)
    secrets = [SecretResource(made.secrets(), each, 1, lambda: "open-sesame", ()) for each in SECRETS]
    ground = made.ground()
    listed = [*made.objects().outside(), *secrets, *made.access(SECRETS), *machine.outside()]
    listed += [*made.database({}, tools).outside(), *made.proxy().outside()]
    for each in listed:
        each.needs = each.needs or (ground[0].name,)
    return in_order([*ground, *listed])


def grow(seen: Google) -> list[Change]:
    """Change what can be changed, as a new spec does."""
    return [visit(each, Apply()) for each in parts(seen, machine_type="e2-standard-2", disk_gb=20, protection=False)]


def test_a_stack_is_made_changed_and_removed_by_who_may_do_what_is_listed_alone(
    project: google.Project, asked: set[str]
) -> None:
    verify(project.cloud, project.id, "example.com", pointed=True)
    grant(project.seen_by(), DEPLOYER, permissions.DEPLOYER)
    seen = project.seen_by(DEPLOYER)
    made = [visit(each, Apply()) for each in parts(seen)]
    assert {each.action for each in made if each.resource != "APIs of Google's"} == {"create"}
    assert [each.resource for each in grow(seen) if each.action != "keep"] == ["machine"]
    removed = []
    for each in reversed(parts(seen)):
        if each.name == "subnetwork of the proxy":
            google.pass_seconds(3 * 3600)  # Cloud Run gives it back late
        removed.append(visit_to_delete(each, Apply()))
    assert {each.action for each in removed} <= {"delete", "keep"}
    assert asked - set(permissions.DEPLOYER) == FOR_ALL
    assert set(permissions.DEPLOYER) - asked >= MENDING


def test_the_custom_role_is_what_gcloud_reads() -> None:
    text = permissions.custom_role("acme-data-42")
    role = yaml.safe_load(text)
    assert role["includedPermissions"] == sorted(permissions.DEPLOYER)
    assert set(role) == {"title", "description", "stage", "includedPermissions"}
    assert "gcloud iam roles create selfhost --project acme-data-42" in text
    assert all(each in text for each in permissions.HOST)


def test_what_editor_lacks_is_said() -> None:
    for each in ("run.services.setIamPolicy", "servicenetworking.services.addPeering"):
        assert "not in Editor" in permissions.DEPLOYER[each]


def test_the_host_may_give_nobody_anything() -> None:
    """But what it reads itself: with its own secrets it is alone in having the role that can publish one."""
    others = [each for each in permissions.HOST if each not in SECRET_ROLES]
    assert not [each for each in others if "admin" in each.lower() or each in ("roles/owner", "roles/editor")]
    assert SECRET_ROLES == ("roles/secretmanager.admin",)
