"""Generations of objects: finding, making, replacing and removing them.

Source: https://cloud.google.com/storage/docs/object-versioning and https://cloud.google.com/storage/docs/objects
"""

from __future__ import annotations

import base64
import hashlib
from datetime import timedelta

import google_crc32c

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.storage.base import StorageKind
from tests.emulator.services.storage.lifecycle import archive
from tests.emulator.services.storage.marks import etag, moment, next_generation, stamp
from tests.emulator.services.storage.preconditions import Preconditions
from tests.emulator.services.storage.rates import count_object
from tests.emulator.world import Record

WRITABLE = (
    "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "customTime",
    "eventBasedHold", "metadata", "temporaryHold",
)  # fmt: skip
"""What a caller sets on an object; what only Google sets is ignored in a body.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/update
"""
NOT_EMULATED = ("acl", "contexts", "kmsKeyName", "retention")
MOST_METADATA = 8192
"""Bytes of custom metadata, keys and values. Source: https://cloud.google.com/storage/quotas#objects"""


class ObjectKind(StorageKind):
    """A kind that works with objects; one of them, `Objects`, owns the records."""

    collection = "storage.objects"

    def live(self, bucket: Record, name: str) -> Record | None:
        found = self.cloud.world.find(f"{bucket.name}/o/{name}")
        return found if found and found.body["name"] == name else None

    def generation(self, call: Call, bucket: Record, name: str, wanted: str | None) -> Record:
        """The live object, or the generation asked for; who may not list learns no more than that it may not.

        Source of the words: googleapis/java-storage#49; of the 403,
        googleapis/google-cloud-go#1638 (a public bucket whose objects may be read and not listed).
        """
        live = self.live(bucket, name)
        if wanted is None or (live and live.body["generation"] == wanted):
            found = live
        else:
            found = self.cloud.world.find(f"{bucket.name}/o/{name}#{wanted}")
        if found is None:
            self.require(call, "storage.objects.list", bucket)
            raise errors.not_found(f"No such object: {bucket.body['name']}/{name}")
        return found

    def put(self, call: Call, bucket: Record, settings: Body, content: bytes, asked: Preconditions) -> Record:
        """Make a new live generation of `settings["name"]`; the one before becomes noncurrent or goes."""
        name, now = settings["name"], self.cloud.world.clock.now()
        check_name(name)
        before = self.live(bucket, name)
        asked.check(before.body if before else None)
        if before:
            self.require(call, "storage.objects.delete", bucket)
        count_object(self.cloud, bucket.body["name"], name)
        if before:
            self.retire(bucket, before)
        number = next_generation(self.cloud.world)
        body = {
            "kind": "storage#object",
            "id": f"{bucket.body['name']}/{name}/{number}",
            "name": name,
            "bucket": bucket.body["name"],
            "generation": str(number),
            "metageneration": "1",
            "storageClass": settings.get("storageClass", bucket.body["storageClass"]),
            "size": str(len(content)),
            "md5Hash": md5(content),
            "crc32c": crc32c(content),
            "etag": etag(number, 1),
            **dict.fromkeys(("timeCreated", "updated", "timeStorageClassUpdated", "timeFinalized"), stamp(now)),
            **written(settings, {}),
        }
        if bucket.body.get("defaultEventBasedHold"):
            body.setdefault("eventBasedHold", True)
        record = Record(f"{bucket.name}/o/{name}", "storage.objects", body, {"content": content})
        return self.cloud.world.put(self.with_retention(bucket, record))

    def with_retention(self, bucket: Record, record: Record) -> Record:
        """Source: https://cloud.google.com/storage/docs/bucket-lock#retention-policy"""
        record.body.pop("retentionExpirationTime", None)
        policy = bucket.body.get("retentionPolicy")
        if policy and not record.body.get("eventBasedHold"):
            end = moment(record.body["timeCreated"]) + timedelta(seconds=int(policy["retentionPeriod"]))
            record.body["retentionExpirationTime"] = stamp(end)
        return record

    def retire(self, bucket: Record, record: Record, for_good: bool = False) -> None:
        """Take a live object out of the way: noncurrent where the bucket keeps versions, gone otherwise."""
        keeps = bucket.body.get("versioning", {}).get("enabled") and not for_good
        self.check_free(record, bucket, archived=bool(keeps))
        if keeps:
            archive(self.cloud.world, record, self.cloud.world.clock.now())
        else:
            self.cloud.world.drop(record.name)

    def check_free(self, record: Record, bucket: Record, archived: bool) -> None:
        """403 while a hold or a retention keeps it; a retention lets a live object become noncurrent.

        Source: https://cloud.google.com/storage/docs/object-holds, https://cloud.google.com/storage/docs/bucket-lock;
        the words are those of treeverse/lakeFS#1339 and of googleapis/google-cloud-ruby's own tests.
        """
        body = self.with_retention(bucket, record).body
        what, now = f"Object '{body['bucket']}/{body['name']}'", self.cloud.world.clock.now()
        for field, hold in (("eventBasedHold", "Event-Based"), ("temporaryHold", "Temporary")):
            if body.get(field):
                raise kept(f"{what} is under active {hold} hold", "until hold is removed.")
        until = body.get("retentionExpirationTime")
        if until and moment(until) > now and not archived:
            raise kept(f"{what} is subject to bucket's retention policy", f"until {until}")


def kept(why: str, until: str) -> errors.ApiError:
    message = f"{why} and cannot be deleted, overwritten or archived {until}"
    return errors.ApiError(403, message, reason="forbidden")


def check_name(name: str) -> None:
    """Source: https://cloud.google.com/storage/docs/objects#naming (no source for the words but "Required")"""
    if not name:
        raise errors.invalid("Required", reason="required")
    bad = name in (".", "..") or name.startswith(".well-known/acme-challenge/") or "\r" in name or "\n" in name
    if bad or len(name.encode()) > 1024:
        raise errors.invalid(f"Invalid object name: '{name[:100]}'")


def written(wanted: Body, before: Body) -> Body:
    """What of a body a caller sets, checked.

    Source on customTime: https://cloud.google.com/storage/docs/metadata#custom-time (no source for the words)
    """
    for name in NOT_EMULATED:
        if wanted.get(name):
            raise errors.not_emulated(f"an object's {name}")
    metadata = wanted.get("metadata") or {}
    if sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items()) > MOST_METADATA:
        raise errors.invalid(f"Custom metadata is larger than {MOST_METADATA} bytes.")  # no source for the words
    earlier, later = before.get("customTime"), wanted.get("customTime")
    if later:
        moment(later)
    if earlier and (not later or moment(later) < moment(earlier)):
        raise errors.invalid("Custom time cannot be removed or set to an earlier time.")
    return {name: wanted[name] for name in WRITABLE if wanted.get(name) is not None}


def crc32c(content: bytes) -> str:
    """Base64 of the checksum in big-endian order. Source: https://cloud.google.com/storage/docs/data-validation"""
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def check_sums(content: bytes, told: Body) -> None:
    """400 where the content is not what the caller said it is.

    Source of the words: googleapis/python-storage#1541 (CRC32C), gsutil help cp, CHECKSUM VALIDATION (MD5).
    """
    sums = (("md5Hash", "MD5 hash", md5(content)), ("crc32c", "CRC32C", crc32c(content)))
    for field, name, found in sums:
        if told.get(field) and told[field] != found:
            raise errors.invalid(f'Provided {name} "{told[field]}" doesn\'t match calculated {name} "{found}".')
