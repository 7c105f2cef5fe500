"""What an organization made since May 2024 forbids in its projects from its first day.

Source: https://cloud.google.com/resource-manager/docs/secure-by-default-organizations. A project made with an
organization's domain has these constraints; one without is a person's own, without any. Contacts, zonal DNS and
protocol forwarding, which are on the list too, concern nothing that is emulated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.emulator import accounts
from tests.emulator.errors import ApiError
from tests.emulator.world import Project, World

NOT_PERMITTED = "One or more users named in the policy do not belong to a permitted customer."


def check_members(world: World, project: Project, policy: Mapping[str, Any]) -> None:
    """constraints/iam.allowedPolicyMemberDomains: nobody from outside, and so not everyone.

    Sources: terraform-google-modules/terraform-example-foundation#1454 (message and details, for an account of
    Google's that is of no project of the organization), #1257.
    """
    members = {member for binding in policy.get("bindings", ()) for member in binding.get("members", ())}
    outside = sorted(each for each in members if project.organization and not _inside(world, project, each))
    if outside:
        raise ApiError(400, NOT_PERMITTED, status="FAILED_PRECONDITION", reason="failedPrecondition",
                       details=[_violations(project, outside)])  # fmt: skip


def _violations(project: Project, outside: Iterable[str]) -> dict[str, Any]:
    names = (each.partition(":")[2] or each for each in outside)
    return {
        "@type": "type.googleapis.com/google.rpc.PreconditionFailure",
        "violations": [
            {
                "type": "constraints/iam.allowedPolicyMemberDomains",
                "subject": f"orgpolicy:projects/{project.id}?configvalue={name}",
                "description": f"User {name} is not in permitted organization.",
            }
            for name in names
        ],
    }


def _inside(world: World, project: Project, member: str) -> bool:
    kind, _, name = member.partition(":")
    if kind in ("user", "group", "domain"):
        return name.rpartition("@")[2] == project.organization
    if kind == "serviceAccount":
        agent = re.fullmatch(r"(?:service-)?(\d+)@.+", name)
        home = accounts.home(world, name) or (world.project(agent[1]) if agent else None)
        return home is not None and home.organization == project.organization
    return kind in ("projectOwner", "projectEditor", "projectViewer", "deleted") or member.startswith("principal")


def check_key(project: Project, account: str) -> None:
    """constraints/iam.disableServiceAccountKeyCreation.

    Sources: GaloyMoney/galoy-infra#242, google/create-service-account#21.
    """
    if project.organization:
        words, quoted = "Key creation is not allowed on this service account.", account.replace("@", "%40")
        violation = {
            "type": "constraints/iam.disableServiceAccountKeyCreation",
            "subject": f"projects/{project.id}/serviceAccounts/{account}?configvalue={quoted}",
            "description": words,
        }
        info = {"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]}
        raise ApiError(400, words, status="FAILED_PRECONDITION", reason="failedPrecondition", details=[info])


def check_uniform(project: Project, enabled: bool) -> None:
    """constraints/storage.uniformBucketLevelAccess. Source: pulumi/docs#12973, GaloyMoney/galoy-infra#241."""
    if project.organization and not enabled:
        words = "Request violates constraint 'constraints/storage.uniformBucketLevelAccess'"
        raise ApiError(412, words, reason="conditionNotMet")
