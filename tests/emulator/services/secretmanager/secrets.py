"""Secrets. Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.patches import camel, paths, replaced
from tests.emulator.policy_kind import PolicyKind
from tests.emulator.services.secretmanager.base import SecretKind
from tests.emulator.services.secretmanager.settings import CHANGEABLE, check_id, check_replication, settled
from tests.emulator.world import Record


class Secrets(SecretKind, PolicyKind):
    """Secrets of a project, with their policies."""

    collection = "secretmanager.projects.secrets"

    @on("create", "secretmanager.secrets.create")
    def create(self, call: Call) -> Body:
        """Source of "already exists": GoogleCloudPlatform/terraform-google-three-tier-web-app#12"""
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
        named = [_keys(path) for path in paths(call.get("updateMask", ""))]
        if not named:
            raise errors.invalid("The update mask is required.")  # no source for the words
        fixed = [head for head, *_ in named if head not in (*CHANGEABLE, "etag")]
        if fixed:
            raise errors.invalid(f"Field [{fixed[0]}] of a secret cannot be updated.")  # no source for the words
        body = dict(record.body)
        for keys in named:
            if keys[0] == "ttl":
                body.pop("expireTime", None)
            body = replaced(body, call.body, keys)
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

    def policy_name(self, call: Call) -> str:
        return self.secret(call).name.removeprefix("secretmanager/")

    @on("testIamPermissions", "")
    def test_permissions(self, call: Call) -> Body:
        """Source: the reference: of a secret that is not there "an empty set of permissions, not a NOT_FOUND error"."""
        self.settle()
        there = self.cloud.world.find(f"secretmanager/{self.guards(call)[0]}")
        return super().test_permissions(call) if there else {}


def _keys(path: str) -> list[str]:
    """A path of the mask, such as `labels.team`; what is behind the first dot is the caller's own."""
    head, *rest = path.split(".", 1)
    return [camel(head), *rest]


KINDS = (Secrets,)
