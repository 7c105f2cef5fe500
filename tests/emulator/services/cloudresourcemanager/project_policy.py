"""What a project's policy must keep to, besides what holds for every policy.

Sources: https://cloud.google.com/resource-manager/reference/rest/v1/projects/setIamPolicy (the constraints); the shape
of the error and SOLO_MUST_INVITE_OWNERS: googleapis/google-api-python-client#537,
hashicorp/terraform-provider-google#4276. The two other types are named by comments in public Terraform code alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tests.emulator.errors import ApiError
from tests.emulator.policies import EVERYONE

OWNER = "roles/owner"


def check(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """400 where the new policy of a project without an organization breaks a constraint."""
    members = {member for binding in after.get("bindings", ()) for member in binding.get("members", ())}
    if members.intersection(EVERYONE):
        raise _invalid()
    had, has = _owners(before), _owners(after)
    wrong = list(_refusals(had, has))
    if wrong:
        raise _invalid(*wrong)


def _refusals(had: set[str], has: set[str]) -> Iterator[dict[str, str]]:
    for member in sorted(has - had):
        if member.startswith("user:"):
            yield _detail("SOLO_MUST_INVITE_OWNERS", member)
        elif member.startswith("group:"):
            yield _detail("SOLO_GROUP_OWNERS_DISALLOWED", member)
    if _people(had) and not _people(has):
        yield from (_detail("SOLO_REQUIRE_TOS_ACCEPTOR", member) for member in sorted(_people(had)))


def _owners(policy: Mapping[str, Any]) -> set[str]:
    bindings = (each for each in policy.get("bindings", ()) if each.get("role") == OWNER)
    return {member for binding in bindings for member in binding.get("members", ())}


def _people(members: set[str]) -> set[str]:
    """Who can have accepted the terms of service."""
    return {member for member in members if member.startswith("user:")}


def _detail(kind: str, member: str) -> dict[str, str]:
    name = "type.googleapis.com/google.cloudresourcemanager.v1.ProjectIamPolicyError"
    return {"@type": name, "type": kind, "member": member, "role": OWNER}


def _invalid(*details: dict[str, str]) -> ApiError:
    return ApiError(400, "Request contains an invalid argument.", reason="badRequest", details=details)
