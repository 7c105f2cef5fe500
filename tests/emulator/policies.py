"""What an IAM policy may say, for all resources alike.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/Policy, https://cloud.google.com/iam/docs/principal-identifiers,
https://cloud.google.com/iam/quotas#limits and, for the words, hashicorp/terraform-provider-google#9130 (roles),
GoogleCloudPlatform/genai-for-marketing#139 (accounts); of the size a note in a public repository, no issue found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.emulator import accounts
from tests.emulator.errors import ApiError, not_emulated
from tests.emulator.world import World

PRINCIPALS = 1500
"""Source: https://cloud.google.com/iam/quotas#limits, "all principals … within a single allow policy"."""
EVERYONE = ("allUsers", "allAuthenticatedUsers")
EMAIL = r"[^@:/\s]+@[^@:/\s]+"
MEMBER = re.compile(
    rf"(?:user|group|serviceAccount):{EMAIL}|domain:[^@:/\s]+|principal(?:Set)?://iam\.googleapis\.com/\S+"
    rf"|project(?:Owner|Editor|Viewer):\S+|deleted:(?:user|group|serviceAccount):{EMAIL}\?uid=\d+"
)


def checked(policy: Mapping[str, Any], world: World, is_role: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The policy's bindings, one for each role; 400 for what is wrong, 501 for what would be without effect here."""
    version = policy.get("version", 0)
    if version not in (0, 1, 3):
        raise ApiError(400, f"Invalid policy version {version}: valid values are 0, 1, and 3.")  # words: no source
    if policy.get("auditConfigs"):
        raise not_emulated("auditConfigs of a policy")
    merged: dict[str, list[str]] = {}
    for binding in policy.get("bindings", ()):
        if binding.get("condition"):
            raise not_emulated("condition of a binding")
        check_role(role := binding.get("role", ""), is_role)
        for member in binding.get("members", ()):
            check_member(member, world)
        merged[role] = list(dict.fromkeys([*merged.get(role, ()), *binding.get("members", ())]))
    _check_size(sum(map(len, merged.values())))
    return [{"role": role, "members": members} for role, members in merged.items() if members]


def check_role(role: str, is_role: Callable[[str], bool]) -> None:
    """400 for a custom role that is not there; 501 for a predefined one that is not in our table.

    Google has some 2,000 predefined roles and would grant most of them: a 400 would call a right one wrong.
    """
    if is_role(role):
        return
    if re.fullmatch(r"roles/[a-zA-Z0-9_.]+", role):
        raise not_emulated(f"{role} (not in tests/emulator/roles.py)")
    raise ApiError(400, f"Role {role} is not supported for this resource.")


def check_member(member: str, world: World) -> None:
    """400 for one that is no principal or, as far as it can be known here, does not exist."""
    kind, _, email = member.partition(":")
    if member in EVERYONE:
        return
    if not MEMBER.fullmatch(member):
        raise ApiError(400, f"Invalid value for member '{member}': it must be of the form kind:value.")  # no source
    if kind == "serviceAccount" and not accounts.exists(world, email):
        raise ApiError(400, f"Service account {email} does not exist.")


def _check_size(members: int) -> None:
    if members > PRINCIPALS:
        raise ApiError(
            400,
            f"The number of members in the policy ({members}) exceeds the maximum allowed limit ({PRINCIPALS}), "
            "resulting in an invalid IAM policy.",
        )


def renamed(policies: Mapping[str, dict[str, Any]], before: str, after: str) -> None:
    """Call a member otherwise in all policies: a deleted account shows as such, an undeleted one as itself again.

    Source: https://cloud.google.com/iam/docs/reference/rest/v1/Policy#Binding, `deleted:serviceAccount:…?uid=…`
    """
    for policy in policies.values():
        for binding in policy.get("bindings", ()):
            binding["members"] = [after if each == before else each for each in binding["members"]]
