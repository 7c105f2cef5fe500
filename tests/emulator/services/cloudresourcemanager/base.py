"""What both versions of the API answer alike: the policy of a project, and which projects there are.

Source: https://cloud.google.com/resource-manager/reference/rest/v3/projects
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from tests.emulator import access, errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.organization import check_members
from tests.emulator.patches import camel, paths
from tests.emulator.services.cloudresourcemanager import project_policy
from tests.emulator.world import Project

COLLECTION = "cloudresourcemanager.projects"
SET_PATHS = frozenset({"bindings", "etag", "version", "policy", "auditConfigs"})
"""What an update mask may name here. Source: the reference, setIamPolicy: the default is "bindings, etag"."""


class ProjectKind(Kind):
    """The policy of a project; a subclass shows the project itself."""

    collection = COLLECTION
    owns_records = False
    fields: ClassVar[dict[str, str]] = {}
    """What a filter may name, and the field of the body it means."""

    def project_of(self, call: Call) -> Project:
        if "projectId" in call.parameters:
            return call.project(call["projectId"])
        return super().project_of(call)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """Sources: skypilot-org/skypilot#964, #7113 (setIamPolicy); of the others no issue found, notes in public
        repositories print "denied on resource '//cloudresourcemanager…'"."""
        if permission.endswith(".setIamPolicy"):
            return errors.ApiError(403, "Policy update access denied.", reason="forbidden")
        return access.denied(permission, f"//cloudresourcemanager.googleapis.com/{resource}")

    def shown(self, project: Project) -> Body:
        raise NotImplementedError

    @on("get", "resourcemanager.projects.get")
    def get(self, call: Call) -> Body:
        return self.shown(self.project_of(call))

    @on("getIamPolicy", "resourcemanager.projects.getIamPolicy")
    def get_policy(self, call: Call) -> Body:
        version = call.body.get("options", {}).get("requestedPolicyVersion", 0)
        if version not in (0, 1, 3):
            raise errors.invalid("Request contains an invalid argument.")
        return self.cloud.access.policy(f"projects/{self.project_of(call).id}", version)

    @on("setIamPolicy", "resourcemanager.projects.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        mask = [camel(each) for each in paths(call.body.get("updateMask", ""))]
        if unknown := set(mask) - SET_PATHS:
            raise errors.not_emulated(f"updateMask {min(unknown)} of a policy")
        project, policy = self.project_of(call), call.body.get("policy", {})
        name = f"projects/{project.id}"
        check_members(self.cloud.world, project, policy)
        if not project.organization:
            project_policy.check(self.cloud.access.policies.get(name, {}), policy)
        return self.cloud.access.set_policy(name, policy, mask)

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        """Of a project that one may not see nothing is held. Wildcards are refused, as the reference says."""
        asked = call.body.get("permissions", [])
        if any("*" in each for each in asked):
            raise errors.invalid("Request contains an invalid argument.")
        return self.held(call, (f"projects/{self.project_of(call).id}",))

    def visible(self, call: Call, permission: str, wanted: str) -> Iterator[Body]:
        """The projects on which the caller has the permission, and which a filter wants.

        Those that everyone may see, such as debian-cloud, are in nobody's list. No source.
        """
        terms = [self._term(each) for each in re.split(r"\s+(?:AND\s+)?", wanted.strip()) if each]
        for project in self.cloud.world.projects.values():
            body = self.shown(project)
            right = all(_text(body, path).lower() == value.lower() for path, value in terms)
            callers = (call.caller, "user:anyone")
            mine, anyones = (self.cloud.access.may(each, permission, (f"projects/{project.id}",)) for each in callers)
            if right and mine and not anyones:
                yield body

    def _term(self, term: str) -> tuple[str, str]:
        """`field:value` or `field=value`; the rest of Google's language of filters is not emulated."""
        found = re.fullmatch(r"([\w.]+)[:=]\"?([^\s\"*()]+)\"?", term)
        path = self.fields.get(found[1]) if found else None
        if found and found[1].startswith("labels."):
            path = found[1]
        if found is None or path is None:
            raise errors.not_emulated(f"the filter {term}")
        return path, found[2]


def _text(body: Body, path: str) -> str:
    """A field of a body, or a label of it."""
    head, _, rest = path.partition(".")
    return str(body.get(head, {}).get(rest, "") if rest else body.get(head, ""))
