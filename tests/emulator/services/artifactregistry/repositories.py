"""Repositories. Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories"""

from __future__ import annotations

import copy
import re
from typing import Any

from tests.emulator import errors
from tests.emulator.backing import Backing
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import long_running_shape
from tests.emulator.patches import camel, paths
from tests.emulator.policy_kind import PolicyKind
from tests.emulator.services.artifactregistry.base import RegistryKind
from tests.emulator.world import Record

NAME = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
"""Source: https://cloud.google.com/artifact-registry/docs/repositories/create-repos: letters, numbers, hyphens, 63."""
WRITABLE = ("format", "mode", "description", "labels", "cleanupPolicies", "cleanupPolicyDryRun", "dockerConfig",
            "vulnerabilityScanningConfig")  # fmt: skip
"""What a caller may set and is kept; output-only fields are ignored (AIP-203), the rest is refused."""
NOT_EMULATED = ("kmsKeyName", "virtualRepositoryConfig", "remoteRepositoryConfig", "mavenConfig", "platformLogsConfig",
                "disallowUnspecifiedMode")  # fmt: skip
FIXED = ("format", "mode")
"""Source: https://cloud.google.com/artifact-registry/docs/repositories/create-repos ("cannot change")."""


class Repositories(RegistryKind, PolicyKind):
    """Docker repositories in standard mode; other formats and modes say that they are not emulated."""

    collection = "artifactregistry.projects.locations.repositories"

    @on("create", "artifactregistry.repositories.create")
    def create(self, call: Call) -> Body:
        parent, name = self.full(call), call.get("repositoryId") or ""
        if not re.fullmatch(NAME, name):
            raise errors.invalid(f'Invalid value for "repository_id": "{name}" must match {NAME}.')  # no source: words
        body = self.checked(call.body)
        if self.cloud.world.find(f"artifactregistry/{parent}/repositories/{name}"):
            raise errors.already_exists("the repository already exists")
        body |= {"name": f"{parent}/repositories/{name}", "createTime": self.now, "updateTime": self.now}
        body.setdefault("mode", "STANDARD_REPOSITORY")
        location, project = parent.split("/")[3], self.project_of(call).id
        body["registryUri"] = f"{location}-docker.pkg.dev/{project}/{name}"
        record = self.cloud.world.put(Record(f"artifactregistry/{body['name']}", self.collection, body))
        return self.begin(
            call,
            record,
            effect=lambda: _typed(record.body),
            act=lambda part: part.start(record.name, body),
            undo=lambda: self.gone(record),
        )

    @on("get", "artifactregistry.repositories.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body | {"sizeBytes": str(self.size(self.existing(call)))}

    @on("list", "artifactregistry.repositories.list")
    def listed(self, call: Call) -> Body:
        records = self.cloud.world.under(f"artifactregistry/{self.full(call)}/repositories/", self.collection)
        return self.paged(call, "repositories", [each.body for each in records])

    @on("patch", "artifactregistry.repositories.update")
    def patch(self, call: Call) -> Body:
        """The fields named by `updateMask`, all that were sent where there is none; answers at once."""
        record = self.existing(call)
        changed = self.checked({"format": record.body["format"]} | call.body)
        names = [camel(each) for each in paths(call.get("updateMask", ""))] or list(call.body)
        for name in (each for each in names if each in WRITABLE):
            if name in FIXED and changed.get(name, record.body[name]) != record.body[name]:
                raise errors.invalid(f"{name} of a repository cannot be changed.")  # no source: words
            record.body.pop(name, None)
            record.body |= {name: changed[name]} if name in changed else {}
        record.body |= {"format": "DOCKER", "mode": "STANDARD_REPOSITORY", "updateTime": self.now}
        return record.body

    @on("delete", "artifactregistry.repositories.delete")
    def delete(self, call: Call) -> Body:
        """Takes all images along. Source: https://cloud.google.com/artifact-registry/docs/repositories/delete-repos"""
        record = self.existing(call)
        return self.begin(call, record, lambda: self.gone(record), lambda part: _take_away(part, record))

    def gone(self, record: Record) -> None:
        for each in [record, *self.cloud.world.under(f"{record.name}/")]:
            self.cloud.world.drop(each.name)
        self.cloud.access.drop_policy(record.body["name"])

    def policy_name(self, call: Call) -> str:
        return str(self.existing(call).body["name"])

    def checked(self, sent: Body) -> Body:
        """A copy of what a caller may set."""
        if sent.get("format") != "DOCKER":
            raise errors.not_emulated(f"a repository of format {sent.get('format', 'FORMAT_UNSPECIFIED')}")
        if sent.get("mode", "STANDARD_REPOSITORY") not in ("STANDARD_REPOSITORY", "MODE_UNSPECIFIED"):
            raise errors.not_emulated(f"a repository of mode {sent['mode']}")
        for name in NOT_EMULATED:
            if sent.get(name):
                raise errors.not_emulated(f"{name} of a repository")
        _check_labels(sent.get("labels", {}))
        _check_policies(sent.get("cleanupPolicies", {}))
        return {key: copy.deepcopy(value) for key, value in sent.items() if key in WRITABLE and value is not None}

    def size(self, record: Record) -> int:
        return sum(int(each.body["imageSizeBytes"]) for each in self.cloud.world.under(f"{record.name}/dockerImages/"))

    def begin(self, call: Call, record: Record, effect: Any, act: Any, undo: Any = None) -> Body:
        operation = self.start(call, "artifactregistry.repositories", self.verb(call), record, effect, act, undo)
        operation.metadata = {"@type": "type.googleapis.com/google.devtools.artifactregistry.v1.OperationMetadata"}
        return long_running_shape(operation, operation.full_name)

    def verb(self, call: Call) -> str:
        return call.method.verb if call.method else ""


def _typed(body: Body) -> Body:
    return {"@type": "type.googleapis.com/google.devtools.artifactregistry.v1.Repository", **body}


def _take_away(part: Backing, record: Record) -> None:
    part.stop(record.name, record.body)
    part.remove(record.name)


def _check_labels(labels: dict[str, str]) -> None:
    """Source: `labels` in the reference of Repository: 64 entries, 63 characters, a letter first."""
    if len(labels) > 64:
        raise errors.invalid("A repository can have at most 64 labels.")  # no source: words
    for key, value in labels.items():
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(r"[a-z0-9_-]{0,63}", value):
            raise errors.invalid(f"Invalid label '{key}': '{value}'.")  # no source: words


def _check_policies(policies: dict[str, Body]) -> None:
    """Source: `cleanupPolicies` in the reference: keys under 128 characters, `mostRecentVersions` only with KEEP.

    No source for the words. The policies are kept and shown; Google applies them about once a day, here nobody does.
    """
    for name, policy in policies.items():
        if len(name) >= 128 or policy.get("id", name) != name:
            raise errors.invalid(f"Invalid cleanup policy id '{name}'.")
        if "mostRecentVersions" in policy and policy.get("action") != "KEEP":
            raise errors.invalid(
                f"Cleanup policy '{name}': most_recent_versions may only be specified with a Keep action."
            )


KINDS = (Repositories,)
