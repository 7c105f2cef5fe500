"""Enabling services through google-api-python-client.

Source: https://cloud.google.com/service-usage/docs/reference/rest/v1/services
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.emulator.api_clients import client, iam, policy_of, refused
from tests.unit.emulator.conftest import Emulated

NUMBERS = itertools.count(1)
COMPUTE = "compute.googleapis.com"


@pytest.fixture
def bare(google: Emulated) -> Emulated:
    """A project with nothing enabled but what every project has."""
    project = f"bare-{next(NUMBERS)}"
    return replace(google, project=project, token=google.cloud.add_project(project))


@pytest.fixture
def services(bare: Emulated) -> Any:
    return client(bare, "serviceusage.v1").services()


def enabled(bare: Emulated, services: Any) -> set[str]:
    found, request = set(), services.list(parent=f"projects/{bare.project}", filter="state:ENABLED", pageSize=5)
    while request is not None:
        answer = request.execute()
        found |= {each["config"]["name"] for each in answer["services"]}
        request = services.list_next(request, answer)
    return found


def test_a_service_answers_once_it_is_enabled(bare: Emulated, services: Any) -> None:
    name = f"projects/{bare.project}/services/iam.googleapis.com"
    assert services.get(name=name).execute()["state"] == "DISABLED"
    accounts = iam(bare).projects().serviceAccounts()
    error = refused(accounts.list(name=f"projects/{bare.project}"))
    assert (error.status_code, "has not been used in project" in error.reason) == (403, True)
    operation = services.enable(name=name, body={}).execute()
    assert (operation["done"], operation["response"]["service"]["state"]) == (True, "ENABLED")
    assert accounts.list(name=f"projects/{bare.project}").execute() == {}


def test_a_service_already_enabled_is_no_work(bare: Emulated, services: Any) -> None:
    name = f"projects/{bare.project}/services/storage.googleapis.com"
    operation = services.enable(name=name, body={}).execute()
    assert operation["name"] == "operations/noop.DONE_OPERATION"
    operations = client(bare, "serviceusage.v1").operations()
    assert operations.get(name=operation["name"]).execute()["done"] is True


def test_enabling_takes_its_time(slow_google: Emulated) -> None:
    project = f"bare-{next(NUMBERS)}"
    bare = replace(slow_google, project=project, token=slow_google.cloud.add_project(project))
    usage = client(bare, "serviceusage.v1")
    body = {"serviceIds": [COMPUTE, "run.googleapis.com"]}
    operation = usage.services().batchEnable(parent=f"projects/{project}", body=body).execute()
    assert "done" not in operation
    assert COMPUTE not in enabled(bare, usage.services())
    bare.advance(60)
    done = client(bare, "serviceusage.v1").operations().get(name=operation["name"]).execute()
    names = [each["config"]["name"] for each in done["response"]["services"]]
    assert names == [COMPUTE, "run.googleapis.com"]
    assert {COMPUTE, "run.googleapis.com"} <= enabled(bare, client(bare, "serviceusage.v1").services())


def test_with_compute_engine_come_its_accounts(bare: Emulated, services: Any) -> None:
    """Sources: https://cloud.google.com/iam/docs/service-account-types#default, …/service-agents"""
    number = bare.cloud.world.projects[bare.project].number
    for service in (COMPUTE, "iam.googleapis.com"):
        services.enable(name=f"projects/{bare.project}/services/{service}", body={}).execute()
    default = f"{number}-compute@developer.gserviceaccount.com"
    accounts = iam(bare).projects().serviceAccounts()
    listed = accounts.list(name=f"projects/{bare.project}").execute()["accounts"]
    assert [each["email"] for each in listed] == [default]
    policy = policy_of(bare)
    assert f"serviceAccount:{default}" in policy["roles/editor"]
    agent = f"serviceAccount:service-{number}@compute-system.iam.gserviceaccount.com"
    assert policy["roles/compute.serviceAgent"] == {agent}


def test_an_agent_that_there_is_not_yet_is_no_member(bare: Emulated, services: Any) -> None:
    number = bare.cloud.world.projects[bare.project].number
    agent = f"serviceAccount:service-{number}@serverless-robot-prod.iam.gserviceaccount.com"
    projects = client(bare, "cloudresourcemanager.v3").projects()
    resource = f"projects/{bare.project}"
    policy = projects.getIamPolicy(resource=resource).execute()
    policy["bindings"].append({"role": "roles/viewer", "members": [agent]})
    error = refused(projects.setIamPolicy(resource=resource, body={"policy": policy}))
    assert (error.status_code, "does not exist" in error.reason) == (400, True)
    services.enable(name=f"{resource}/services/run.googleapis.com", body={}).execute()
    assert refused(projects.setIamPolicy(resource=resource, body={"policy": policy})).status_code == 400
    older = client(bare, "serviceusage.v1beta1").services()
    made = older.generateServiceIdentity(parent=f"{resource}/services/run.googleapis.com").execute()
    assert f"serviceAccount:{made['response']['email']}" == agent
    projects.setIamPolicy(resource=resource, body={"policy": policy}).execute()
    assert "roles/run.serviceAgent" not in policy_of(bare)


def test_an_agent_comes_into_being_with_the_first_use_of_its_service(bare: Emulated, services: Any) -> None:
    """Sources: https://cloud.google.com/iam/docs/create-service-agents, hashicorp/terraform-provider-google#9969"""
    project = bare.cloud.world.projects[bare.project]
    number, storage = project.number, f"service-{project.number}@gs-project-accounts.iam.gserviceaccount.com"
    services.batchEnable(
        parent=f"projects/{bare.project}", body={"serviceIds": ["cloudbuild.googleapis.com", "run.googleapis.com"]}
    ).execute()
    assert storage not in project.agents
    client(bare, "storage.v1").projects().serviceAccount().get(projectId=bare.project).execute()
    assert storage in project.agents
    assert "roles/cloudbuild.serviceAgent" not in policy_of(bare)
    builds = client(bare, "cloudbuild.v1").projects().builds()
    builds.create(projectId=bare.project, body={"steps": [{"name": "gcr.io/cloud-builders/docker"}]}).execute()
    agent = f"serviceAccount:service-{number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"
    assert policy_of(bare)["roles/cloudbuild.serviceAgent"] == {agent}


def test_what_another_service_needs_is_disabled_with_it_or_not_at_all(bare: Emulated, services: Any) -> None:
    """Sources: hashicorp/terraform-provider-google#5424 (words), GoogleCloudPlatform/magic-modules#4200 (the need)."""
    services.enable(name=f"projects/{bare.project}/services/{COMPUTE}", body={}).execute()
    name = f"projects/{bare.project}/services/oslogin.googleapis.com"
    assert services.get(name=name).execute()["state"] == "ENABLED"
    error = refused(services.disable(name=name, body={}))
    assert error.reason == (
        f"The service oslogin.googleapis.com is depended on by the following active service: {COMPUTE}; Please "
        "specify disable_dependent_services=true if you want to proceed with disabling all services."
    )
    services.disable(name=name, body={"disableDependentServices": True}).execute()
    assert enabled(bare, services).isdisjoint({COMPUTE, "oslogin.googleapis.com"})
    assert refused(services.disable(name=name, body={})).status_code == 400


def test_a_service_in_use_is_not_disabled_where_that_is_asked(bare: Emulated, services: Any) -> None:
    """Source: the reference, CheckIfServiceHasUsage: "has usage in the last 30 days", FAILED_PRECONDITION"""
    name, check = f"projects/{bare.project}/services/iam.googleapis.com", {"checkIfServiceHasUsage": "CHECK"}
    services.enable(name=name, body={}).execute()
    iam(bare).projects().serviceAccounts().list(name=f"projects/{bare.project}").execute()
    error = refused(services.disable(name=name, body=check))
    assert (error.status_code, error.error_details[0]["reason"]) == (400, "COMMON_SU_SERVICE_HAS_USAGE")
    bare.advance(30 * 86400)
    client(bare, "serviceusage.v1").services().disable(name=name, body=check).execute()


def test_a_service_that_there_is_not(bare: Emulated, services: Any) -> None:
    """Source: SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED; no issue found"""
    error = refused(services.enable(name=f"projects/{bare.project}/services/sql.googleapis.com", body={}))
    assert error.reason == "Not found or permission denied for service(s): sql.googleapis.com."
    assert error.error_details[0]["reason"] == "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED"


def test_batches_have_their_limits(bare: Emulated, services: Any) -> None:
    parent = f"projects/{bare.project}"
    names = [f"{parent}/services/{each}" for each in (COMPUTE, "storage.googleapis.com")]
    got = services.batchGet(parent=parent, names=names).execute()["services"]
    assert [each["state"] for each in got] == ["DISABLED", "ENABLED"]
    assert refused(services.batchGet(parent=parent, names=names * 16)).status_code == 400
    assert refused(services.batchEnable(parent=parent, body={"serviceIds": [COMPUTE] * 21})).status_code == 400
    assert refused(services.list(parent=parent, filter="state:OTHER")).status_code == 400


def test_who_may_not_enable_is_told_the_permission(bare: Emulated) -> None:
    bare.cloud.access.grant(f"projects/{bare.project}", "roles/viewer", "user:a@example.com")
    theirs = client(bare, "serviceusage.v1", bare.credentials_of("user:a@example.com")).services()
    name = f"projects/{bare.project}/services/{COMPUTE}"
    assert theirs.get(name=name).execute()["state"] == "DISABLED"
    error = refused(theirs.enable(name=name, body={}))
    assert (error.status_code, "Permission denied to enable service" in error.reason) == (403, True)
    assert error.error_details[0]["metadata"]["permission"] == "serviceusage.services.enable"
