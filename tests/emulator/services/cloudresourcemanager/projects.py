"""Projects, as version 3 and as version 1 show them; none has a folder above it.

Sources: https://cloud.google.com/resource-manager/reference/rest/v3/projects and …/v1/projects
"""

from __future__ import annotations

import base64
import zlib
from typing import ClassVar

from tests.emulator import access, errors
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.pages import page
from tests.emulator.services.cloudresourcemanager.base import ProjectKind
from tests.emulator.world import Project


class Projects(ProjectKind):
    """Version 3: by `projects/{id or number}`, named by number."""

    apis = ("cloudresourcemanager.v3",)
    fields: ClassVar[dict[str, str]] = {
        "id": "projectId",
        "projectId": "projectId",
        "name": "displayName",
        "displayName": "displayName",
        "state": "state",
        "lifecycleState": "state",
        "parent": "parent",
    }

    def shown(self, project: Project) -> Body:
        created = rfc3339(project.created or self.cloud.world.clock.now())
        body = {
            "name": f"projects/{project.number}",
            "projectId": project.id,
            "displayName": project.id,
            "state": "ACTIVE",
            "createTime": created,
            "updateTime": created,
            "etag": f'W/"{base64.b64encode(project.id.encode()[:8]).decode()}"',
        }
        above = organization_id(project.organization)
        body |= {"parent": f"organizations/{above}"} if above else {}
        return body | ({"labels": dict(project.labels)} if project.labels else {})

    @on("list", "")
    def listed(self, call: Call) -> Body:
        """Under a folder or an organization, of which there is none that a caller might see."""
        parent = call.get("parent", "")
        if not parent.startswith(("folders/", "organizations/")):
            raise errors.invalid("Request contains an invalid argument.")
        raise access.denied("resourcemanager.projects.list", f"//cloudresourcemanager.googleapis.com/{parent}")

    @on("search", "")
    def search(self, call: Call) -> Body:
        found = list(self.visible(call, "resourcemanager.projects.get", call.get("query", "")))
        return page("projects", found, call, 300, 300)

    def guards(self, call: Call) -> tuple[str, ...]:
        """Lists are of no project."""
        about = "name" in call.parameters or "resource" in call.parameters
        return super().guards(call) if about else ("projects of the caller",)


class OlderProjects(ProjectKind):
    """Version 1: by id or number without a prefix."""

    apis = ("cloudresourcemanager.v1",)
    fields: ClassVar[dict[str, str]] = {
        "id": "projectId",
        "projectId": "projectId",
        "name": "name",
        "projectNumber": "projectNumber",
        "lifecycleState": "lifecycleState",
    }

    def shown(self, project: Project) -> Body:
        body: Body = {
            "projectNumber": str(project.number),
            "projectId": project.id,
            "lifecycleState": "ACTIVE",
            "name": project.id,
            "createTime": rfc3339(project.created or self.cloud.world.clock.now()),
        }
        above = organization_id(project.organization)
        body |= {"parent": {"type": "organization", "id": above}} if above else {}
        return body | ({"labels": dict(project.labels)} if project.labels else {})

    @on("list", "")
    def listed(self, call: Call) -> Body:
        found = list(self.visible(call, "resourcemanager.projects.get", call.get("filter", "")))
        return page("projects", found, call, 500, 500)

    @on("getAncestry", "resourcemanager.projects.get")
    def ancestry(self, call: Call) -> Body:
        project = self.project_of(call)
        found = [{"type": "project", "id": project.id}]
        above = organization_id(project.organization)
        found += [{"type": "organization", "id": above}] if above else []
        return {"ancestor": [{"resourceId": each} for each in found]}

    def guards(self, call: Call) -> tuple[str, ...]:
        """Lists are of no project."""
        about = "projectId" in call.parameters or "resource" in call.parameters
        return super().guards(call) if about else ("projects of the caller",)


def organization_id(domain: str) -> str:
    """Twelve digits that follow from the domain; "" without one."""
    return str(10**11 + zlib.crc32(domain.encode())) if domain else ""


KINDS = (Projects, OlderProjects)
