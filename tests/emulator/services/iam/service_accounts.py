"""Service accounts. Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.world import Record


class ServiceAccounts(Kind):
    """Accounts of a project, by email or by unique id."""

    apis = ("iam.v1",)
    collection = "iam.projects.serviceAccounts"

    def existing(self, call: Call) -> Record:
        record = self.cloud.world.find(f"iam/{call['name']}")
        if record is None:
            raise errors.not_found(f"Unknown service account: {call['name'].rpartition('/')[2]}")
        return record

    @on("get", "iam.serviceAccounts.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body


KINDS = (ServiceAccounts,)
