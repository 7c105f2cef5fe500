"""Users of an instance, built-in ones and principals of IAM.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/users,
https://cloud.google.com/sql/docs/postgres/add-manage-iam-users
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.answers import etag, refused
from tests.emulator.services.sqladmin.base import SqlKind
from tests.emulator.services.sqladmin.databases import LONGEST
from tests.emulator.services.sqladmin.flags import enabled
from tests.emulator.services.sqladmin.usage import owned
from tests.emulator.world import Record

ROOT = "postgres"
"""The user every instance begins with. Source: https://cloud.google.com/sql/docs/postgres/users."""
GROUPS = {
    "BUILT_IN": "",
    "CLOUD_IAM_USER": "cloudsqliamuser",
    "CLOUD_IAM_SERVICE_ACCOUNT": "cloudsqliamserviceaccount",
    "CLOUD_IAM_GROUP": "cloudsqliamgroup",
}
"""Types of users, and the role they become members of, which IAM authentication brings along."""
HOME = ".gserviceaccount.com"


class Users(SqlKind):
    """A password goes in and never comes out."""

    collection = "sql.users"

    def existing(self, call: Call, instance: Record) -> Record:
        """No source for the words; for the status see `databases.get`."""
        record = self.cloud.world.find(user_name(instance, call.get("name", "")))
        if record is None:
            raise errors.not_found("Not Found")
        return record

    @on("get", "cloudsql.users.get")
    def get(self, call: Call) -> Body:
        return self.existing(call, self.running(call)).body

    @on("list", "cloudsql.users.list")
    def listed(self, call: Call) -> Body:
        items = [each.body for each in self.children(self.running(call), self.collection)]
        return {"kind": "sql#usersList", "items": items}

    @on("insert", "cloudsql.users.create")
    def insert(self, call: Call) -> Body:
        """One more `postgres` is no mistake: it gets the password.

        Sources: hashicorp/terraform-provider-google#1057 (made by insert, over and over), #14221 (the words, "does not
        exist").
        """
        instance, given = self.idle(self.running(call)), call.body
        name, password = given.get("name", ""), given.get("password", "")
        check_user(given)
        why = self._unmakeable(instance, given)
        if why:
            raise refused(f'failed to create user "{name}": {why}')
        before = self.cloud.world.find(user_name(instance, name))
        record = new_user(self.cloud, instance, given, password)
        return self.begin(
            call,
            "CREATE_USER",
            instance,
            lambda: None,
            lambda part: part.set_user(instance.name, name, password),
            undo=lambda: self.cloud.world.put(before) if before else self.cloud.world.drop(record.name),
        )

    def _unmakeable(self, instance: Record, given: Body) -> str:
        """Source of the words: PostgreSQL's own."""
        group = GROUPS[given.get("type", "BUILT_IN")]
        if group and not enabled(instance.body["settings"], "cloudsql.iam_authentication"):
            return f'role "{group}" does not exist'
        taken = given["name"] != ROOT and self.cloud.world.find(user_name(instance, given["name"])) is not None
        return f'role "{given["name"]}" already exists' if taken else ""

    @on("update", "cloudsql.users.update")
    def update(self, call: Call) -> Body:
        """Another password, or more roles; the name stays."""
        instance = self.idle(self.running(call))
        record, password = self.existing(call, instance), call.body.get("password", "")
        check_user({"name": record.body["name"], **call.body, "type": record.body["type"]})
        roles = call.get("databaseRoles", [])
        kept = [] if call.get("revokeExistingRoles") else record.body.get("databaseRoles", [])
        if roles or kept:
            record.body["databaseRoles"] = sorted({*kept, *roles})
        if password:
            record.hidden["password"] = password
        act = (lambda part: part.set_user(instance.name, record.body["name"], password)) if password else None
        return self.begin(call, "UPDATE_USER", instance, lambda: None, act)

    @on("delete", "cloudsql.users.delete")
    def delete(self, call: Call) -> Body:
        """Source of the words: kernelci/kcidb#407, terraform-google-modules/terraform-google-sql-db#323."""
        instance = self.idle(self.running(call))
        record = self.existing(call, instance)
        name = record.body["name"]
        if counts := owned(self.cloud, instance, name):
            where = "\n".join(
                f"{count} object{'s' if count > 1 else ''} in database {each}" for each, count in counts.items()
            )
            raise refused(
                f'failed to delete user {name}: . role "{name}" cannot be dropped because some objects depend on it '
                f"Details: {where}"
            )
        return self.begin(
            call,
            "DELETE_USER",
            instance,
            lambda: self.cloud.world.drop(record.name),
            lambda part: part.drop_user(instance.name, name),
        )


def check_user(given: Body) -> None:
    """Refuse what no user of PostgreSQL can be.

    Source: add-manage-iam-users: a service account goes by its email without ".gserviceaccount.com", and principals of
    IAM have no password.
    """
    name, kind = given.get("name", ""), given.get("type", "BUILT_IN")
    if not name or len(name.encode()) > LONGEST:
        raise refused(f"Invalid user name ({name})")
    for unsupported in ("passwordPolicy", "dualPasswordType", "serverRoles", "sqlserverUserDetails"):
        if given.get(unsupported):
            raise errors.not_emulated(f"sql.users with {unsupported}")
    if kind not in GROUPS:
        raise errors.not_emulated(f"sql.users of type {kind}")
    if kind == "CLOUD_IAM_SERVICE_ACCOUNT" and name.endswith(HOME):
        raise refused(f'Database username for Cloud IAM service account should be created without "{HOME}" suffix')
    if kind != "BUILT_IN" and given.get("password"):
        raise refused("Password is not allowed for Cloud IAM users")


def user_name(instance: Record, name: str) -> str:
    """The full name of a user's record: PostgreSQL has no hosts in it."""
    return f"{instance.name}/users/{name}"


def new_user(cloud: Cloud, instance: Record, given: Body, password: str) -> Record:
    """Put a user under its instance, in the place of one of that name."""
    body = {
        "kind": "sql#user",
        "name": given["name"],
        "host": "",
        "type": given.get("type", "BUILT_IN"),
        "instance": instance.body["name"],
        "project": instance.body["project"],
    }
    if given.get("databaseRoles"):
        body["databaseRoles"] = given["databaseRoles"]
    body["etag"] = etag(body)
    return cloud.world.put(Record(user_name(instance, given["name"]), "sql.users", body, {"password": password}))


KINDS = (Users,)
