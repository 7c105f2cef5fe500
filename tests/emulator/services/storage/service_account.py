"""The service agent of a project. Source: https://cloud.google.com/storage/docs/json_api/v1/projects/serviceAccount"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, on
from tests.emulator.services.storage.base import StorageKind
from tests.emulator.world import Project


class ServiceAccount(StorageKind):
    """One for each project, there from the start."""

    collection = "storage.projects.serviceAccount"

    def guards(self, call: Call) -> tuple[str, ...]:
        return (f"projects/{self.project_of(call).id}",)

    def project_of(self, call: Call) -> Project:
        return call.project(call["projectId"])

    @on("get", "resourcemanager.projects.get")
    def get(self, call: Call) -> Body:
        number = self.project_of(call).number
        agent = f"service-{number}@gs-project-accounts.iam.gserviceaccount.com"
        return {"kind": "storage#serviceAccount", "email_address": agent}


KINDS = (ServiceAccount,)
