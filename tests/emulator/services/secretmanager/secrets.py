"""Secrets. Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets"""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.secretmanager.base import SecretKind
from tests.emulator.services.secretmanager.settings import CHANGEABLE, check_id, check_replication, settled
from tests.emulator.world import Record


class Secrets(SecretKind):
    """Secrets of a project, with their policies."""

    collection = "secretmanager.projects.secrets"

    @on("create", "secretmanager.secrets.create")
    def create(self, call: Call) -> Body:
        """Source of "already exists": hashicorp/terraform-provider-google issues"""
        self.settle()
        project, secret_id = self.project_of(call), call.get("secretId", "")
        check_id(secret_id)
        check_replication(call.body, self.cloud.places("region"))
        name, shown = (f"projects/{each}/secrets/{secret_id}" for each in (project.id, project.number))
        if self.cloud.world.find(f"secretmanager/{name}"):
            raise errors.already_exists(f"Secret [{shown}] already exists.")
        body = {
            "name": shown,
            "replication": call.body["replication"],
            "createTime": self.now,
            "etag": self.etag(),
            **settled(call.body, self.cloud.world.clock.now()),
        }
        self.check_aliased(f"secretmanager/{name}", body)
        hidden = {"number": self.cloud.world.number()}
        return self.cloud.world.put(Record(f"secretmanager/{name}", self.collection, body, hidden)).body

    def check_aliased(self, secret: str, body: Body) -> None:
        """An alias is of a version that is there. No source for the words."""
        for alias, number in body.get("versionAliases", {}).items():
            if self.cloud.world.find(f"{secret}/versions/{number}") is None:
                raise errors.invalid(f"Version {number} of the alias {alias} does not exist.")

    @on("get", "secretmanager.secrets.get")
    def get(self, call: Call) -> Body:
        return self.secret(call).body

    @on("list", "secretmanager.secrets.list")
    def listed(self, call: Call) -> Body:
        self.settle()
        found = self.cloud.world.under(f"secretmanager/projects/{self.project_of(call).id}/secrets/", self.collection)
        return self.page(sorted(found, key=lambda each: each.hidden["number"]), call, "secrets")

    @on("patch", "secretmanager.secrets.update")
    def patch(self, call: Call) -> Body:
        """Only what the mask names; a field that it names and the body has not is emptied (https://google.aip.dev/134)."""
        record = self.secret(call)
        self.check_etag(call.body.get("etag", ""), record)
        names = [_camel(name) for name in call.get("updateMask", "").split(",") if name]
        if not names:
            raise errors.invalid("The update mask is required.")  # no source for the words
        fixed = [name for name in names if name.partition(".")[0] not in (*CHANGEABLE, "etag")]
        if fixed:
            raise errors.invalid(f"Field [{fixed[0]}] of a secret cannot be updated.")  # no source for the words
        body = dict(record.body)
        for name in names:
            body = _replaced(body, call.body, name)
        settings = settled(body, self.cloud.world.clock.now())
        self.check_aliased(record.name, settings)
        kept = {key: value for key, value in record.body.items() if key not in CHANGEABLE}
        record.body = kept | settings | {"etag": self.etag()}
        return record.body

    @on("delete", "secretmanager.secrets.delete")
    def delete(self, call: Call) -> Body:
        record = self.secret(call)
        self.check_etag(call.get("etag", ""), record)
        self.remove(record)
        return {}

    @on("getIamPolicy", "secretmanager.secrets.getIamPolicy")
    def get_policy(self, call: Call) -> Body:
        self.secret(call)
        return self.cloud.access.policy(self.guards(call)[0])

    @on("setIamPolicy", "secretmanager.secrets.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        self.secret(call)
        return self.cloud.access.set_policy(self.guards(call)[0], call.body.get("policy", {}))

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        guards = self.guards(call)
        asked = call.body.get("permissions", [])
        held = [each for each in asked if self.cloud.access.may(call.caller, each, guards)]
        return {"permissions": held} if held else {}


def _camel(name: str) -> str:
    """A field of the mask as JSON writes it; what is behind a dot is the caller's own."""
    head, dot, rest = name.strip().partition(".")
    return re.sub(r"_([a-z])", lambda found: found[1].upper(), head) + dot + rest


def _replaced(old: Body, new: Body, name: str) -> Body:
    """The old body with one field of the mask, such as `labels` or `labels.team`, taken from the new one."""
    head, _, key = name.partition(".")
    kept = {field: value for field, value in old.items() if field != head}
    if head in ("ttl", "expireTime"):
        kept.pop("expireTime", None)
    if not key:
        return kept | ({head: new[head]} if head in new else {})
    inner = {field: value for field, value in old.get(head, {}).items() if field != key}
    return kept | {head: inner | ({key: new[head][key]} if key in new.get(head, {}) else {})}


KINDS = (Secrets,)
