"""Who calls, and what that principal may do: tokens, policies, permissions.

Source: https://cloud.google.com/iam/docs/policies (bindings, etag).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.emulator import accounts, assertions
from tests.emulator.conditions import facts, holds
from tests.emulator.discovery import Method
from tests.emulator.errors import ApiError, error_info, unauthenticated
from tests.emulator.policies import audited, check_succeeds, checked, shown
from tests.emulator.roles import ROLES
from tests.emulator.world import World

TOKEN_LIFE = timedelta(hours=1)
"""Source: https://cloud.google.com/docs/authentication/token-types#access-tokens: 3,600 seconds by default."""
ANONYMOUS = "allUsers"
EMPTY: dict[str, Any] = {"version": 1, "etag": "ACAB"}
"""The policy of a resource that was never given one."""
CONVENIENCE_VALUES = {
    "projectOwner": "roles/owner",
    "projectEditor": "roles/editor",
    "projectViewer": "roles/viewer",
}
"""Members that policies of buckets know, and the role of the project that each stands for."""


ADC_CLIENT = "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com"
"""The OAuth client of `gcloud auth application-default login`. Source: google/auth/_cloud_sdk.py, CLOUD_SDK_CLIENT_ID;
its secret is no secret there either, and none here."""


@dataclass(frozen=True)
class Token:
    """A credential: whose it is (`user:…` or `serviceAccount:…`), until when, and for what (None is everything)."""

    member: str
    expires: datetime
    scopes: frozenset[str] | None = None
    client: str = ""
    """The OAuth client a person used; "" is gcloud itself."""


@dataclass(frozen=True)
class Older:
    """A policy that was replaced; until when reads may still show it, and decisions go by it."""

    policy: dict[str, Any]
    read: datetime
    grant: datetime


@dataclass
class Access:
    """Access tokens, the policy of each resource that has one, and permissions of custom roles by their full name."""

    world: World
    tokens: dict[str, Token] = field(default_factory=dict)
    refreshes: dict[str, str] = field(default_factory=dict)
    """People by the refresh tokens that they hold."""
    stale_logins: set[str] = field(default_factory=set)
    """People whose organization wants them to log in again."""
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    older: dict[str, list[Older]] = field(default_factory=dict)
    """Policies that were replaced, the oldest first, as long as not everyone knows."""
    custom_roles: dict[str, set[str]] = field(default_factory=dict)

    def mint(self, member: str, life: timedelta = TOKEN_LIFE, scopes: Iterable[str] = (), client: str = "") -> str:
        """A fresh access token of this principal, good for these scopes alone where any are given."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self.tokens[token] = Token(member, self.world.clock.now() + life, frozenset(scopes) or None, client)
        return token

    def adc(self, member: str, quota_project: str = "") -> dict[str, str]:
        """What `gcloud auth application-default login` leaves of a person, for `Credentials(token_uri=…)` of a client.

        Source: https://cloud.google.com/docs/authentication/application-default-credentials#personal
        """
        refresh = f"1//{secrets.token_urlsafe(32)}"
        self.refreshes[refresh] = member
        told = {"type": "authorized_user", "client_id": ADC_CLIENT, "client_secret": "d", "refresh_token": refresh}
        return told | ({"quota_project_id": quota_project} if quota_project else {})

    def client_of(self, authorization: str) -> str:
        """The OAuth client behind an Authorization header."""
        known = self.tokens.get(authorization.partition(" ")[2])
        return known.client if known else ""

    def caller(self, authorization: str, method: Method | None = None) -> str:
        """The principal behind an Authorization header, `allUsers` where there is none.

        403 for a token that was made for other scopes than this method's. Source:
        https://cloud.google.com/docs/authentication#authorization-gcp; the words: fluent/fluent-bit#5410
        """
        known = self.credential(authorization)
        if known.scopes is not None and method and method.scopes and not known.scopes.intersection(method.scopes):
            told = {"service": f"{method.service}.googleapis.com", "method": method.id}
            info = error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", "googleapis.com", **told)
            raise ApiError(403, "Request had insufficient authentication scopes.", details=[info])
        return known.member

    def credential(self, authorization: str) -> Token:
        """What an Authorization header holds; 401 for what is not known, over, or of an account that may not call.

        Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts/disable ("Existing access
        tokens for the service account are rejected"; enabled again, they "will be accepted").
        """
        if not authorization:
            return Token(ANONYMOUS, self.world.clock.now())
        scheme, _, text = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated()
        known = self.tokens.get(text) or self._self_signed(text)
        if known.expires <= self.world.clock.now():
            raise unauthenticated("ACCESS_TOKEN_EXPIRED")
        kind, _, email = known.member.partition(":")
        if kind == "serviceAccount" and not accounts.usable(self.world, email):
            raise unauthenticated("ACCOUNT_STATE_INVALID")
        return known

    def _self_signed(self, text: str) -> Token:
        try:
            email, scopes = assertions.self_signed(self.world, text)
        except assertions.BadAssertion:
            raise unauthenticated() from None
        return Token(f"serviceAccount:{email}", self.world.clock.now() + TOKEN_LIFE, scopes)

    def forget(self, member: str) -> None:
        """All access tokens of a principal that is no more."""
        self.tokens = {text: token for text, token in self.tokens.items() if token.member != member}

    # -- policies ----------------------------------------------------------------------------------------------------

    def policy(self, resource: str, version: int = 3) -> dict[str, Any]:
        """A copy of the resource's policy as reads show it; one without bindings where none was set.

        A read may be late: https://cloud.google.com/iam/docs/reference/rest ("each read is eventually consistent").
        """
        return shown(self._as_of(resource, "read") or EMPTY, version)

    def set_policy(self, resource: str, policy: Mapping[str, Any], mask: Iterable[str] = ()) -> dict[str, Any]:
        """Replace a policy; 409 where it changed since the caller read it. What the mask leaves out stays.

        What was in force stays so until the change has reached everyone. Source of the mask:
        https://cloud.google.com/resource-manager/reference/rest/v3/projects/setIamPolicy (by default "bindings, etag");
        https://cloud.google.com/iam/docs/policies#etag; the words: DataBiosphere/leonardo#737, to which newer notes in
        public repositories add the two ETags.
        """
        now = self.policies.get(resource) or EMPTY
        if (policy.get("etag") or now["etag"]) != now["etag"]:
            raise ApiError(
                409,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                f"backoff. The request's ETag '{policy['etag']}' did not match the current policy's ETag "
                f"'{now['etag']}'.",
                reason="aborted",
                status="ABORTED",
            )
        check_succeeds(now, policy)
        bindings = checked(policy, self.world, lambda role: role in ROLES or role in self.custom_roles)
        audits = audited(policy) if "auditConfigs" in mask else now.get("auditConfigs", [])
        settling = self.world.settling
        self.older.setdefault(resource, []).append(
            Older(dict(now), read=settling.until("settle.read"), grant=settling.until("settle.grant"))
        )
        self._write(resource, now, bindings, audits)
        return shown(self.policies[resource], 3)

    def _write(self, resource: str, before: Mapping[str, Any], bindings: list[Any], audits: list[Any]) -> None:
        conditional = any("condition" in each for each in bindings)
        new: dict[str, Any] = {"version": 3 if conditional else 1, "bindings": bindings}
        new |= {"auditConfigs": audits} if audits else {}
        hashed = hashlib.sha256(json.dumps([new, before["etag"]]).encode()).digest()[:8]
        self.policies[resource] = new | {"etag": base64.b64encode(hashed).decode()}

    def grant(self, resource: str, role: str, member: str) -> None:
        """Add one binding that is in force at once: Google's own doing, or what a test begins with."""
        now = self.policies.get(resource) or EMPTY
        added = {"role": role, "members": [member]}
        for older in self.older.get(resource, ()):
            older.policy["bindings"] = [*older.policy.get("bindings", ()), added]
        whole = {**now, "bindings": [*now.get("bindings", ()), added]}
        bindings = checked(whole, self.world, lambda role: role in ROLES or role in self.custom_roles)
        self._write(resource, now, bindings, now.get("auditConfigs", []))

    def drop_policy(self, resource: str) -> dict[str, Any]:
        """Forget a policy, whose resource is gone; {} where there was none."""
        self.older.pop(resource, None)
        return self.policies.pop(resource, {})

    def rename(self, before: str, after: str) -> None:
        """Call a member otherwise in all policies: a deleted account shows as such, an undeleted one as itself again.

        Source: https://cloud.google.com/iam/docs/reference/rest/v1/Policy#Binding, `deleted:serviceAccount:…?uid=…`
        """
        past = [each.policy for many in self.older.values() for each in many]
        for policy in (*self.policies.values(), *past):
            for binding in policy.get("bindings", ()):
                binding["members"] = [after if each == before else each for each in binding["members"]]

    def _as_of(self, resource: str, what: str) -> dict[str, Any]:
        """The policy that reads (`read`) or decisions (`grant`) go by now; {} where there is none."""
        now = self.world.clock.now()
        late = [each for each in self.older.get(resource, ()) if each.grant > now]
        if resource in self.older:
            self.older[resource] = late
        held = next((each.policy for each in late if getattr(each, what) > now), None)
        return self.policies.get(resource, {}) if held is None else held

    # -- decisions ---------------------------------------------------------------------------------------------------

    def may(self, member: str, permission: str, resources: Iterable[str]) -> bool:
        """Whether a policy of one of these resources (itself first, then its ancestors) gives the permission."""
        names = list(resources)
        known = facts(permission, names[0] if names else "", self.world.clock.now())
        bindings = (each for name in names for each in self._as_of(name, "grant").get("bindings", ()))
        return any(
            self._holds(binding, member)
            and self._includes(binding["role"], permission)
            and holds(binding.get("condition"), known)
            for binding in bindings
        )

    def _holds(self, binding: Mapping[str, Any], member: str) -> bool:
        members = binding["members"]
        if member in members or "allUsers" in members:
            return True
        if member != ANONYMOUS and "allAuthenticatedUsers" in members:
            return True
        return any(self._of_project(each, member) for each in members)

    def _of_project(self, value: str, member: str) -> bool:
        """Whether `projectOwner:p`, `projectEditor:p` or `projectViewer:p` means this member.

        Source: https://cloud.google.com/storage/docs/access-control/iam#convenience-values
        """
        role = CONVENIENCE_VALUES.get(value.partition(":")[0])
        bindings = self._as_of(f"projects/{value.partition(':')[2]}", "grant").get("bindings", ()) if role else ()
        return any(each["role"] == role and member in each["members"] for each in bindings)

    def _includes(self, role: str, permission: str) -> bool:
        if role in self.custom_roles:
            return permission in self.custom_roles[role]
        return role in ROLES and ROLES[role].holds(permission)

    def reset(self) -> None:
        self.tokens.clear()
        self.refreshes.clear()
        self.stale_logins.clear()
        self.policies.clear()
        self.older.clear()
        self.custom_roles.clear()


def denied(permission: str, resource: str) -> ApiError:
    """403 as most services say it. Source: https://cloud.google.com/iam/docs/permission-error-messages"""
    return ApiError(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        details=[error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=permission, resource=resource)],
    )
