"""Roles: Google's own, and those of a project.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/roles and projects.roles,
https://cloud.google.com/iam/docs/creating-custom-roles
"""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

from tests.emulator import errors
from tests.emulator.access import ANONYMOUS
from tests.emulator.kind import Body, Call, on
from tests.emulator.pages import page
from tests.emulator.patches import camel, paths
from tests.emulator.permissions import PERMISSIONS, VERBS
from tests.emulator.roles import ROLES
from tests.emulator.services.iam.base import IamKind
from tests.emulator.world import Record

KEPT = timedelta(days=7)
"""Source: creating-custom-roles#deleting-custom-role: undelete "within 7 days"."""
LEAVING = timedelta(days=30)
"""After that the role_id is taken for so long: hashicorp/terraform-provider-google#1681, "7-37 days after deletion"."""
MOST = 300
"""Custom roles of a project. Source: https://cloud.google.com/iam/quotas#limits"""
ORGANIZATION_ONLY = ("resourcemanager.projects.list",)
"""Source: https://cloud.google.com/iam/docs/custom-roles-permissions-support ("not valid" in a project's role)."""
WRITABLE = ("title", "description", "includedPermissions", "stage")


class Roles(IamKind):
    """Google's own. `includedPermissions` lists those of the emulated resources, which is less than Google lists."""

    collection = "iam.roles"
    owns_records = False

    def guards(self, call: Call) -> tuple[str, ...]:
        """Nobody's: everyone with a name may read them."""
        if call.caller == ANONYMOUS:
            raise errors.unauthenticated("CREDENTIALS_MISSING")
        return ("roles",)

    @on("get", "")
    def get(self, call: Call) -> Body:
        if call["name"] not in ROLES:
            raise errors.not_found(f"The role named {call['name']} was not found.")
        return predefined(call["name"], full=True)

    @on("list", "")
    def listed(self, call: Call) -> Body:
        if call.get("parent"):
            raise errors.not_emulated("roles.list of a parent: use projects.roles.list")
        return page("roles", [predefined(name, call.get("view") == "FULL") for name in sorted(ROLES)], call, 300, 1000)

    @on("queryGrantableRoles", "")
    def query_grantable(self, call: Call) -> Body:
        """Of a project, where all can be granted; which roles other resources take is not known here."""
        found = re.fullmatch(r"//cloudresourcemanager\.googleapis\.com/(projects/[^/]+)", _resource(call))
        if found is None:
            raise errors.not_emulated("queryGrantableRoles of another resource than a project")
        project = call.project(found[1])
        call.require("resourcemanager.projects.getIamPolicy", f"projects/{project.id}")
        inner = Call(call.cloud, call.method, call.body, {}, call.caller)
        roles = [predefined(name, call.body.get("view") == "FULL") for name in sorted(ROLES)]
        return page("roles", roles, inner, 300, 2000)


class ProjectRoles(IamKind):
    """A project's own roles, in force wherever its policies name them."""

    collection = "iam.projects.roles"

    @on("create", "iam.roles.create")
    def create(self, call: Call) -> Body:
        """Sources of the words: inspec/inspec-gcp for a role_id of a deleted role; DataBiosphere/azul#4390 and
        GoogleCloudPlatform/gke-autoneg-controller#71 for one on its way out for good; for one that exists none."""
        project, role_id = self.project_of(call), call.body.get("roleId", "")
        if not re.fullmatch(r"[a-zA-Z0-9_.]{3,64}", role_id):
            raise errors.invalid(f"The role_id {role_id} must match [a-zA-Z0-9_\\.]{{3,64}}.")  # words: no source
        name = f"projects/{project.id}/roles/{role_id}"
        before = self.cloud.world.find(f"iam/{name}")
        if before is not None and self.marked(before):
            if before.hidden["gone"] + KEPT + LEAVING <= self.cloud.world.clock.now():
                before = None
            else:
                raise errors.failed_precondition(
                    f"You can't create a role_id ({role_id}) which has been marked for deletion."
                )
        if before is not None and before.body.get("deleted"):
            raise errors.failed_precondition(
                f"You can't create a role with role_id ({role_id}) where there is an existing role with that role_id "
                "in a deleted state."
            )
        if before is not None:
            raise errors.already_exists(f"A role named {role_id} in projects/{project.id} already exists.")
        if len(self.cloud.world.under(f"iam/projects/{project.id}/roles/", self.collection)) >= MOST:
            message = "Maximum number of roles reached. Maximum is: 300"  # words: no source
            raise errors.ApiError(429, message, reason="rateLimitExceeded")
        record = Record(f"iam/{name}", self.collection, {"name": name})
        self.told(record, _writable(call.body.get("role", {})))
        return self.cloud.world.put(record).body

    @on("get", "iam.roles.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "iam.roles.list")
    def listed(self, call: Call) -> Body:
        found = self.cloud.world.under(f"iam/projects/{self.project_of(call).id}/roles/", self.collection)
        kept = [each.body for each in found if call.get("showDeleted") or not each.body.get("deleted")]
        if call.get("view") != "FULL":
            kept = [{key: value for key, value in body.items() if key != "includedPermissions"} for body in kept]
        return page("roles", kept, call, 300, 1000)

    @on("patch", "iam.roles.update")
    def patch(self, call: Call) -> Body:
        record = self.existing(call)
        if record.body.get("deleted"):
            raise errors.failed_precondition(f"The role {record.body['name']} is deleted.")  # words: no source
        _check_etag(record, call.body.get("etag"))
        sent, mask = _writable(call.body), [camel(path) for path in paths(call.get("updateMask", ""))]
        if unknown := [path for path in mask if path not in WRITABLE]:
            raise errors.invalid(f"Invalid update mask path '{unknown[0]}'.")  # words: no source
        return self.told(record, {path: sent.get(path) for path in mask} if mask else sent)

    @on("delete", "iam.roles.delete")
    def delete(self, call: Call) -> Body:
        """Bindings stay and give nothing. Source: creating-custom-roles#deleting-custom-role"""
        record = self.existing(call)
        _check_etag(record, call.get("etag"))
        if not record.body.get("deleted"):
            record.body["deleted"] = True
            record.hidden["gone"] = self.cloud.world.clock.now()
            self.cloud.access.custom_roles[record.body["name"]] = set()
        return record.body

    @on("undelete", "iam.roles.undelete")
    def undelete(self, call: Call) -> Body:
        record = self.existing(call)
        _check_etag(record, call.body.get("etag"))
        if not record.body.pop("deleted", False):
            raise errors.failed_precondition(f"The role {record.body['name']} is not deleted.")  # words: no source
        return self.told(record, {})

    def existing(self, call: Call) -> Record:
        """The role, deleted ones for 7 days. The words have no source."""
        project = self.project_of(call)
        name = f"projects/{project.id}/roles/{call['name'].rpartition('/')[2]}"
        record = self.cloud.world.find(f"iam/{name}")
        over = record and record.body.get("deleted") and record.hidden["gone"] + KEPT <= self.cloud.world.clock.now()
        if record is None or over:
            raise errors.not_found(f"The role named {name} was not found.")
        return record

    def marked(self, record: Record) -> bool:
        """Whether a deleted role can no longer be had back."""
        now = self.cloud.world.clock.now()
        return bool(record.body.get("deleted")) and bool(record.hidden["gone"] + KEPT <= now)

    def told(self, record: Record, sent: dict[str, Any]) -> Body:
        """Take in what a caller says of a role, and put it in force."""
        _check_permissions(sent.get("includedPermissions") or [])
        record.body |= sent
        for empty in [key for key, value in record.body.items() if not value]:
            del record.body[empty]
        record.body["etag"] = _next_etag(record)
        self.cloud.access.custom_roles[record.body["name"]] = set(record.body.get("includedPermissions", ()))
        return record.body


def predefined(name: str, full: bool) -> Body:
    role = ROLES[name]
    body = {"name": name, "title": role.title, "stage": "GA", "etag": "AA=="}
    return body | {"includedPermissions": sorted(filter(role.holds, PERMISSIONS))} if full else body


def _resource(call: Call) -> str:
    return str(call.body.get("fullResourceName", ""))


def _writable(sent: Body) -> Body:
    told = {key: sent[key] for key in WRITABLE if key in sent}
    if "includedPermissions" in told:
        told["includedPermissions"] = sorted(set(told["includedPermissions"]))
    return told


def _check_permissions(permissions: list[str]) -> None:
    """400 for a permission that there is not; of resources that are not emulated every verb is believed.

    Source of the words: a comment in public Terraform code, "Permission run.workerPools.get is not valid., badRequest".
    """
    for each in permissions:
        resource = each.rpartition(".")[0]
        well_formed = re.fullmatch(r"[a-z]\w*\.[a-zA-Z]\w*\.[a-zA-Z]\w*", each)
        known = each in PERMISSIONS or resource not in VERBS
        if not well_formed or not known or each in ORGANIZATION_ONLY:
            raise errors.ApiError(400, f"Permission {each} is not valid.", reason="badRequest")


def _check_etag(record: Record, given: str | None) -> None:
    """Source: creating-custom-roles#read-modify-write (409, ABORTED); the words have no source."""
    if given and given != record.body["etag"]:
        raise errors.ApiError(409, "There were concurrent changes to this role.", reason="aborted", status="ABORTED")


def _next_etag(record: Record) -> str:
    record.hidden["changes"] = record.hidden.get("changes", 0) + 1
    return base64.b64encode(record.hidden["changes"].to_bytes(8, "big")).decode()


KINDS = (Roles, ProjectRoles)
