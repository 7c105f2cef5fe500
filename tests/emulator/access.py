"""Who calls, and what that principal may do: tokens, policies, permissions.

Sources: https://cloud.google.com/iam/docs/policies (bindings, etag), https://google.aip.dev/auth/4111 (self-signed
JWT), https://developers.google.com/identity/protocols/oauth2/service-account (assertion at the token endpoint).
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

from google.auth import crypt, jwt

from tests.emulator.errors import ApiError, error_info, unauthenticated
from tests.emulator.roles import ROLES
from tests.emulator.world import World

TOKEN_LIFE = timedelta(hours=1)
"""Source: https://cloud.google.com/docs/authentication/token-types#access-tokens: 3,600 seconds by default."""
ANONYMOUS = "allUsers"
CONVENIENCE_VALUES = {
    "projectOwner": "roles/owner",
    "projectEditor": "roles/editor",
    "projectViewer": "roles/viewer",
}
"""Members that policies of buckets know, and the role of the project that each stands for."""


@dataclass(frozen=True)
class Token:
    """An access token: whose it is (`user:…` or `serviceAccount:…`) and until when."""

    member: str
    expires: datetime


@dataclass
class Access:
    """Tokens, the public keys of service accounts, and the policy of each resource that has one."""

    world: World
    tokens: dict[str, Token] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """Public keys as PEM, by service account's email and key id."""
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    custom_roles: dict[str, set[str]] = field(default_factory=dict)

    def mint(self, member: str, life: timedelta = TOKEN_LIFE) -> str:
        """A fresh access token of this principal."""
        token = f"ya29.{secrets.token_urlsafe(32)}"
        self.tokens[token] = Token(member, self.world.clock.now() + life)
        return token

    def caller(self, authorization: str) -> str:
        """The principal behind an Authorization header, `allUsers` where there is none."""
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthenticated()
        known = self.tokens.get(token)
        if known is None:
            return self.signed_by(token)
        if known.expires <= self.world.clock.now():
            raise unauthenticated()
        return known.member

    def signed_by(self, token: str) -> str:
        """The service account that signed a JWT with one of its keys; 401 for anything else.

        The times in it are the signer's real ones, which a virtual clock knows nothing of: they must fit together.
        """
        try:
            key_id = jwt.decode_header(token)["kid"]  # type: ignore[no-untyped-call]
            claims = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
            email, key = claims["iss"], self.keys[claims["iss"]][key_id]
        except (ValueError, KeyError):
            raise unauthenticated() from None
        signed, _, signature = token.encode().rpartition(b".")
        padded = signature + b"=" * (-len(signature) % 4)
        genuine = crypt.verify_signature(signed, base64.urlsafe_b64decode(padded), key)  # type: ignore[no-untyped-call]
        if not genuine or not 0 < claims.get("exp", 0) - claims.get("iat", 0) <= TOKEN_LIFE.total_seconds():
            raise unauthenticated()
        return f"serviceAccount:{email}"

    def policy(self, resource: str) -> dict[str, Any]:
        """A copy of the resource's policy; one without bindings where none was set."""
        return copy.deepcopy(self.policies.get(resource) or {"version": 1, "etag": "ACAB"})

    def set_policy(self, resource: str, policy: Mapping[str, Any]) -> dict[str, Any]:
        """Replace a policy; 409 where it changed since the caller read it.

        Source: https://cloud.google.com/iam/docs/policies#etag and "concurrent policy changes" in public issues.
        """
        now = self.policy(resource)
        if policy.get("etag") not in (None, "", now["etag"]):
            raise ApiError(
                409,
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential "
                f"backoff. The request's ETag '{policy['etag']}' did not match the current policy's ETag "
                f"'{now['etag']}'.",
                reason="aborted",
                status="ABORTED",
            )
        bindings = [binding for binding in policy.get("bindings", []) if binding.get("members")]
        for binding in bindings:
            self._check_binding(binding)
        new = {"version": policy.get("version", 1), "bindings": copy.deepcopy(bindings)}
        new["etag"] = base64.b64encode(hashlib.sha256(json.dumps([new, now["etag"]]).encode()).digest()[:8]).decode()
        self.policies[resource] = new
        return self.policy(resource)

    def _check_binding(self, binding: Mapping[str, Any]) -> None:
        """Source: https://cloud.google.com/iam/docs/troubleshoot-policies and the texts of public issues."""
        role = binding.get("role", "")
        if role not in ROLES and role not in self.custom_roles:
            raise ApiError(400, f"Role {role} is not supported for this resource.")
        for member in binding["members"]:
            kind, _, who = member.partition(":")
            if kind == "serviceAccount" and self._unknown_account(who):
                raise ApiError(400, f"Service account {who} does not exist.")
            if not who and member not in ("allUsers", "allAuthenticatedUsers"):
                raise ApiError(400, f'Invalid member: "{member}". The member must be of the form kind:value.')

    def _unknown_account(self, email: str) -> bool:
        """An account of one of our projects must exist; Google's own agents are taken as they are."""
        project = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        known = self.world.find(f"iam/projects/{project}/serviceAccounts/{email}")
        return self.world.project(project) is not None and known is None

    def grant(self, resource: str, role: str, member: str) -> None:
        """Add one binding, as a project's creator gets roles/owner."""
        policy = self.policy(resource)
        policy.setdefault("bindings", []).append({"role": role, "members": [member]})
        self.set_policy(resource, policy)

    def may(self, member: str, permission: str, resources: Iterable[str]) -> bool:
        """Whether a policy of one of these resources (itself and its ancestors) gives the permission."""
        bindings = (each for name in resources for each in self.policies.get(name, {}).get("bindings", ()))
        return any(self._holds(binding, member) and self._includes(binding["role"], permission) for binding in bindings)

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
        bindings = self.policies.get(f"projects/{value.partition(':')[2]}", {}).get("bindings", ()) if role else ()
        return any(each["role"] == role and member in each["members"] for each in bindings)

    def _includes(self, role: str, permission: str) -> bool:
        if role in self.custom_roles:
            return permission in self.custom_roles[role]
        return any(fnmatchcase(permission, pattern) for pattern in ROLES[role].permissions)

    def reset(self) -> None:
        self.tokens.clear()
        self.keys.clear()
        self.policies.clear()
        self.custom_roles.clear()


def denied(permission: str, resource: str) -> ApiError:
    """403 as most services say it. Source: https://cloud.google.com/iam/docs/permission-error-messages"""
    return ApiError(
        403,
        f"Permission '{permission}' denied on resource '{resource}' (or it may not exist).",
        details=[error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=permission, resource=resource)],
    )
