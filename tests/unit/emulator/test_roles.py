"""Roles, Google's own and a project's, through google-api-python-client.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/roles, …/projects.roles and
https://cloud.google.com/iam/docs/roles-permissions
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import compute_v1

from tests.emulator.permissions import PERMISSIONS
from tests.emulator.roles import ROLES
from tests.unit.emulator.api_clients import account, client, iam, refused
from tests.unit.emulator.conftest import Emulated

PERSON = "user:person@example.com"


@pytest.fixture
def roles(google: Emulated) -> Any:
    return iam(google).projects().roles()


def made(google: Emulated, roles: Any, permissions: list[str], role_id: str = "reader") -> Any:
    body = {"roleId": role_id, "role": {"title": "Reader", "includedPermissions": permissions, "stage": "GA"}}
    return roles.create(parent=f"projects/{google.project}", body=body).execute()


def may_list(google: Emulated) -> bool:
    networks = compute_v1.NetworksClient(
        credentials=google.credentials_of(PERSON), client_options=google.options("compute")
    )
    try:
        list(networks.list(project=google.project))
    except Forbidden:
        return False
    return True


def test_a_role_of_the_project_is_in_force_until_it_is_deleted(google: Emulated, roles: Any) -> None:
    role = made(google, roles, ["compute.networks.list"])
    assert not may_list(google)
    google.grant(role["name"], PERSON)
    assert may_list(google)
    roles.patch(name=role["name"], body={"includedPermissions": []}, updateMask="includedPermissions").execute()
    assert not may_list(google)
    roles.patch(name=role["name"], body={"includedPermissions": ["compute.networks.list"]}).execute()
    assert may_list(google)
    assert roles.delete(name=role["name"]).execute()["deleted"] is True
    assert not may_list(google)
    roles.undelete(name=role["name"], body={}).execute()
    assert may_list(google)


def test_a_deleted_role_keeps_its_id_and_is_listed_only_when_asked_for(google: Emulated, roles: Any) -> None:
    """Source of the words: inspec/inspec-gcp, "where there is an existing role with that role_id"."""
    role = made(google, roles, [])
    assert "already exists" in refused_create(google, roles).reason
    roles.delete(name=role["name"]).execute()
    parent = f"projects/{google.project}"
    assert roles.list(parent=parent).execute().get("roles", []) == []
    assert [each["name"] for each in roles.list(parent=parent, showDeleted=True).execute()["roles"]] == [role["name"]]
    error = refused_create(google, roles)
    assert (error.status_code, "in a deleted state" in error.reason) == (400, True)
    google.advance(7 * 86400)
    late = iam(google).projects().roles()
    assert refused(late.undelete(name=role["name"], body={})).status_code == 404


def refused_create(google: Emulated, roles: Any) -> Any:
    return refused(roles.create(parent=f"projects/{google.project}", body={"roleId": "reader"}))


def test_a_change_of_what_another_has_changed_is_refused(google: Emulated, roles: Any) -> None:
    """Source: https://cloud.google.com/iam/docs/creating-custom-roles#read-modify-write"""
    role = made(google, roles, [])
    roles.patch(name=role["name"], body={"title": "Other", "etag": role["etag"]}).execute()
    error = refused(roles.patch(name=role["name"], body={"title": "Late", "etag": role["etag"]}))
    assert error.status_code == 409
    assert roles.get(name=role["name"]).execute()["title"] == "Other"


@pytest.mark.parametrize("permission", ["compute.networks.lsit", "compute.networks", "resourcemanager.projects.list"])
def test_a_permission_that_there_is_not_is_refused(google: Emulated, roles: Any, permission: str) -> None:
    """Sources: "is not valid", no issue found; https://cloud.google.com/iam/docs/custom-roles-permissions-support"""
    body = {"roleId": "wrong", "role": {"includedPermissions": [permission]}}
    error = refused(roles.create(parent=f"projects/{google.project}", body=body))
    assert (error.status_code, error.reason) == (400, f"Permission {permission} is not valid.")
    assert refused(roles.get(name=f"projects/{google.project}/roles/wrong")).status_code == 404


def test_an_unknown_role_cannot_be_granted(google: Emulated) -> None:
    policy = {"bindings": [{"role": "roles/compute.boss", "members": [PERSON]}]}
    accounts = iam(google).projects().serviceAccounts()
    error = refused(accounts.setIamPolicy(resource=account(google, "worker-1")["name"], body={"policy": policy}))
    assert (error.status_code, "roles/compute.boss" in error.reason) == (501, True)  # Google may well have it
    policy["bindings"][0]["role"] = f"projects/{google.project}/roles/none"
    error = refused(accounts.setIamPolicy(resource=account(google, "worker-2")["name"], body={"policy": policy}))
    words = f"Role projects/{google.project}/roles/none is not supported for this resource."
    assert (error.status_code, error.reason) == (400, words)


def test_googles_own_roles_are_read_by_anyone(google: Emulated) -> None:
    predefined = client(google, "iam.v1", google.credentials_of("user:nobody@example.com")).roles()
    role = predefined.get(name="roles/cloudsql.client").execute()
    assert role["includedPermissions"] == ["cloudsql.instances.connect", "cloudsql.instances.get"]
    names, request = [], predefined.list(pageSize=50)
    while request is not None:
        answer = request.execute()
        names += [each["name"] for each in answer["roles"]]
        request = predefined.list_next(request, answer)
    assert names == sorted(ROLES)
    assert refused(predefined.get(name="roles/compute.boss")).status_code == 404


def test_roles_that_can_be_granted_on_a_project(google: Emulated) -> None:
    body = {"fullResourceName": f"//cloudresourcemanager.googleapis.com/projects/{google.project}", "pageSize": 2000}
    granted = iam(google).roles().queryGrantableRoles(body=body).execute()["roles"]
    assert {"roles/owner", "roles/run.invoker"} <= {each["name"] for each in granted}


# -- what Google's roles hold: facts of https://cloud.google.com/iam/docs/roles-permissions ------------------------


@pytest.mark.parametrize(
    ("role", "holds", "lacks"),
    [
        ("owner", "resourcemanager.projects.setIamPolicy", "iam.serviceAccounts.getAccessToken"),
        ("owner", "secretmanager.versions.access", "storage.objects.get"),
        ("editor", "iam.serviceAccounts.actAs", "resourcemanager.projects.setIamPolicy"),
        ("editor", "secretmanager.secrets.create", "secretmanager.versions.access"),
        ("editor", "run.routes.invoke", "run.services.setIamPolicy"),
        ("editor", "storage.buckets.create", "storage.buckets.setIamPolicy"),
        ("viewer", "compute.instances.getSerialPortOutput", "compute.instances.start"),
        ("viewer", "secretmanager.secrets.get", "secretmanager.versions.access"),
        ("viewer", "iam.serviceAccounts.get", "iam.serviceAccounts.actAs"),
        ("browser", "resourcemanager.projects.get", "compute.instances.get"),
        ("compute.networkAdmin", "compute.networks.create", "compute.firewalls.create"),
        ("compute.securityAdmin", "compute.firewalls.create", "compute.networks.create"),
        ("compute.instanceAdmin.v1", "compute.instances.setMetadata", "iam.serviceAccounts.actAs"),
        ("compute.networkUser", "compute.subnetworks.use", "compute.subnetworks.create"),
        ("cloudsql.client", "cloudsql.instances.connect", "cloudsql.instances.list"),
        ("cloudsql.editor", "cloudsql.instances.update", "cloudsql.instances.create"),
        ("run.developer", "run.services.update", "run.services.setIamPolicy"),
        ("run.invoker", "run.routes.invoke", "run.services.get"),
        ("storage.admin", "storage.objects.get", "storage.hmacKeys.create"),
        ("storage.objectViewer", "storage.objects.get", "storage.buckets.get"),
        ("storage.objectCreator", "storage.objects.create", "storage.objects.delete"),
        ("storage.legacyBucketReader", "storage.objects.list", "storage.objects.get"),
        ("secretmanager.secretAccessor", "secretmanager.versions.access", "secretmanager.versions.add"),
        ("artifactregistry.writer", "artifactregistry.repositories.uploadArtifacts", "artifactregistry.tags.delete"),
        ("artifactregistry.reader", "artifactregistry.repositories.downloadArtifacts", "artifactregistry.tags.create"),
        ("iam.serviceAccountUser", "iam.serviceAccounts.actAs", "iam.serviceAccounts.getAccessToken"),
        ("iam.serviceAccountTokenCreator", "iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.actAs"),
        ("iam.serviceAccountAdmin", "iam.serviceAccounts.setIamPolicy", "iam.serviceAccountKeys.create"),
        ("serviceusage.serviceUsageConsumer", "serviceusage.services.use", "serviceusage.services.enable"),
        ("cloudbuild.builds.editor", "cloudbuild.builds.create", "cloudbuild.builds.approve"),
        ("logging.logWriter", "logging.logEntries.create", "logging.logEntries.list"),
        ("monitoring.metricWriter", "monitoring.timeSeries.create", "monitoring.timeSeries.list"),
    ],
)
def test_what_a_role_holds_and_what_it_does_not(role: str, holds: str, lacks: str) -> None:
    assert ROLES[f"roles/{role}"].holds(holds)
    assert not ROLES[f"roles/{role}"].holds(lacks)


def test_every_role_holds_something_and_names_only_what_there_is() -> None:
    for name, role in ROLES.items():
        assert any(map(role.holds, PERMISSIONS)), name
        for text in role.permissions:
            service, resources, verbs = text.removeprefix("-").split(".")
            for resource in resources.split("|"):
                for verb in verbs.split("|"):
                    assert any(_fits(each, service, resource, verb) for each in PERMISSIONS), (name, text)


def _fits(permission: str, *wanted: str) -> bool:
    return all(want in ("*", part) for part, want in zip(permission.split("."), wanted, strict=True))
