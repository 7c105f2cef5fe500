"""A stack's service accounts and their roles, where Google takes its time until everybody knows of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from blocks.errors import Blocked
from blocks.gcp.account import ProjectRoles, ServiceAccount
from blocks.gcp.google import Google
from blocks.resource import Apply, converge, plan, visit, visit_to_delete
from tests import google

ROLES = ("roles/logging.logWriter", "roles/monitoring.metricWriter")


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def seen(project: google.Project) -> Google:
    return project.seen_by()


@pytest.fixture
def account(seen: Google) -> ServiceAccount:
    return ServiceAccount(seen, "trial", "host")


def policy_of(seen: Google) -> dict[str, set[str]]:
    body: dict[str, Any] = {"options": {"requestedPolicyVersion": 3}}
    policy = seen.rest("reading", "POST", "cloudresourcemanager", f"v3/projects/{seen.project}:getIamPolicy", body)
    return {each["role"]: set(each["members"]) for each in policy["bindings"]}


def test_an_account_with_its_roles_is_made_once(seen: Google, account: ServiceAccount) -> None:
    parts = [account, ProjectRoles(seen, account, ROLES)]
    before = policy_of(seen)
    assert [each.action for each in plan(parts)] == ["create", "create"]
    converge(parts)
    assert plan(parts) == []
    member = f"serviceAccount:{account.email}"
    assert policy_of(seen) == before | {role: {member} for role in ROLES}


def test_it_may_do_in_the_end_what_its_roles_say(
    project: google.Project, seen: Google, account: ServiceAccount
) -> None:
    converge([account, ProjectRoles(seen, account, ("roles/browser",))])
    own = project.seen_by(f"serviceAccount:{account.email}")

    def number() -> str:
        try:
            found = own.rest("reading", "GET", "cloudresourcemanager", f"v3/projects/{own.project}")
            return str(found["name"]).removeprefix("projects/")
        except Blocked:
            return ""

    assert own.wait(number, "the role being known", seconds=600, every=10).isdigit()


def test_roles_that_somebody_has_added_or_taken_are_drift(seen: Google, account: ServiceAccount) -> None:
    roles = ProjectRoles(seen, account, ROLES)
    converge([account, roles])
    converge([account, ProjectRoles(seen, account, (ROLES[0], "roles/owner"))])
    (change,) = plan([account, roles])
    assert change.fields == {"roles": ([ROLES[0], "roles/owner"], list(ROLES))}
    visit(roles, Apply())
    assert plan([account, roles]) == []
    assert account.email not in str(policy_of(seen)["roles/owner"])


def test_removed_without_touching_what_others_have(seen: Google, account: ServiceAccount) -> None:
    before, roles = policy_of(seen), ProjectRoles(seen, account, ROLES)
    converge([account, roles])
    visit_to_delete(roles, Apply())
    visit_to_delete(account, Apply())
    assert policy_of(seen) == before
    assert [each.action for each in plan([account, roles])] == ["create", "create"]


def test_anothers_account_of_that_name_stands_in_the_way(seen: Google, account: ServiceAccount) -> None:
    body = {"accountId": "trial-host", "serviceAccount": {"description": "made by hand"}}
    seen.rest("making", "POST", "iam", f"v1/projects/{seen.project}/serviceAccounts", body)
    google.pass_seconds(120)
    with pytest.raises(Blocked, match="not this stack's: 'made by hand'"):
        plan([account])


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-after"])
def test_a_lost_answer_makes_no_second_one(
    project: google.Project, seen: Google, account: ServiceAccount, kind: str
) -> None:
    with project.fault(kind, "iam.projects.serviceAccounts.create"):
        visit(account, Apply())
    with project.fault(kind, "cloudresourcemanager.projects.setIamPolicy"):
        visit(ProjectRoles(seen, account, ROLES), Apply())
    assert plan([account, ProjectRoles(seen, account, ROLES)]) == []


def test_one_that_was_disabled_by_hand_is_enabled_again(seen: Google, account: ServiceAccount) -> None:
    visit(account, Apply())
    seen.rest("disabling", "POST", "iam", f"v1/projects/{seen.project}/serviceAccounts/{account.email}:disable", {})
    assert [each.fields for each in plan([account])] == [{"disabled": (True, False)}]
    visit(account, Apply())
    assert plan([account]) == []


def test_whoever_may_not_read_the_policy_is_told_so(project: google.Project, account: ServiceAccount) -> None:
    stranger = project.seen_by("user:stranger@example.com")
    with pytest.raises(Blocked, match="reading the project's policy"):
        ProjectRoles(replace(stranger), account, ROLES).find()
