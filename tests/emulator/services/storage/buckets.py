"""Buckets. Source: https://cloud.google.com/storage/docs/json_api/v1/buckets"""

from __future__ import annotations

from starlette.responses import Response

from tests.emulator import errors
from tests.emulator.kind import Answer, Body, Call, on
from tests.emulator.organization import check_uniform
from tests.emulator.patches import merged
from tests.emulator.services.storage.base import GOOGLE, StorageKind, is_uniform, page
from tests.emulator.services.storage.bucket_access import first_policies
from tests.emulator.services.storage.bucket_settings import check_name, place, settled
from tests.emulator.services.storage.marks import etag, lists_name, next_generation, policy_name, stamp
from tests.emulator.services.storage.preconditions import asked, unless_modified
from tests.emulator.services.storage.rates import count_bucket
from tests.emulator.world import Record

TAKEN_BY_YOU = "Your previous request to create the named bucket succeeded and you already own it."
TAKEN = (
    "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
    "Please select a different name and try again."
)
"""Sources: gitpod-io/gitpod#15578 (one's own), GoogleCloudPlatform/gsutil#1166 (another's)"""


class Buckets(StorageKind):
    """Names are unique in all projects. `projection=full` adds the owner; access control lists are not emulated."""

    collection = "storage.buckets"
    owns_records = True

    def guards(self, call: Call) -> tuple[str, ...]:
        return super().guards(call) if "bucket" in call.parameters else (f"projects/{self.project_of(call).id}",)

    @on("insert", "storage.buckets.create")
    def insert(self, call: Call) -> Body:
        self.refuse_lists(call)
        name, project = call.body.get("name", ""), self.project_of(call)
        check_name(name)
        taken = self.cloud.world.find(f"storage/b/{name}")
        if taken:
            raise errors.ApiError(409, TAKEN_BY_YOU if taken.hidden["project"] == project.id else TAKEN)
        count_bucket(self.cloud, project.id)
        now = self.cloud.world.clock.now()
        body = {
            "kind": "storage#bucket",
            "id": name,
            "name": name,
            "selfLink": f"{GOOGLE}/storage/v1/b/{name}",
            "projectNumber": str(project.number),
            "generation": str(next_generation(self.cloud.world)),
            "metageneration": "1",
            "etag": etag(1),
            "timeCreated": stamp(now),
            "updated": stamp(now),
            **place(call.body.get("location", "US")),
            **settled(call.body, {}, now),
        }
        check_uniform(project, is_uniform(body))
        record = self.cloud.world.put(Record(f"storage/b/{name}", self.collection, body, {"project": project.id}))
        self.cloud.access.policies |= first_policies(body, project.id)
        return self.shown(record, call)

    def refuse_lists(self, call: Call) -> None:
        """501 for access control lists and for what only gone buckets have."""
        for name in ("predefinedAcl", "predefinedDefaultObjectAcl", "enableObjectRetention", "softDeleted"):
            if call.get(name):
                raise errors.not_emulated(f"{name} of a bucket")

    def shown(self, record: Record, call: Call) -> Body:
        if call.get("projection") != "full":
            return record.body
        return record.body | {"owner": {"entity": f"project-owners-{record.body['projectNumber']}"}}

    @on("get", "storage.buckets.get")
    def get(self, call: Call) -> Answer:
        self.refuse_lists(call)
        record = self.bucket(call)
        return unless_modified(call, _without_generation(record)) or self.shown(record, call)

    @on("list", "storage.buckets.list")
    def listed(self, call: Call) -> Body:
        self.refuse_lists(call)
        project, prefix = self.project_of(call), call.get("prefix", "")
        found = {each.body["name"]: each for each in self.cloud.world.of(self.collection)}
        mine = [
            name for name, each in found.items() if each.hidden["project"] == project.id and name.startswith(prefix)
        ]
        names, token = page(mine, call)
        items = [self.shown(found[name], call) for name in names]
        return {"kind": "storage#buckets", **({"items": items} if items else {}), **token}

    @on("patch", "storage.buckets.update")
    def patch(self, call: Call) -> Body:
        return self.change(call, merged(self.bucket(call).body, call.body))

    @on("update", "storage.buckets.update")
    def update(self, call: Call) -> Body:
        return self.change(call, call.body)

    def change(self, call: Call, wanted: Body) -> Body:
        """Put these settings in the place of the old; what only Google sets stays."""
        self.refuse_lists(call)
        record, now = self.bucket(call), self.cloud.world.clock.now()
        if "iamConfiguration" in call.body:
            self.require(call, "storage.buckets.setIamPolicy", record)
        asked(call).check(_without_generation(record))
        kept = {key: value for key, value in record.body.items() if key in _GOOGLES}
        settings = settled(wanted, record.body, now)
        self.check_public(settings, record)
        check_uniform(self.project_of(call), is_uniform(settings))
        number = int(record.body["metageneration"]) + 1
        record.body = kept | settings | {"metageneration": str(number), "etag": etag(number), "updated": stamp(now)}
        return self.shown(record, call)

    def check_public(self, settings: Body, record: Record) -> None:
        """501 for a prevention of public access that would have to override bindings which are there."""
        policy = self.cloud.access.policy(policy_name(record.body["name"]))
        members = {member for binding in policy.get("bindings", ()) for member in binding["members"]}
        enforced = settings["iamConfiguration"]["publicAccessPrevention"] == "enforced"
        if enforced and members & {"allUsers", "allAuthenticatedUsers"}:
            raise errors.not_emulated("publicAccessPrevention on a bucket that is public")

    @on("delete", "storage.buckets.delete")
    def delete(self, call: Call) -> Answer:
        """Source of the words: genevieve/leftovers#38, GoogleCloudPlatform/gsutil#1166."""
        record = self.bucket(call)
        asked(call).check(_without_generation(record))
        if self.cloud.world.under(f"{record.name}/o/"):
            raise errors.ApiError(409, "The bucket you tried to delete was not empty.")
        count_bucket(self.cloud, record.hidden["project"])
        for gone in [record, *self.cloud.world.under(f"{record.name}/")]:
            self.cloud.world.drop(gone.name)
        for name in (policy_name(record.body["name"]), lists_name(record.body["name"])):
            self.cloud.access.drop_policy(name)
        return Response(status_code=204)

    @on("lockRetentionPolicy", "storage.buckets.update")
    def lock_retention_policy(self, call: Call) -> Body:
        """Source: https://cloud.google.com/storage/docs/bucket-lock#lock-overview (no source for the words)"""
        record = self.bucket(call)
        asked(call).check(_without_generation(record))
        if "retentionPolicy" not in record.body:
            raise errors.invalid("Bucket has no retention policy to lock.")
        number = int(record.body["metageneration"]) + 1
        policy = record.body["retentionPolicy"] | {"isLocked": True}
        now = stamp(self.cloud.world.clock.now())
        record.body |= {"retentionPolicy": policy, "metageneration": str(number), "etag": etag(number), "updated": now}
        return self.shown(record, call)

    @on("getStorageLayout", "storage.objects.list")
    def get_storage_layout(self, call: Call) -> Body:
        """Source: https://cloud.google.com/storage/docs/json_api/v1/buckets/getStorageLayout"""
        body = self.bucket(call).body
        layout = {key: body[key] for key in ("location", "locationType")}
        return {
            "kind": "storage#storageLayout",
            "bucket": body["name"],
            **layout,
            "hierarchicalNamespace": {"enabled": False},
        }


_GOOGLES = (
    "kind", "id", "name", "selfLink", "projectNumber", "generation", "timeCreated", "location", "locationType", "rpo",
)  # fmt: skip
"""What no caller changes."""


def _without_generation(record: Record) -> Body:
    """Preconditions on a bucket are of its metageneration and etag alone."""
    return {key: record.body[key] for key in ("metageneration", "etag")}


KINDS = (Buckets,)
