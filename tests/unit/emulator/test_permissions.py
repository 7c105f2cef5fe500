"""Every emulated method's permission is one of Google's and in some role; without a role nothing is allowed.

Sources: https://cloud.google.com/iam/docs/permissions-reference, https://cloud.google.com/iam/docs/roles-permissions
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.permissions import PERMISSIONS
from tests.emulator.roles import ROLES
from tests.unit.emulator.api_clients import client, refused
from tests.unit.emulator.conftest import Emulated

EXCUSED = re.compile(r"run\.domainmappings\.\w+")
"""Permissions named by Cloud Run's reference that no list of roles has: administrators of Cloud Run hold them here."""
OWN_CHECKS = {
    r".*\.testIamPermissions": "tells what is held, and needs nothing",
    r"cloudresourcemanager\.projects\.(list|search)": "shows what the caller may see",
    r"compute\.(a|globalA)ddresses\.(insert|delete)": "an internal address needs another one than an external one",
    r"iam\.roles\.\w+": "Google's own roles are everyone's to read",
    r"iamcredentials\..*": "asked for at the end of the chain of delegates",
    r"(serviceusage|servicenetworking)\.operations\.get": "the project is in the operation",
    r"serviceusage\.services\.generateServiceIdentity": "an agent without a role does nothing (create-service-agents)",
    r"sql\.flags\.list": "of no project",
}
"""Methods without a permission at the door, and why."""


def emulated() -> Iterator[tuple[str, str]]:
    """Id and permission of every method of Google's documents that is answered."""
    cloud = Cloud(VirtualClock())
    for document in cloud.router.documents.values():
        for method in document.methods:
            if answering := cloud.handler(method):
                yield method.id, answering.permission


def test_every_permission_is_one_of_googles_and_some_role_gives_it() -> None:
    named = {permission for _, permission in emulated() if permission and not EXCUSED.fullmatch(permission)}
    assert len(named) > 100
    lesser = [role for name, role in ROLES.items() if name != "roles/owner"]
    assert sorted(named - PERMISSIONS) == []
    assert [each for each in sorted(named) if not any(role.holds(each) for role in lesser)] == []


def test_a_method_without_a_permission_has_a_reason() -> None:
    open_to_all = [method for method, permission in emulated() if not permission]
    assert [each for each in open_to_all if not any(re.fullmatch(known, each) for known in OWN_CHECKS)] == []


def test_what_changes_something_is_beyond_a_viewer_and_policies_beyond_an_editor() -> None:
    writes = re.compile(r"[^.]+\.[^.]+\.(create|delete|update|patch|set\w+|insert|add\w+|start|stop|reset)")
    named = {permission for _, permission in emulated()}
    viewer, editor = ROLES["roles/viewer"], ROLES["roles/editor"]
    assert [each for each in sorted(named) if writes.fullmatch(each) and viewer.holds(each)] == []
    policies = [each for each in sorted(named) if each.endswith(".setIamPolicy")]
    assert len(policies) > 4
    assert [each for each in policies if editor.holds(each)] == []


CALLS: list[tuple[str, str, dict[str, str], str]] = [
    ("compute.v1", "networks.list", {"project": "{}"}, "compute.networks.list"),
    ("compute.v1", "networks.insert", {"project": "{}"}, "compute.networks.create"),
    ("compute.v1", "instances.delete", {"project": "{}", "zone": "us-central1-a", "instance": "i"}, "instances.delete"),
    ("sqladmin.v1", "instances.list", {"project": "{}"}, "cloudsql.instances.list"),
    ("sqladmin.v1", "users.list", {"project": "{}", "instance": "i"}, "cloudsql.users.list"),
    (
        "run.v2",
        "projects.locations.services.list",
        {"parent": "projects/{}/locations/us-central1"},
        "run.services.list",
    ),
    (
        "artifactregistry.v1",
        "projects.locations.repositories.list",
        {"parent": "projects/{}/locations/us-central1"},
        "artifactregistry.repositories.list",
    ),
    ("secretmanager.v1", "projects.secrets.list", {"parent": "projects/{}"}, "secretmanager.secrets.list"),
    (
        "secretmanager.v1",
        "projects.secrets.versions.access",
        {"name": "projects/{}/secrets/s/versions/1"},
        "secretmanager.versions.access",
    ),
    ("storage.v1", "buckets.list", {"project": "{}"}, "storage.buckets.list"),
    ("iam.v1", "projects.serviceAccounts.list", {"name": "projects/{}"}, "iam.serviceAccounts.list"),
    ("iam.v1", "projects.roles.list", {"parent": "projects/{}"}, "iam.roles.list"),
    (
        "cloudresourcemanager.v3",
        "projects.getIamPolicy",
        {"resource": "projects/{}"},
        "resourcemanager.projects.getIamPolicy",
    ),
    ("cloudresourcemanager.v1", "projects.get", {"projectId": "{}"}, "resourcemanager.projects.get"),
    ("serviceusage.v1", "services.list", {"parent": "projects/{}"}, "serviceusage.services.list"),
    ("cloudbuild.v1", "projects.builds.list", {"projectId": "{}"}, "cloudbuild.builds.list"),
    (
        "servicenetworking.v1",
        "services.connections.list",
        {"parent": "services/servicenetworking.googleapis.com", "network": "projects/{}/global/networks/n"},
        "servicenetworking.services.get",
    ),
]


@pytest.mark.parametrize(("api", "method", "parameters", "permission"), CALLS, ids=[call[1] for call in CALLS])
def test_without_a_role_a_caller_is_told_what_it_lacks(
    google: Emulated, api: str, method: str, parameters: dict[str, str], permission: str
) -> None:
    resource: Any = client(google, api, google.credentials_of("user:nobody@example.com"))
    *collections, verb = method.split(".")
    for collection in collections:
        resource = getattr(resource, collection)()
    told = {name: text.format(google.project) for name, text in parameters.items()}
    body = {"body": {}} if verb in ("insert", "getIamPolicy") else {}
    error = refused(getattr(resource, verb)(**told, **body))
    assert error.status_code == 403
    assert permission in error.content.decode()
