"""Exports to and imports from Cloud Storage, in SQL.

Source: https://cloud.google.com/sql/docs/postgres/import-export/import-export-sql
"""

from __future__ import annotations

from typing import Any

from tests.emulator import errors
from tests.emulator.backing import SqlBacking
from tests.emulator.errors import ApiError
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin import objects
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.services.sqladmin.dumps import EMPTY, fault, packed, unpacked
from tests.emulator.services.sqladmin.instances import InstanceKind
from tests.emulator.services.sqladmin.users import ROOT
from tests.emulator.world import Record

OPTIONS = ("csvExportOptions", "csvImportOptions", "sqlExportOptions", "sqlImportOptions", "bakExportOptions",
           "bakImportOptions", "tdeExportOptions", "tdeImportOptions")  # fmt: skip
"""Options of exports and imports, none of which is emulated."""


class InstanceTransfers(InstanceKind):
    """`export` and `import` of one database; CSV and directories of parallel ones: 501."""

    owns_records = False

    @on("export", "cloudsql.instances.export")
    def export(self, call: Call) -> Body:
        """An object that is there already fails the operation, not the call. Source: `uri` in the reference."""
        instance, context = self.idle(self.running(call)), call.body.get("exportContext", {})
        self._check_context(context, "export")
        if len(context.get("databases", [])) != 1:
            raise errors.invalid(
                "The operation requires that you specify exactly one database when exporting a SQL file."
            )
        database, (bucket, name) = context["databases"][0], objects.split_uri(context.get("uri", ""))
        account = instance.body["serviceAccountEmailAddress"]
        place = objects.check_allowed(self.cloud, account, bucket, "storage.objects.create")
        dump = {"content": EMPTY}

        def act(part: SqlBacking) -> None:
            dump["content"] = part.dump(instance.name, database)

        def written() -> None:
            self._database(instance, database)
            if objects.content(self.cloud, place, name) is not None:
                raise broke(f"The file gs://{bucket}/{name} already exists.")  # no source for the words
            objects.put(call, place, name, packed(name, dump["content"]))

        return self.begin(call, "EXPORT", instance, written, act, context={"exportContext": context})

    @on("import", "cloudsql.instances.import")
    def load(self, call: Call) -> Body:
        """The instance's account reads the file and, as the reference has it, writes to the bucket besides.

        Sources: `uri` in the reference; the permissions of import-export-sql, which speak of reading alone and are what
        is asked for here; apache/airflow#4489 needed both.
        """
        instance, context = self.idle(self.running(call)), call.body.get("importContext", {})
        self._check_context(context, "import")
        bucket, name = objects.split_uri(context.get("uri", ""))
        account = instance.body["serviceAccountEmailAddress"]
        place = objects.check_allowed(self.cloud, account, bucket, "storage.objects.get")
        content = objects.content(self.cloud, place, name)
        if content is None:
            raise errors.not_found(f"The file gs://{bucket}/{name} does not exist.")  # no source for the words
        database, user = context.get("database", ""), context.get("importUser") or ROOT
        if not database:
            raise refused("Missing parameter: database")  # no source for the words
        why = self._unloadable(instance, name, content, user)
        hopeless = why or self.cloud.world.find(f"{instance.name}/databases/{database}") is None

        def act(part: SqlBacking) -> None:
            part.load(instance.name, database, user, unpacked(name, content))

        def loaded() -> None:
            record = self._database(instance, database)
            if why:
                raise broke(why)
            owners = record.hidden.get("owners", {})
            record.hidden["owners"] = owners | {user: owners.get(user, 0) + 1}

        return self.begin(
            call, "IMPORT", instance, loaded, None if hopeless else act, context={"importContext": context}
        )

    def _check_context(self, context: Body, what: str) -> None:
        """Source: admin-api-error-messages, ERROR_EXPORT_UNKNOWN_FILE_TYPE and ERROR_IMPORT_UNKNOWN_FILE_TYPE."""
        if context.get("fileType") not in ("SQL", "CSV", "BAK", "TDE"):
            raise errors.invalid(f"The {what} file type is unknown.")
        asked = [name for name in OPTIONS if _says_something(context.get(name))]
        asked += [f"fileType {context['fileType']}"] if context["fileType"] != "SQL" else []
        if asked:
            raise errors.not_emulated(f"sql.instances.{what} with {asked[0]}")

    def _database(self, instance: Record, name: str) -> Record:
        """Source of the words: PostgreSQL's own."""
        record = self.cloud.world.find(f"{instance.name}/databases/{name}")
        if record is None:
            raise broke(f'FATAL:  database "{name}" does not exist')
        return record

    def _unloadable(self, instance: Record, name: str, content: bytes, user: str) -> str:
        users = {each.body["name"] for each in self.children(instance, "sql.users")}
        if user not in users:
            return f'FATAL:  role "{user}" does not exist'
        try:
            return fault(unpacked(name, content), users)
        except ValueError as error:
            return str(error)


def _says_something(options: Any) -> bool:
    """Whether options ask for anything: gcloud sends all of them, most as false or zero."""
    return any(map(_says_something, options.values())) if isinstance(options, dict) else bool(options)


def broke(why: str) -> ApiError:
    """How an export or an import fails. Source: "[ERROR_RDBMS] pg_dump: …" as `gcloud sql export` prints it."""
    return ApiError(400, why, reason="ERROR_RDBMS")


KINDS = (InstanceTransfers,)
