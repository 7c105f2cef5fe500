"""Databases of an instance. Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/databases"""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import BASE, etag, refused
from tests.emulator.services.sqladmin.base import SqlKind
from tests.emulator.services.sqladmin.usage import sessions
from tests.emulator.world import Record

CHARSETS = ("UTF8", "SQL_ASCII", "LATIN1", "LATIN2", "LATIN9", "WIN1250", "WIN1252", "EUC_JP", "KOI8R")
"""Source: https://www.postgresql.org/docs/current/multibyte.html; those of most use."""
COLLATION = r"C|POSIX|[a-z]{2,3}_[A-Z]{2}(\.UTF-?8|\.utf8)?|C\.UTF-?8"
LONGEST = 63
"""Source: https://www.postgresql.org/docs/current/limits.html: bytes of an identifier."""


class Databases(SqlKind):
    """PostgreSQL makes and drops them at once; patch and update have nothing to change in PostgreSQL: 501."""

    collection = "sql.databases"

    def existing(self, call: Call, instance: Record) -> Record:
        """No source found for the words of a database; of others Google prints "Error 404: Not Found, notFound"."""
        record = self.cloud.world.find(f"{instance.name}/databases/{call['database']}")
        if record is None:
            raise errors.not_found("Not Found")
        return record

    @on("get", "cloudsql.databases.get")
    def get(self, call: Call) -> Body:
        return self.existing(call, self.running(call)).body

    @on("list", "cloudsql.databases.list")
    def listed(self, call: Call) -> Body:
        items = [each.body for each in self.children(self.running(call), self.collection)]
        return {"kind": "sql#databasesList", "items": items}

    @on("insert", "cloudsql.databases.create")
    def insert(self, call: Call) -> Body:
        """Source of the words on a second one: opstrace/opstrace: 400, "failed to create database … Detail: pq: …"."""
        instance, given = self.running(call), call.body
        name = given.get("name", "")
        self.idle(instance)
        if not name or len(name.encode()) > LONGEST:
            raise refused(f"Invalid database name ({name})")
        if given.get("sqlserverDatabaseDetails"):
            raise errors.not_emulated("sql.databases.insert with sqlserverDatabaseDetails")
        why = self._unmakeable(instance, name, given)
        if why:
            raise refused(f"failed to create database {name}. Detail: pq: {why}\n")
        record = new_database(self.cloud, instance, given)
        return self.begin(
            call,
            "CREATE_DATABASE",
            instance,
            lambda: None,
            lambda part: part.create_database(instance.name, name),
            undo=lambda: self.cloud.world.drop(record.name),
        )

    def _unmakeable(self, instance: Record, name: str, given: Body) -> str:
        """Source of the words: PostgreSQL's own, dbcommands.c."""
        if self.cloud.world.find(f"{instance.name}/databases/{name}"):
            return f'database "{name}" already exists'
        charset, collation = given.get("charset") or "UTF8", given.get("collation") or "en_US.UTF8"
        if charset.upper() not in CHARSETS:
            return f"{charset} is not a valid encoding name"
        if not re.fullmatch(COLLATION, collation):
            return f'invalid LC_COLLATE locale name: "{collation}"'
        return ""

    @on("delete", "cloudsql.databases.delete")
    def delete(self, call: Call) -> Body:
        """One in use is refused at once, not by the operation. Source: MobilityData/mobility-feed-api#1174."""
        instance = self.idle(self.running(call))
        record = self.existing(call, instance)
        name = record.body["name"]
        if sessions(self.cloud, instance, record):
            why = f'pq: database "{name}" is being accessed by other users'
            raise refused(f"failed to delete database {name}. Detail: {why}")
        return self.begin(
            call,
            "DELETE_DATABASE",
            instance,
            lambda: self.cloud.world.drop(record.name),
            lambda part: part.drop_database(instance.name, name),
        )


def new_database(cloud: Cloud, instance: Record, given: Body) -> Record:
    """Put a database under its instance. Source of the defaults: create-manage-databases: UTF8, en_US.UTF8."""
    name, project = given["name"], instance.body["project"]
    body = {
        "kind": "sql#database",
        "name": name,
        "instance": instance.body["name"],
        "project": project,
        "charset": (given.get("charset") or "UTF8").upper(),
        "collation": given.get("collation") or "en_US.UTF8",
        "selfLink": f"{BASE}/projects/{project}/instances/{instance.body['name']}/databases/{name}",
    }
    return cloud.world.put(Record(f"{instance.name}/databases/{name}", "sql.databases", body | {"etag": etag(body)}))


KINDS = (Databases,)
