"""What an IAM policy may say, for all resources alike.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/Policy, https://cloud.google.com/iam/docs/principal-identifiers,
https://cloud.google.com/iam/quotas#limits and, for the words, hashicorp/terraform-provider-google#9130 (roles),
GoogleCloudPlatform/genai-for-marketing#139 (accounts); of the size a note in a public repository, no issue found.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.emulator import accounts, conditions
from tests.emulator.errors import ApiError, not_emulated
from tests.emulator.world import World

PRINCIPALS = 1500
"""Source: https://cloud.google.com/iam/quotas#limits, "all principals … within a single allow policy"."""
BASIC = ("roles/owner", "roles/editor", "roles/viewer")
EVERYONE = ("allUsers", "allAuthenticatedUsers")
EMAIL = r"[^@:/\s]+@[^@:/\s]+"
MEMBER = re.compile(
    rf"(?:user|group|serviceAccount):{EMAIL}|domain:[^@:/\s]+|principal(?:Set)?://iam\.googleapis\.com/\S+"
    rf"|project(?:Owner|Editor|Viewer):\S+|deleted:(?:user|group|serviceAccount):{EMAIL}\?uid=\d+"
)


def checked(policy: Mapping[str, Any], world: World, is_role: Callable[[str], bool]) -> list[dict[str, Any]]:
    """The policy's bindings, one for each role; 400 for what is wrong, 501 for what would be without effect here."""
    check_version(version := policy.get("version", 0))
    merged: dict[str, dict[str, Any]] = {}
    for binding in policy.get("bindings", ()):
        condition = _condition(binding, version)
        check_role(role := binding.get("role", ""), is_role)
        for member in binding.get("members", ()):
            check_member(member, world)
        into = merged.setdefault(json.dumps([role, condition], sort_keys=True), {"role": role, "members": []})
        into["members"] = list(dict.fromkeys([*into["members"], *binding.get("members", ())]))
        into |= {"condition": condition} if condition else {}
    _check_size(sum(len(each["members"]) for each in merged.values()))
    return [each for each in merged.values() if each["members"]]


def check_version(version: int) -> None:
    """Source: https://cloud.google.com/iam/docs/policies#versions; the words: none."""
    if version not in (0, 1, 3):
        raise ApiError(400, f"Invalid policy version {version}: valid values are 0, 1, and 3.")


def _condition(binding: Mapping[str, Any], version: int) -> dict[str, str] | None:
    """The condition of a binding, if it has one, which only version 3 may have.

    Source: https://cloud.google.com/iam/docs/conditions-overview (a title, an expression; none for basic roles or for
    everyone); the words: none.
    """
    given = binding.get("condition")
    if not given:
        return None
    if version != 3:
        raise ApiError(400, "Conditions can only be set in a policy of version 3.")
    if not given.get("title") or not given.get("expression"):
        raise ApiError(400, "A condition must have a title and an expression.")
    if binding.get("role") in BASIC or set(EVERYONE).intersection(binding.get("members", ())):
        raise ApiError(400, f"Role {binding.get('role')} cannot be granted with a condition to these members.")
    conditions.parsed(given["expression"])
    return {key: str(value) for key, value in given.items()}


def check_succeeds(before: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
    """400 for a policy of version 1 in the place of one with conditions, where it says by its etag that it read that.

    Without an etag it goes through, and the conditions are lost. Sources: hashicorp/vault-plugin-secrets-gcp#88 (the
    words), https://cloud.google.com/iam/docs/policies#versions ("you must include the etag field").
    """
    version = policy.get("version", 0) or 1
    if before.get("version") == 3 and version < 3 and policy.get("etag"):
        raise ApiError(
            400,
            f"Specified policy version ({version}) cannot be less than the existing policy version (3). For more "
            "information, please refer to https://cloud.google.com/iam/docs/policies#versions.",
            reason="badRequest",
        )


def shown(policy: Mapping[str, Any], version: int) -> dict[str, Any]:
    """A policy as a caller of this version sees it: below 3 a condition shows in the role's name alone.

    Source: https://cloud.google.com/iam/docs/troubleshooting-withcond
    """
    check_version(version)
    whole = copy.deepcopy(dict(policy))
    if whole.get("version") != 3 or version == 3:
        return whole
    return whole | {"version": 1, "bindings": [_hidden(each) for each in whole["bindings"]]}


def _hidden(binding: dict[str, Any]) -> dict[str, Any]:
    condition = binding.pop("condition", None)
    if condition:
        mark = hashlib.sha256(json.dumps(condition, sort_keys=True).encode()).hexdigest()[:20]
        binding["role"] += f"_withcond_{mark}"
    return binding


def audited(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its auditConfigs, one for each service. Source: AuditConfig in the reference of Policy; the words: none."""
    kept: dict[str, dict[str, Any]] = {}
    for each in policy.get("auditConfigs", ()):
        types = [log.get("logType") for log in each.get("auditLogConfigs", ())]
        if not each.get("service") or not types or "LOG_TYPE_UNSPECIFIED" in types or None in types:
            raise ApiError(400, "An audit config must have a service and the types of its logs.")
        kept[each["service"]] = dict(each)
    return list(kept.values())


def check_role(role: str, is_role: Callable[[str], bool]) -> None:
    """400 for a custom role that is not there; 501 for a predefined one that is not in our table.

    Google has some 2,000 predefined roles and would grant most of them: a 400 would call a right one wrong.
    """
    if is_role(role):
        return
    if re.fullmatch(r"roles/[a-zA-Z0-9_.]+", role) and "_withcond_" not in role:
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
