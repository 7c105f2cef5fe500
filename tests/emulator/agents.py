"""What Google sets up in a project when a service is enabled: service agents, default accounts, and their roles.

Sources: https://cloud.google.com/iam/docs/service-agents (emails and roles),
https://cloud.google.com/iam/docs/service-account-types#default (a project outside an organization grants roles/editor
to the default account; projects here have no organization),
https://cloud.google.com/iam/docs/create-service-agents ("created automatically as you enable and use"; those asked for
beforehand get no role). Which agent comes with enabling and which with the first use the documents do not tell for all
of them: here those of Compute Engine come with enabling, as its default account does
(midl-dev/tezos-on-gke#45), and each other one when its service is first told to do something
(hashicorp/terraform-provider-google#9969, Cloud Storage's when it is asked for).
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


COMPUTE = "compute.googleapis.com"


def enable(access: Access, project: Project, services: Iterable[str]) -> None:
    """Enable services in a project, with all that comes with it."""
    project.services |= set(services)
    if COMPUTE in project.services:
        used(access, project, COMPUTE)
        _default_account(access, project)


def used(access: Access, project: Project, service: str) -> None:
    """Set up a service's agents, with their roles, unless they are there."""
    for email, role in of(project, service):
        _set_up(access, project, email, role)


def of(project: Project, service: str) -> list[tuple[str, str]]:
    """Emails of a service's agents in a project, with the role that each gets."""
    return [(pattern.format(number=project.number), role) for pattern, role in AGENTS.get(service, ())]


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
    if project.organization:  # constraints/iam.automaticIamGrantsForDefaultServiceAccounts: organization.py
        return
    access.grant(f"projects/{project.id}", "roles/editor", f"serviceAccount:{email}")
