"""Versions of secrets. Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions"""

from __future__ import annotations

import base64
from typing import Any

import google_crc32c

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.secretmanager.base import SecretKind, duration
from tests.emulator.world import Record

LARGEST = 64 * 1024
"""Bytes of a payload. Source: https://cloud.google.com/secret-manager/quotas#content_limits"""


class NewVersions(SecretKind):
    """`addVersion`, which is a method of the secret."""

    collection = "secretmanager.projects.secrets"
    owns_records = False

    @on("addVersion", "secretmanager.versions.add")
    def add_version(self, call: Call) -> Body:
        """Source: https://cloud.google.com/secret-manager/docs/add-secret-version,
        https://cloud.google.com/secret-manager/docs/data-integrity (no source for the words of refusals)"""
        secret, payload = self.secret(call), call.body.get("payload", {})
        data = base64.b64decode(payload.get("data", ""))
        if not data or len(data) > LARGEST:
            raise errors.invalid(f"Secret payload must be between 1 and {LARGEST} bytes.")
        if "dataCrc32c" in payload and int(payload["dataCrc32c"]) != google_crc32c.value(data):
            raise errors.invalid("The checksum of the payload does not match its data.")
        number = secret.hidden.get("versions", 0) + 1
        secret.hidden["versions"] = number
        body: Body = {
            "name": f"{secret.body['name']}/versions/{number}",
            "createTime": self.now,
            "state": "ENABLED",
            "replicationStatus": _status(secret.body["replication"]),
            "etag": self.etag(),
            "clientSpecifiedPayloadChecksum": "dataCrc32c" in payload,
        }
        body = {key: value for key, value in body.items() if value is not False}
        hidden = {"data": data, "number": number}
        return self.cloud.world.put(Record(f"{secret.name}/versions/{number}", Versions.collection, body, hidden)).body


def _status(replication: Body) -> Body:
    if "automatic" in replication:
        return {"automatic": {}}
    places = [{"location": each["location"]} for each in replication["userManaged"]["replicas"]]
    return {"userManaged": {"replicas": places}}


class Versions(SecretKind):
    """Enabled, disabled or destroyed; named by number, by `latest` or, where they are read, by alias."""

    collection = "secretmanager.projects.secrets.versions"

    def existing(self, call: Call, alias: bool = False) -> Record:
        """404 for no such secret or version.

        Source of the words: firebase/firebase-tools#3959 (no versions), else none found; that `latest` is the newest
        whatever its state: google-github-actions/get-secretmanager-secrets#268.
        """
        secret = self.secret(call, "not found or has no versions.")
        wanted = call.named.rpartition("/")[2]
        numbers = [each.hidden["number"] for each in self.cloud.world.under(f"{secret.name}/versions/")]
        if wanted == "latest" and not numbers:
            raise errors.not_found(f"Secret [{secret.body['name']}] not found or has no versions.")
        if wanted == "latest":
            wanted = str(max(numbers))
        elif alias:
            wanted = str(secret.body.get("versionAliases", {}).get(wanted, wanted))
        record = self.cloud.world.find(f"{secret.name}/versions/{wanted}")
        if record is None:
            raise errors.not_found(f"Secret Version [{secret.body['name']}/versions/{wanted}] not found.")
        return record

    @on("get", "secretmanager.versions.get")
    def get(self, call: Call) -> Body:
        return self.existing(call, alias=True).body

    @on("list", "secretmanager.versions.list")
    def listed(self, call: Call) -> Body:
        found = self.cloud.world.under(f"{self.secret(call).name}/versions/")
        return self.page(sorted(found, key=lambda each: each.hidden["number"]), call, "versions")

    @on("access", "secretmanager.versions.access")
    def access(self, call: Call) -> Body:
        """The payload, which no other answer holds."""
        record = self.existing(call, alias=True)
        self.check_state(record, "ENABLED")
        data = record.hidden["data"]
        payload = {"data": base64.b64encode(data).decode(), "dataCrc32c": str(google_crc32c.value(data))}
        return {"name": record.body["name"], "payload": payload}

    def check_state(self, record: Record, *allowed: str) -> None:
        """Source: google-github-actions/get-secretmanager-secrets#268 ("is in DESTROYED state.")"""
        state = record.body["state"]
        if state not in allowed:
            raise errors.failed_precondition(f"Secret Version [{record.body['name']}] is in {state} state.")

    @on("enable", "secretmanager.versions.enable")
    def enable(self, call: Call) -> Body:
        """Also takes back a destruction that is scheduled."""
        return self.moved(call, {"state": "ENABLED"})

    @on("disable", "secretmanager.versions.disable")
    def disable(self, call: Call) -> Body:
        return self.moved(call, {"state": "DISABLED"})

    @on("destroy", "secretmanager.versions.destroy")
    def destroy_version(self, call: Call) -> Body:
        """At once, or disabled now and destroyed later where the secret says so."""
        delay = self.secret(call).body.get("versionDestroyTtl")
        if delay:
            at = rfc3339(self.cloud.world.clock.now() + duration(delay))
            return self.moved(call, {"state": "DISABLED", "scheduledDestroyTime": at})
        record = self.changeable(call)
        self.destroy(record, self.now)
        return record.body

    def changeable(self, call: Call) -> Record:
        """A version that is not destroyed, and is still what the caller has seen."""
        record = self.existing(call)
        self.check_state(record, "ENABLED", "DISABLED")
        self.check_etag(call.body.get("etag", ""), record)
        return record

    def moved(self, call: Call, marks: dict[str, Any]) -> Body:
        record = self.changeable(call)
        kept = {key: value for key, value in record.body.items() if key != "scheduledDestroyTime"}
        record.body = kept | marks | {"etag": self.etag()}
        return record.body


KINDS = (NewVersions, Versions)
