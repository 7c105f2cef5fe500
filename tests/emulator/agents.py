"""What Google sets up in a project when a service is enabled: service agents, default accounts, and their roles.

Sources: https://cloud.google.com/iam/docs/service-agents (emails and roles),
https://cloud.google.com/iam/docs/service-account-types#default (a project outside an organization grants roles/editor
to the default account; projects here have no organization). Which agent comes with enabling and which with the first
resource the documents do not tell for all of them: here each comes with enabling.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.emulator.access import Access
from tests.emulator.accounts import account, put_account
from tests.emulator.world import Project

AGENTS = {
    "compute.googleapis.com": (
        ("service-{number}@compute-system.iam.gserviceaccount.com", "roles/compute.serviceAgent"),
        ("{number}@cloudservices.gserviceaccount.com", "roles/editor"),
    ),
    "run.googleapis.com": (
        ("service-{number}@serverless-robot-prod.iam.gserviceaccount.com", "roles/run.serviceAgent"),
    ),
    "artifactregistry.googleapis.com": (
        ("service-{number}@gcp-sa-artifactregistry.iam.gserviceaccount.com", "roles/artifactregistry.serviceAgent"),
    ),
    "cloudbuild.googleapis.com": (
        ("service-{number}@gcp-sa-cloudbuild.iam.gserviceaccount.com", "roles/cloudbuild.serviceAgent"),
    ),
    "servicenetworking.googleapis.com": (
        ("service-{number}@service-networking.iam.gserviceaccount.com", "roles/servicenetworking.serviceAgent"),
    ),
    "sqladmin.googleapis.com": (
        ("service-{number}@gcp-sa-cloud-sql.iam.gserviceaccount.com", "roles/cloudsql.serviceAgent"),
    ),
    "storage.googleapis.com": (("service-{number}@gs-project-accounts.iam.gserviceaccount.com", ""),),
}
"""Service agents by service, with the role each gets in the project ("" is none)."""


def enable(access: Access, project: Project, services: Iterable[str]) -> None:
    """Enable services in a project, with all that comes with it."""
    project.services |= set(services)
    for service in sorted(project.services & AGENTS.keys()):
        for pattern, role in AGENTS[service]:
            _set_up(access, project, pattern.format(number=project.number), role)
    if "compute.googleapis.com" in project.services:
        _default_account(access, project)


def _set_up(access: Access, project: Project, email: str, role: str) -> None:
    """An agent is set up once: what was taken from it later stays taken."""
    if email in project.agents:
        return
    project.agents.add(email)
    if role:
        access.grant(f"projects/{project.id}", role, f"serviceAccount:{email}")


def _default_account(access: Access, project: Project) -> None:
    """Compute Engine's default service account, an account of the project's own; deleted, it does not come back."""
    email = f"{project.number}-compute@developer.gserviceaccount.com"
    if email in project.agents or account(access.world, email):
        return
    project.agents.add(email)
    put_account(access.world, project, email, displayName="Compute Engine default service account")
    access.grant(f"projects/{project.id}", "roles/editor", f"serviceAccount:{email}")
