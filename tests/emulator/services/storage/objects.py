"""Objects: reading, listing, changing and deleting them. Source: https://cloud.google.com/storage/docs/json_api/v1/objects"""

from __future__ import annotations

from starlette.responses import Response

from tests.emulator import errors
from tests.emulator.kind import Answer, Body, Call, on
from tests.emulator.patches import merged
from tests.emulator.services.storage.base import in_words, refuse_list, shown_object
from tests.emulator.services.storage.downloads import download
from tests.emulator.services.storage.generations import WRITABLE, ObjectKind, written
from tests.emulator.services.storage.listing import listing
from tests.emulator.services.storage.marks import etag, stamp
from tests.emulator.services.storage.preconditions import asked, unless_modified
from tests.emulator.services.storage.rates import count_object
from tests.emulator.world import Record


class Objects(ObjectKind):
    """Objects by name, the live one or the generation asked for."""

    owns_records = True

    def existing(self, call: Call) -> tuple[Record, Record]:
        """The bucket, and the object in it."""
        if call.get("softDeleted"):
            raise errors.not_emulated("softDeleted of an object")
        bucket = self.bucket(call)
        record = self.generation(call, bucket, call["object"], call.get("generation"))
        return bucket, self.with_retention(bucket, record)

    @on("get", "storage.objects.get")
    def get(self, call: Call) -> Answer:
        """Metadata, or with `alt=media` the content."""
        media = call.get("alt") == "media"
        try:
            _, record = self.existing(call)
        except errors.ApiError as error:
            if not media or error.code != 404:
                raise
            return in_words(error.message, error.code)
        unchanged = unless_modified(call, record.body)
        if unchanged:
            return unchanged
        return download(record, call) if media else shown_object(record, call)

    @on("list", "storage.objects.list")
    def listed(self, call: Call) -> Body:
        bucket = self.bucket(call)
        for record in (found := self.cloud.world.under(f"{bucket.name}/o/", self.collection)):
            self.with_retention(bucket, record)
        return listing(found, call)

    @on("patch", "storage.objects.update")
    def patch(self, call: Call) -> Body:
        bucket, record = self.existing(call)
        settings = {name: record.body[name] for name in WRITABLE if name in record.body}
        return self.change(call, bucket, record, merged(settings, call.body))

    @on("update", "storage.objects.update")
    def update(self, call: Call) -> Body:
        return self.change(call, *self.existing(call), call.body)

    def change(self, call: Call, bucket: Record, record: Record, wanted: Body) -> Body:
        """Put this metadata in the place of the old; a new metageneration."""
        if call.get("predefinedAcl"):
            raise refuse_list(bucket.body)
        asked(call).check(record.body)
        count_object(self.cloud, bucket.body["name"], record.body["name"])
        kept = {key: value for key, value in record.body.items() if key not in WRITABLE}
        number = int(record.body["metageneration"]) + 1
        marks = {"metageneration": str(number), "etag": etag(int(record.body["generation"]), number)}
        now = stamp(self.cloud.world.clock.now())
        record.body = kept | written(wanted, record.body) | marks | {"updated": now}
        return shown_object(self.with_retention(bucket, record), call)

    @on("delete", "storage.objects.delete")
    def delete(self, call: Call) -> Answer:
        """Without a generation the live object goes, or becomes noncurrent; with one it is gone for good."""
        bucket, record = self.existing(call)
        asked(call).check(record.body)
        count_object(self.cloud, bucket.body["name"], record.body["name"])
        self.retire(bucket, record, for_good=call.get("generation") is not None)
        return Response(status_code=204)


KINDS = (Objects,)
