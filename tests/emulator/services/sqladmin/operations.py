"""Operations of a project. Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/operations"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import sql_shape
from tests.emulator.services.sqladmin.answers import BASE, paged
from tests.emulator.services.sqladmin.base import SqlKind


class Operations(SqlKind):
    """The newest first; cancel is for exports and imports of a running database: 501."""

    collection = "sql.operations"

    @on("get", "cloudsql.instances.get")
    def get(self, call: Call) -> Body:
        """Source: admin-api-error-messages, OPERATION_DOES_NOT_EXIST."""
        found = self.cloud.operations.find("sql", call["operation"], self.project_of(call).id)
        if found is None:
            message = "The Cloud SQL instance operation does not exist."
            raise errors.ApiError(404, message, reason="operationDoesNotExist")
        return sql_shape(found, BASE)

    @on("list", "cloudsql.instances.list")
    def listed(self, call: Call) -> Body:
        """Those of one instance where it is named."""
        project, instance = self.project_of(call).id, call.get("instance")
        found = [each for each in self.cloud.operations.of("sql", project) if instance in (None, each.target_id)]
        shown = [sql_shape(each, BASE) for each in sorted(found, key=lambda each: each.number, reverse=True)]
        return {"kind": "sql#operationsList"} | paged("items", shown, call)


KINDS = (Operations,)
