"""A project as Compute Engine sees it: metadata for all its instances, the default service account.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/projects
"""

from __future__ import annotations

from tests.emulator import quotas
from tests.emulator.clock import rfc3339
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.compute.base import GOOGLE, ComputeKind, mutation
from tests.emulator.services.compute.metadata_items import metadata, replacement
from tests.emulator.world import Project, Record


class Projects(ComputeKind):
    """Kept from the first time that somebody sets something; until then as new."""

    collection = "compute.projects"
    singular = "project"

    def guards(self, call: Call) -> tuple[str, ...]:
        return (f"projects/{self.project_of(call).id}",)

    @on("get", "compute.projects.get")
    def get(self, call: Call) -> Body:
        project = self.project_of(call)
        return compute_project(self.cloud, project).body | {"quotas": quotas.shown(self.cloud, project)}

    @mutation("setCommonInstanceMetadata", "compute.projects.setCommonInstanceMetadata")
    def set_common_instance_metadata(self, call: Call) -> Body:
        """Whoever sets what all instances run acts as their accounts.

        Source: googleapis/google-api-dotnet-client#2095 (iam.serviceAccounts.actAs on the project).
        """
        project = self.project_of(call)
        self.need(call, "iam.serviceAccounts.actAs", f"projects/{project.id}")
        record = compute_project(self.cloud, project)
        change = replacement(call.body, "commonInstanceMetadata")
        change(dict(record.body))
        return self.begin(call, "setMetadata", record, lambda: change(record.body))

    def scope_of(self, record: Record) -> str:
        return "global"


def compute_project(cloud: Cloud, project: Project) -> Record:
    """The record of a project, made when it is asked for first."""
    name = f"compute/projects/{project.id}"
    body: Body = {
        "kind": "compute#project",
        "id": str(project.number),
        "name": project.id,
        "creationTimestamp": rfc3339(project.created or cloud.world.clock.now()),
        "commonInstanceMetadata": metadata({}, "metadata"),
        "defaultServiceAccount": f"{project.number}-compute@developer.gserviceaccount.com",
        "defaultNetworkTier": "PREMIUM",
        "selfLink": f"{GOOGLE}/projects/{project.id}",
        "vmDnsSetting": "ZONAL_ONLY",
        "xpnProjectStatus": "UNSPECIFIED_XPN_PROJECT_STATUS",
    }
    return cloud.world.find(name) or cloud.world.put(Record(name, "compute.projects", body))


KINDS = (Projects,)
