"""What all kinds of Cloud SQL share: names, refusals, pages, one operation at a time for each instance.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1 (shapes),
https://cloud.google.com/sql/docs/postgres/admin-api-error-messages (errors by code), and for the words as they come
over the wire the public issues named beside them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

from tests.emulator import errors
from tests.emulator.backing import Backing, SqlBacking
from tests.emulator.kind import Body, Call, Kind
from tests.emulator.operations import Effect, sql_shape
from tests.emulator.world import Record

BASE = "https://sqladmin.googleapis.com/sql/v1beta4"
"""What links of Cloud SQL begin with, whatever version was called."""
MOST = 500
"""Source: `maxResults` of instances.list in the reference: 500 where it is not given, 1,000 at most."""
Act = Callable[[SqlBacking], None]


class SqlKind(Kind):
    """A kind under a project or an instance; its real part is that of the instance."""

    apis: ClassVar[tuple[str, ...]] = ("sqladmin.v1", "sqladmin.v1beta4")
    backed = "sql.instances"

    def guards(self, call: Call) -> tuple[str, ...]:
        """The instance names what a refusal is about; only the project has a policy."""
        project = f"projects/{self.project_of(call).id}"
        return (f"{project}/instances/{call['instance']}", project) if "instance" in call.parameters else (project,)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """Source: GoogleCloudPlatform/cloud-sql-proxy issues: "boss::NOT_AUTHORIZED: … on resource instances/NAME."."""
        named = resource.split("/", 2)[-1] if resource.count("/") > 1 else resource
        return errors.ApiError(
            403,
            "boss::NOT_AUTHORIZED: Not authorized to access resource. "
            f"Possibly missing permission {permission} on resource {named}.",
            reason="forbidden",
        )

    # -- what is there -----------------------------------------------------------------------------------------------

    def path(self, call: Call, instance: str = "") -> str:
        """`projects/p/instances/i`."""
        return f"projects/{self.project_of(call).id}/instances/{instance or call['instance']}"

    def instance(self, call: Call, name: str = "") -> Record:
        """Source: GoogleCloudPlatform/cloud-sql-python-connector: 404, "The Cloud SQL instance does not exist."."""
        record = self.cloud.world.find(f"sql/{self.path(call, name)}")
        if record is None:
            raise errors.ApiError(404, "The Cloud SQL instance does not exist.", reason="instanceDoesNotExist")
        return record

    def running(self, call: Call) -> Record:
        """The instance, which must run.

        Source: turbot/steampipe-plugin-gcp and others test for these words, also where it was stopped by its owner.
        """
        record = self.instance(call)
        if record.body["state"] != "RUNNABLE" or record.body["settings"]["activationPolicy"] == "NEVER":
            raise refused("Invalid request since instance is not running")
        return record

    def idle(self, instance: Record) -> Record:
        """The instance, on which nothing may be going on.

        Source: crossplane-contrib/provider-gcp#121: 409, operationInProgress.
        """
        link = instance.body["selfLink"]
        if any(each.done is None and each.target == link for each in self.cloud.operations.all.values()):
            message = "Operation failed because another operation was already in progress."
            raise errors.ApiError(409, message, reason="operationInProgress", status="ABORTED")
        return instance

    def children(self, instance: Record, collection: str) -> list[Record]:
        """Databases, users or backup runs of an instance."""
        return self.cloud.world.under(f"{instance.name}/", collection)

    # -- what is done ------------------------------------------------------------------------------------------------

    def begin(
        self,
        call: Call,
        verb: str,
        instance: Record,
        effect: Effect,
        act: Act | None = None,
        undo: Callable[[], object] | None = None,
        context: Body | None = None,
    ) -> Body:
        """Start an operation on an instance and show it; context is what it shows besides."""
        act_on_any = cast("Callable[[Backing], None] | None", act)
        operation = self.start(call, LATENCIES_BY_VERB[verb], verb, instance, effect, act_on_any, undo)
        operation.target_id = instance.body["name"]
        operation.metadata |= context or {}
        return sql_shape(operation, BASE)


LATENCIES_BY_VERB = {
    "CREATE": "sql.instances.insert",
    "UPDATE": "sql.instances.update",
    "DELETE": "sql.instances.delete",
    "RESTART": "sql.instances.restart",
    "CREATE_CLONE": "sql.instances.clone",
    "RESTORE_VOLUME": "sql.restore",
    "BACKUP_VOLUME": "sql.backup",
    "DELETE_BACKUP": "sql.backup",
    "UPDATE_BACKUP": "sql.backup",
    "EXPORT": "sql.export",
    "IMPORT": "sql.import",
    "CREATE_DATABASE": "sql.databases",
    "DELETE_DATABASE": "sql.databases",
    "CREATE_USER": "sql.users",
    "UPDATE_USER": "sql.users",
    "DELETE_USER": "sql.users",
}
"""Keys of the table of latencies by the types of operations that `sql#operation` knows."""


def refused(why: str) -> errors.ApiError:
    """400 as Cloud SQL says it: "Invalid request: WHY.". Source: hashicorp/terraform-provider-google issues."""
    return errors.invalid(f"Invalid request: {why}.")


def wrong_state() -> errors.ApiError:
    """Source: hashicorp/terraform-provider-google#5179: 409, invalidState."""
    message = "The instance or operation is not in an appropriate state to handle the request."
    return errors.ApiError(409, message, reason="invalidState", status="FAILED_PRECONDITION")


def page(call: Call, items: Sequence[Body], size_key: str = "maxResults") -> tuple[list[Body], Body]:
    """The page asked for, and `{"nextPageToken": …}` where there is more."""
    size = min(call.get(size_key) or MOST, 2 * MOST)
    token = call.get("pageToken") or "0"
    if not token.isdigit():
        raise refused("Invalid page token")
    begin = int(token)
    more = {"nextPageToken": str(begin + size)} if begin + size < len(items) else {}
    return list(items[begin : begin + size]), more


def etag(body: Any) -> str:
    """A hash of what a body says."""
    return base64.b64encode(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()).decode()
