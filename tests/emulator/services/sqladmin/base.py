"""What all kinds of Cloud SQL share: names, refusals, pages, one operation at a time for each instance.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1 (shapes),
https://cloud.google.com/sql/docs/postgres/admin-api-error-messages (errors by code), and for the words as they come
over the wire the public issues named beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, cast

from tests.emulator import errors
from tests.emulator.backing import Backing, SqlBacking
from tests.emulator.kind import Body, Call, Kind
from tests.emulator.operations import Effect, sql_shape
from tests.emulator.services.sqladmin.answers import BASE, refused
from tests.emulator.services.sqladmin.automated import take_due
from tests.emulator.world import Record

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
        """Source: no issue found; notes in many public repositories print "boss::NOT_AUTHORIZED: …" whole."""
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
        take_due(self.cloud, record)
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
