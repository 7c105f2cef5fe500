"""Policies of buckets. Source: https://cloud.google.com/storage/docs/access-control/iam"""

from __future__ import annotations

from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.organization import check_members
from tests.emulator.roles import ROLES
from tests.emulator.services.storage.base import StorageKind, is_uniform
from tests.emulator.services.storage.marks import lists_name, policy_name
from tests.emulator.services.storage.preconditions import failed
from tests.emulator.world import Record

PUBLIC = {"allUsers", "allAuthenticatedUsers"}
NOT_PUBLIC = (
    "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is enforced."
)


class BucketPolicies(StorageKind):
    """Policies on buckets; on objects and folders there are none."""

    collection = "storage.buckets"

    @on("getIamPolicy", "storage.buckets.getIamPolicy")
    def get_policy(self, call: Call) -> Body:
        return self.shown(self.bucket(call), int(call.get("optionsRequestedPolicyVersion") or 0))

    def shown(self, bucket: Record, version: int) -> Body:
        """Source on late reads: https://cloud.google.com/storage/docs/consistency (policies are eventually so)."""
        name = policy_name(bucket.body["name"])
        return {"kind": "storage#policy", "resourceId": name, **self.cloud.access.policy(name, version)}

    @on("setIamPolicy", "storage.buckets.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        """A stale etag is 412 here, where other services say 409.

        Source: hashicorp/terraform-provider-google#7853; on public access ONLYOFFICE/ControlPanel#8.
        """
        bucket = self.bucket(call)
        bindings = call.body.get("bindings", [])
        for binding in bindings:
            self.check_role(str(binding.get("role", "")))
        if _enforced(bucket.body) and any(PUBLIC & set(binding.get("members", ())) for binding in bindings):
            raise errors.ApiError(412, NOT_PUBLIC, reason="conditionNotMet")
        check_members(self.cloud.world, self.project_of(call), call.body)
        try:
            name = policy_name(bucket.body["name"])
            new = self.cloud.access.set_policy(name, call.body)
        except errors.ApiError as error:
            raise failed() if error.code == 409 else error from None
        return {"kind": "storage#policy", "resourceId": name, **new}

    def check_role(self, role: str) -> None:
        """Source: https://cloud.google.com/storage/docs/access-control/iam-roles (basic roles are not for buckets); the
        words: hashicorp/terraform-provider-google#9130. Of roles that we do not know, see policies.check_role."""
        if role in ROLES and not role.startswith("roles/storage."):
            raise errors.invalid(f"Role {role} is not supported for this resource.")

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        guards = self.guards(call)
        held = [each for each in call["permissions"] if self.cloud.access.may(call.caller, each, guards)]
        shape: Body = {"kind": "storage#testIamPermissionsResponse"}
        return shape | ({"permissions": held} if held else {})


def _enforced(bucket: Body) -> bool:
    return bool(bucket["iamConfiguration"]["publicAccessPrevention"] == "enforced")


def first_policies(bucket: Body, project: str) -> dict[str, dict[str, Any]]:
    """The policy of a new bucket and the default list of its objects: those who own, edit and view its project.

    Source: https://cloud.google.com/storage/docs/access-control/iam-roles#basic-roles-intrinsic
    """
    name, on_bucket, on_objects = bucket["name"], _bindings("Bucket", project), _bindings("Object", project)
    bindings = on_bucket + on_objects if is_uniform(bucket) else on_bucket
    whole = {"version": 1, "etag": "CAE=", "bindings": bindings}
    return {policy_name(name): whole, lists_name(name): {"version": 1, "etag": "CAE=", "bindings": on_objects}}


def _bindings(what: str, project: str) -> list[dict[str, Any]]:
    writers = {
        "role": f"roles/storage.legacy{what}Owner",
        "members": [f"projectEditor:{project}", f"projectOwner:{project}"],
    }
    return [writers, {"role": f"roles/storage.legacy{what}Reader", "members": [f"projectViewer:{project}"]}]


KINDS = (BucketPolicies,)
