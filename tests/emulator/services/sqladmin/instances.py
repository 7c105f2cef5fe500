"""Instances: made, read, changed, restarted, deleted.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests.emulator import errors
from tests.emulator.backing import SqlBacking
from tests.emulator.kind import Body, Call, on
from tests.emulator.patches import merged
from tests.emulator.services.servicenetworking.connections import connection_name
from tests.emulator.services.sqladmin import backups, private_ip, settings, suspension
from tests.emulator.services.sqladmin.answers import etag, paged, refused, wrong_state
from tests.emulator.services.sqladmin.authorities import certified
from tests.emulator.services.sqladmin.base import SqlKind
from tests.emulator.services.sqladmin.databases import new_database
from tests.emulator.services.sqladmin.filters import chosen
from tests.emulator.services.sqladmin.instance_body import address_of, new_instance, place_of
from tests.emulator.services.sqladmin.typed import typed
from tests.emulator.services.sqladmin.usage import part_of
from tests.emulator.services.sqladmin.users import ROOT, new_user
from tests.emulator.world import Record

FIXED = ("region", "databaseVersion", "instanceType", "masterInstanceName")
"""What an instance keeps for life here. Source: instance-settings; at Google a major version can be upgraded."""


class InstanceKind(SqlKind):
    """What every kind about instances knows of them."""

    collection = "sql.instances"

    def references(self, record: Record) -> Iterator[str]:
        """The service connection. Source: "Producer services (e.g. CloudSQL …) are still using this connection"."""
        network = record.body["settings"]["ipConfiguration"].get("privateNetwork")
        return iter([connection_name(self.cloud, network)] if network else [])

    def made(self, record: Record) -> None:
        """It has its addresses and runs. Source: crossplane-contrib/provider-gcp#226 for what becomes of a failure."""
        self.addressed(record)
        record.body["gceZone"] = record.body["settings"]["locationPreference"]["zone"]
        record.body["state"] = "RUNNABLE"
        record.hidden["backed_up"] = self.cloud.world.clock.now()

    def addressed(self, record: Record) -> None:
        """Addresses that the settings ask for come, others go. Source: configure-ip, configure-private-ip."""
        given = record.body["settings"]["ipConfiguration"]
        wanted = ["PRIMARY", "OUTGOING"] if given["ipv4Enabled"] else []
        wanted += ["PRIVATE"] if given.get("privateNetwork") else []
        there = {each["type"]: each for each in record.body.get("ipAddresses", [])}
        record.body["ipAddresses"] = [there.get(kind) or self._address(record, kind) for kind in wanted]
        if part := part_of(self.cloud):
            part.addressed(record.name, record.body)

    def _address(self, record: Record, kind: str) -> Body:
        private = kind == "PRIVATE"
        address = private_ip.take_address(self.cloud, record) if private else address_of(self.cloud.world.number())
        return {"type": kind, "ipAddress": address}


class Instances(InstanceKind):
    """Instances of PostgreSQL; replicas and failover are not emulated: 501."""

    @on("get", "cloudsql.instances.get")
    def get(self, call: Call) -> Body:
        return self.instance(call).body

    @on("list", "cloudsql.instances.list")
    def listed(self, call: Call) -> Body:
        prefix = f"sql/projects/{self.project_of(call).id}/instances/"
        bodies = [each.body for each in self.cloud.world.under(prefix, self.collection)]
        found = [body for body in bodies if chosen(call.get("filter", ""), body)]
        return {"kind": "sql#instancesList"} | paged("items", found, call)

    def given(self, call: Call) -> Body:
        """The instance in a call's body, its numbers as they are given back."""
        body: Body = typed(self.cloud.router.documents["sqladmin.v1"], {"$ref": "DatabaseInstance"}, call.body)
        return body

    # -- making ------------------------------------------------------------------------------------------------------

    @on("insert", "cloudsql.instances.create")
    def insert(self, call: Call) -> Body:
        given = self.given(call)
        record = new_instance(self.cloud, self.project_of(call), str(given.get("name", "")), given)
        password = given.get("rootPassword", "")
        self.cloud.world.put(record)

        def act(part: SqlBacking) -> None:
            certified(part, record)
            part.start(record.name, record.body)
            part.set_user(record.name, ROOT, password)

        def made() -> None:
            self.made(record)
            new_database(self.cloud, record, {"name": "postgres"})
            new_user(self.cloud, record, {"name": ROOT, "type": "BUILT_IN"}, password)

        return self.begin(call, "CREATE", record, made, act, undo=lambda: record.body.update(state="FAILED"))

    # -- changing ----------------------------------------------------------------------------------------------------

    @on("patch", "cloudsql.instances.update")
    def patch(self, call: Call) -> Body:
        record, given = self.changeable(call), self.given(call).get("settings") or {}
        wanted = merged(record.body["settings"], given)
        addresses = given.get("ipConfiguration") or {}
        if "requireSsl" in addresses and "sslMode" not in addresses:
            wanted["ipConfiguration"].pop("sslMode", None)
        return self.change(call, record, wanted)

    @on("update", "cloudsql.instances.update")
    def update(self, call: Call) -> Body:
        """Settings that are not given go back to their defaults. Source: `instances.update` in the reference."""
        return self.change(call, self.changeable(call), self.given(call).get("settings", {}))

    def changeable(self, call: Call) -> Record:
        """The instance of a patch or an update, which may change as asked."""
        record = self.idle(self.instance(call))
        if record.body["state"] != "RUNNABLE":
            raise wrong_state()
        self._check_version((call.body.get("settings") or {}).get("settingsVersion"), record)
        for name in FIXED:
            if call.body.get(name) not in (None, record.body.get(name)):
                raise errors.not_emulated(f"sql.instances.patch of {name}")
        if call.body.get("name") not in (None, record.body["name"]):
            raise refused("Invalid instance name in request body")
        return record

    def _check_version(self, given: Any, record: Record) -> None:
        """Source: hashicorp/terraform-provider-google#12324: 412, staleData."""
        if given is not None and str(given) != record.body["settings"]["settingsVersion"]:
            raise errors.ApiError(412, "Condition does not match.", reason="staleData")

    def change(self, call: Call, record: Record, wanted: Body) -> Body:
        """Put other settings in place; the real part follows."""
        settings.check_emulated(wanted)
        before, place = record.body["settings"], place_of(record.body)
        after = settings.completed(wanted, place)
        settings.check(after, place)
        private_ip.check_kept(before, after)
        if int(after["dataDiskSizeGb"]) < int(before["dataDiskSizeGb"]):
            raise refused("The disk size of an instance cannot be decreased")  # no source for the words
        private_ip.check_connected(self.cloud, record.body["project"], record.body["name"], after)
        after["settingsVersion"] = str(int(before["settingsVersion"]) + 1)
        record.body |= {"settings": after, "etag": etag(after)}
        if call.body.get("rootPassword"):
            new_user(self.cloud, record, {"name": ROOT, "type": "BUILT_IN"}, call.body["rootPassword"])
        return self.begin(call, "UPDATE", record, lambda: self.addressed(record), _following(record, before, after))

    @on("restart", "cloudsql.instances.restart")
    def restart(self, call: Call) -> Body:
        record = self.idle(self.running(call))

        def act(part: SqlBacking) -> None:
            part.stop(record.name, record.body)
            part.start(record.name, record.body)

        return self.begin(call, "RESTART", record, lambda: None, act)

    # -- deleting ----------------------------------------------------------------------------------------------------

    @on("delete", "cloudsql.instances.delete")
    def delete(self, call: Call) -> Body:
        """Source: admin-api-error-messages, ERROR_PROTECTED_INSTANCE_DELETION_FAILURE."""
        record = self.idle(self.instance(call))
        suspension.check_deletable(record)
        if record.body["settings"]["deletionProtectionEnabled"]:
            raise errors.invalid(
                "The instance is protected. Please disable the deletion protection and try again. To disable deletion "
                "protection, update the instance settings with deletionProtectionEnabled set to false."
            )
        before = record.body["state"]
        final = backups.final(self.cloud, call, record)
        record.body["state"] = "PENDING_DELETE"

        def act(part: SqlBacking) -> None:
            if final:
                part.backup(record.name, final.name)
            part.remove(record.name)

        return self.begin(
            call,
            "DELETE",
            record,
            lambda: self.gone(record, final),
            act,
            undo=lambda: record.body.update(state=before),
        )

    def gone(self, record: Record, final: Record | None) -> None:
        """Backups go with it unless they are to stay; what it used of the network, and its name, are released later.

        Source: https://cloud.google.com/sql/docs/postgres/delete-instance
        """
        for connection in self.references(record):
            self.release_later(connection, record.name, "release.connection")
        self.release_later(record.name, record.name, "release.sql.name")
        backups.left_behind(self.cloud, record, final)
        for child in self.cloud.world.under(f"{record.name}/"):
            self.cloud.world.drop(child.name)
        self.cloud.world.drop(record.name)


def _following(record: Record, before: Body, after: Body) -> Callable[[SqlBacking], None]:
    """What the real part does on a change: stop, start again, or be made what the settings say."""
    name, body = record.name, record.body
    if after["activationPolicy"] == "NEVER":
        return lambda part: part.stop(name, body)
    if before["activationPolicy"] == "NEVER":
        return lambda part: part.start(name, body)
    return lambda part: part.change(name, body)


KINDS = (Instances,)
