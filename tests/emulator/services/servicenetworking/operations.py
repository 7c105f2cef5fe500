"""Operations of Service Networking.

Source: https://cloud.google.com/service-infrastructure/docs/service-networking/reference/rest/v1/operations
"""

from __future__ import annotations

import re

from tests.emulator import access, errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.operations import long_running_shape


class Operations(Kind):
    """Whoever knows an operation's name may look at it; list, cancel and delete: 501."""

    apis = ("servicenetworking.v1",)
    collection = "servicenetworking.operations"

    def guards(self, call: Call) -> tuple[str, ...]:
        """An operation names no project whose policy could be asked."""
        return (call["name"],)

    @on("get", "")
    def get(self, call: Call) -> Body:
        """No source for the words."""
        if call.caller == access.ANONYMOUS:
            raise self.refused(call, "servicenetworking.operations.get", call["name"])
        found = re.fullmatch(r"operations/pssn\.p\d+-(\d+)", call["name"])
        operation = self.cloud.operations.find("servicenetworking", found[1]) if found else None
        if operation is None:
            raise errors.not_found(f"Operation '{call['name']}' not found.")
        return long_running_shape(operation, call["name"])


def operation_name(project: int, number: int) -> str:
    """`operations/pssn.pPROJECT-…`, as `gcloud services vpc-peerings connect` prints it in public logs."""
    return f"operations/pssn.p{project}-{number}"


KINDS = (Operations,)
