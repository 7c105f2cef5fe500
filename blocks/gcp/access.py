"""What an account of the stack's may do with its bucket and its secrets: with those alone, not with all of a project.

Source: https://cloud.google.com/storage/docs/json_api/v1/buckets/setIamPolicy,
https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets/setIamPolicy
"""

from __future__ import annotations

from typing import Any

from blocks.gcp.account import POLICY_VERSION, ProjectRoles, ServiceAccount
from blocks.gcp.bucket import BucketResource
from blocks.gcp.google import Google

BUCKET_ROLES = ("roles/storage.legacyBucketReader", "roles/storage.objectUser")
"""The host's with the bucket: to look at it, and to read, write, list and remove what is in it."""
SECRET_ROLES = ("roles/secretmanager.admin",)
"""The host's with each secret alone: to read its versions, and to add, publish and destroy some in a rotation. No
smaller role of Google's may publish one; what this may beyond is no more to whoever reads and destroys them anyway."""


class BucketRoles(ProjectRoles):
    """An account's roles with a bucket."""

    def __init__(self, google: Google, account: ServiceAccount, bucket: str) -> None:
        super().__init__(google, account, BUCKET_ROLES)
        self.name = "access to the bucket"
        self.needs = (account.name, BucketResource.name)
        self._path = f"storage/v1/b/{bucket}/iam"

    def _policy(self) -> dict[str, Any]:
        policy: dict[str, Any] = self._call("reading", "GET", optionsRequestedPolicyVersion=str(POLICY_VERSION))
        return policy

    def _store(self, policy: dict[str, Any]) -> None:
        self._call("changing", "PUT", policy)

    def _call(self, doing: str, verb: str, body: dict[str, Any] | None = None, **params: str) -> Any:
        return self._google.rest(f"{doing} the bucket's policy", verb, "storage", self._path, body, **params)


class SecretRoles(ProjectRoles):
    """An account's roles with a secret.

    Args:
        secret: Its name in the stack.
        id: Its name at Google.
    """

    def __init__(self, google: Google, account: ServiceAccount, secret: str, id: str) -> None:
        super().__init__(google, account, SECRET_ROLES)
        self.name = f"access to the secret {secret}"
        self.needs = (account.name, f"secret {secret}")
        self._path, self._secret = f"v1/projects/{google.project}/secrets/{id}", secret

    def _policy(self) -> dict[str, Any]:
        version = {"options.requestedPolicyVersion": str(POLICY_VERSION)}
        policy: dict[str, Any] = self._call("reading", "GET", "getIamPolicy", None, **version)
        return policy

    def _store(self, policy: dict[str, Any]) -> None:
        self._call("changing", "POST", "setIamPolicy", {"policy": policy})

    def _call(self, doing: str, verb: str, method: str, body: dict[str, Any] | None = None, **params: str) -> Any:
        told = f"{doing} the policy of the secret {self._secret}"
        return self._google.rest(told, verb, "secretmanager", f"{self._path}:{method}", body, **params)
