"""The stack's PostgreSQL at Cloud SQL, as a resource: the instance alone; what is in it is made by SQL.

Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/instances, CIS Google Cloud 6.2, 6.4 to 6.7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from google.api_core import exceptions
from google.cloud.sqladmin_v1 import DatabaseInstance, Operation

from blocks.errors import Blocked, NotReady
from blocks.gcp.google import Google, explained
from blocks.gcp.marks import LABEL
from blocks.gcp.network import Network
from blocks.gcp.pruned import pruned
from blocks.gcp.services_connection import ServicesConnection
from blocks.gcp_spec import GcpDatabase
from blocks.resource import Attributes, Change, Resource

VERSION = "POSTGRES_18"
FLAGS = {
    "cloudsql.enable_pgaudit": "on",
    "log_connections": "on",
    "log_disconnections": "on",
    "log_error_verbosity": "default",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "error",
    "log_min_messages": "warning",
    "log_statement": "ddl",
    "pgaudit.log": "ddl,role",
}
"""What the database logs, and what not: no statement with its values."""
MADE_SECONDS = 3600.0
"""Time an instance gets to be made or changed: ten minutes, as a rule."""
NETWORK = ("settings", "ip_configuration", "private_network")


class SqlInstance(Resource):
    """An instance with a private address alone, which takes connections by TLS only.

    Args:
        instance: Its name, which is not to be had for a week after it was deleted.
        wanted: What is said of it in the spec.
    """

    name = "database instance"
    needs = (ServicesConnection.name,)

    def __init__(self, google: Google, network: Network, instance: str, wanted: GcpDatabase | None = None) -> None:
        self._google, self._network, self._instance = google, network, instance
        self._wanted = wanted or GcpDatabase()

    def find(self) -> Attributes | None:
        found = self._get()
        if found is None:
            return None
        seen = DatabaseInstance.to_dict(found, use_integers_for_enums=False)
        if seen["state"] not in ("RUNNABLE", "MAINTENANCE"):
            raise NotReady(f"the database instance {self._instance} is {seen['state']}", "run the same command again")
        actual: Attributes = pruned({**seen, "settings": _with_flags(seen["settings"])}, self.want())
        return actual

    def want(self) -> Attributes:
        return {"database_version": VERSION, "region": self._network.region, "settings": self._settings()}

    def require_ours(self, actual: Attributes) -> None:
        if _at(actual, ("settings", "user_labels", LABEL)) != self._network.stack:
            raise Blocked(f"the database instance {self._instance} is there, and not this stack's", "name another one")

    def check(self, actual: Attributes) -> None:
        wanted = self.want()
        for what, path in (("version", ("database_version",)), ("region", ("region",)), ("network", NETWORK)):
            now, then = _at(actual, path), _at(wanted, path)
            if now != then:
                told = f"the {what} of the database instance {self._instance} is {now!r}, and cannot become {then!r}"
                raise Blocked(told, "write it in the spec as it is")

    def interrupts(self, change: Change) -> str:
        before, after = change.fields.get("settings", ({}, {}))
        if change.action != "update" or _at(before, ("tier",)) == _at(after, ("tier",)):
            return ""
        return "the database is restarted with another machine type: callers wait for a minute or more"

    def apply(self, actual: Attributes | None, change: Change) -> None:
        settings = {**self._settings(), "database_flags": [{"name": n, "value": v} for n, v in FLAGS.items()]}
        if actual is None:
            settings["data_disk_size_gb"] = self._wanted.disk_gb
            body = {**self.want(), "name": self._instance, "settings": settings}
            self._carry_out("making", "insert", {"body": body})
        else:
            self._carry_out("changing", "patch", {"instance": self._instance, "body": {"settings": settings}})

    def delete(self) -> None:
        try:
            self._carry_out("removing", "delete", {"instance": self._instance})
        except exceptions.BadRequest as error:
            hint = "protection = false below [gcp.database], selfhost bootstrap, then again"
            raise Blocked(f"the database instance {self._instance}: {error.message}", hint) from error

    def address(self) -> str:
        """Its private address; NotReady before it has one."""
        found = self._get()
        listed = [each.ip_address for each in found.ip_addresses] if found is not None else []
        if not listed:
            raise NotReady(f"the database instance {self._instance} has no address yet")
        return str(listed[0])

    def authority(self) -> str:
        """Certificates of those who may have issued the instance's, PEM: one, and up to three while Google changes it.

        Raises:
            NotReady: it has none yet.
        """
        try:
            with self._explained("reading the authorities of"):
                found = self._google.sql("Instances").list_server_cas(request=self._named())
        except exceptions.NotFound as error:
            raise NotReady(f"the database instance {self._instance} is not made yet") from error
        return "".join(f"{each.cert.strip()}\n" for each in found.certs)

    def users(self) -> list[str]:
        """Names of its logins; none where it is not made yet."""
        try:
            with self._explained("reading the logins of"):
                found = self._google.sql("Users").list(request=self._named())
        except exceptions.NotFound:
            return []
        return [each.name for each in found.items]

    def add_user(self, name: str, password: str) -> None:
        """Make a login that may make roles and databases; one that is there stays as it is."""
        body = {"name": name, "password": password}
        try:
            self._carry_out("adding a login to", "insert", {"instance": self._instance, "body": body}, client="Users")
        except exceptions.BadRequest:
            if name not in self.users():  # it is: the answer to this very call was lost
                raise

    def _named(self) -> dict[str, str]:
        return {"project": self._google.project, "instance": self._instance}

    def _settings(self) -> dict[str, Any]:
        wanted, network = self._wanted, self._network
        return {
            "tier": wanted.tier,
            "edition": "ENTERPRISE",  # PostgreSQL 18 is ENTERPRISE_PLUS unless it is said, which has no such tier
            "availability_type": "ZONAL",
            "storage_auto_resize": True,
            "user_labels": {LABEL: network.stack},
            "ip_configuration": {
                "ipv4_enabled": False,
                "private_network": network.path,
                "allocated_ip_range": f"{network.stack}-services",
                "ssl_mode": "ENCRYPTED_ONLY",
            },
            "backup_configuration": {
                "enabled": True,
                "start_time": "01:00",
                "point_in_time_recovery_enabled": True,  # switched on later it would restart the database
                "transaction_log_retention_days": wanted.log_days,
                "backup_retention_settings": {"retained_backups": wanted.backups},
            },
            "maintenance_window": {
                "day": wanted.maintenance_day,
                "hour": wanted.maintenance_hour,
                "update_track": "stable",
            },
            "database_flags": FLAGS,
            "retain_backups_on_delete": True,
            "final_backup_config": {"enabled": True, "retention_days": 30},
            "deletion_protection_enabled": wanted.protection,
        }

    def _get(self) -> Any:
        try:
            with self._explained("reading"):
                return self._google.sql("Instances").get(request=self._named())
        except exceptions.NotFound:
            return None

    def _carry_out(self, doing: str, method: str, request: Mapping[str, Any], client: str = "Instances") -> None:
        """Begin an operation as soon as none is under way, and wait until it has ended."""
        call: Callable[..., Operation] = getattr(self._google.sql(client), method)

        def begin() -> Operation:
            try:
                with self._explained(doing):
                    return call(request={"project": self._google.project, **request})
            except exceptions.Aborted as error:  # one operation at a time
                raise NotReady(str(error.message)) from error

        what = f"{doing} the database instance {self._instance}"
        try:
            begun = self._google.wait(begin, what, seconds=MADE_SECONDS, every=10.0)
        except exceptions.AlreadyExists as error:
            self._wait_for_own(what, str(error.message))
        else:
            self._google.wait(lambda: self._has_ended(what, begun), what, seconds=MADE_SECONDS, every=10.0)

    def _wait_for_own(self, what: str, refusal: str) -> None:
        """Wait until the instance is there which this very call has begun to make: the answer was lost.

        Raises:
            Blocked: none is there: the name is that of one which was deleted less than a week ago.
        """
        if self._get() is None:
            raise Blocked(f"{what}: {refusal}", "name another one: instance below [gcp.database]")
        found = self._google.wait(self.find, what, seconds=MADE_SECONDS, every=10.0)
        self.require_ours(found or {})

    def _has_ended(self, what: str, begun: Operation) -> bool:
        with explained(what):
            request = {"project": self._google.project, "operation": begun.name}
            now = self._google.sql("Operations").get(request=request)
        if now.error.errors:
            raise Blocked(f"{what}: {now.error.errors[0].message}", "Google refused it")
        return bool(now.status == Operation.SqlOperationStatus.DONE)

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(f"{doing} the database instance {self._instance}")


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key, {}) if isinstance(value, Mapping) else {}
    return value


def _with_flags(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Flags by name: their order says nothing."""
    flags = settings.get("database_flags") or []
    return {**settings, "database_flags": {each["name"]: each["value"] for each in flags}}
