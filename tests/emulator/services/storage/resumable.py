"""Resumable uploads: a session that takes the content in chunks, tells how far it has got, and can be cancelled.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads and
https://cloud.google.com/storage/docs/resumable-uploads
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from starlette.responses import JSONResponse, Response

from tests.emulator import errors
from tests.emulator.kind import Answer, Body, Call, raw
from tests.emulator.services.storage.base import PlainError, shown_object
from tests.emulator.services.storage.generations import ObjectKind, check_sums
from tests.emulator.services.storage.preconditions import Preconditions, asked
from tests.emulator.world import Record

CHUNK = 256 * 1024
"""All chunks but the last are kept in multiples of this; what is over is not kept."""
LIFE = timedelta(days=7)
"""Source: "a session URI … expires after one week"."""
SESSION = r"/(?:resumable/)?upload/storage/v1/b/(?P<bucket>[^/]+)/o"
INSERT = "storage.objects.insert"


@dataclass(frozen=True)
class ContentRange:
    """`bytes first-last/total`: first is None where no content comes, total None where it is not yet known."""

    first: int | None
    last: int
    total: int | None


class ResumableUploads(ObjectKind):
    """Sessions; their address is all that is needed to write to one, whoever calls."""

    collection = "storage.uploads"
    owns_records = True

    def existing(self, call: Call) -> Record:
        """404 for no such session, 410 for one that is too old, 499 for a cancelled one."""
        found = self.cloud.world.find(f"storage/b/{call['bucket']}/uploads/{call.get('upload_id', '')}")
        if found is None:
            raise errors.not_found("No such upload session.")  # no source for the words
        if found.hidden["begun"] + LIFE <= self.cloud.world.clock.now():
            raise errors.ApiError(410, "The upload session has expired.", reason="gone")  # no source for the words
        if found.hidden["cancelled"]:
            raise cancelled()
        return found

    @raw("storage", "DELETE", SESSION, INSERT)
    def cancel(self, call: Call) -> Answer:
        """Source: "…#cancel-upload": 499 says that it worked."""
        session = self.existing(call)
        session.hidden |= {"cancelled": True, "chunks": []}
        return Response(status_code=499)

    @raw("storage", "PUT", SESSION, INSERT)
    def write(self, call: Call) -> Answer:
        """A chunk, or a question how much has come; 308 while there is more to come, then the object."""
        session = self.existing(call)
        if session.hidden["object"]:
            return JSONResponse(shown_object(session.hidden["object"], call))
        try:
            told = content_range(call.headers.get("content-range"), len(call.content))
            have = _length(session) if told.first is None else self.keep(session, told, call.content)
        except PlainError as error:
            return error.answer
        if told.total is not None and have == told.total:
            return JSONResponse(shown_object(self.finish(call, session), call))
        kept = {"Range": f"bytes=0-{have - 1}"} if have else {}
        upload_id = session.name.rpartition("/")[2]
        return Response(status_code=308, headers=kept | {"X-GUploader-UploadID": upload_id})

    def keep(self, session: Record, told: ContentRange, content: bytes) -> int:
        """Add what is new of a chunk; bytes that are there already are passed over. Returns how many there are."""
        have, first = _length(session), told.first or 0
        if first > have:
            # Source: firebase/firebase-tools#10325, whose answers were compared with Google's
            raise PlainError(f"Invalid chunk position. The next chunk should start at offset {have}.")
        fresh = content[have - first :]
        if told.last + 1 != told.total:
            fresh = fresh[: len(fresh) // CHUNK * CHUNK]
        session.hidden["chunks"].append(fresh)
        return have + len(fresh)

    def finish(self, call: Call, session: Record) -> Record:
        """All is there: the object, if checksums, preconditions and permissions of who began it agree."""
        hidden = session.hidden
        content = b"".join(hidden["chunks"])
        check_sums(content, hidden["metadata"] | _told_sums(call))
        beginner = Call(self.cloud, None, {}, {}, hidden["caller"])
        bucket = self.bucket(call)
        self.require(beginner, "storage.objects.create", bucket)
        record = self.put(beginner, bucket, hidden["metadata"], content, hidden["asked"])
        hidden |= {"object": record, "chunks": []}
        return record


def begun(call: Call, bucket: Record, metadata: Body, upload_id: str) -> Record:
    """The record of a new session."""
    asked_for: Preconditions = asked(call)
    hidden: dict[str, Any] = {
        "metadata": metadata,
        "asked": asked_for,
        "caller": call.caller,
        "begun": call.cloud.world.clock.now(),
        "chunks": [],
        "cancelled": False,
        "object": None,
    }
    return Record(f"{bucket.name}/uploads/{upload_id}", "storage.uploads", {}, hidden)


def content_range(header: str | None, size: int) -> ContentRange:
    """Of a request with so many bytes; without a header they are all there is.

    Sources of the words: talkiq/gcloud-aio#860, firebase/firebase-tools#10325 (a size that does not fit).
    """
    if header is None:
        return ContentRange(0, size - 1, size)
    found = re.fullmatch(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)", header.strip())
    if not found:
        raise PlainError("Failed to parse Content-Range header.")
    total = None if found[3] == "*" else int(found[3])
    if found[1] is None:
        return ContentRange(None, -1, total)
    first, last = int(found[1]), int(found[2])
    if last - first + 1 != size:
        raise PlainError(
            f"Invalid request.  There were {size} byte(s) in the request body.  There should have been "
            f"{last - first + 1} byte(s) (starting at offset {first} and ending at offset {last}) according to the "
            "Content-Range header."
        )
    return ContentRange(first, last, total)


def _told_sums(call: Call) -> Body:
    """Checksums of `X-Goog-Hash`, which a client may send with the last chunk.

    Source: https://cloud.google.com/storage/docs/xml-api/reference-headers#xgooghash
    """
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    pairs = (each.strip().partition("=") for each in call.headers.get("x-goog-hash", "").split(","))
    return {names[name]: value for name, _, value in pairs if name in names}


def _length(session: Record) -> int:
    return sum(len(chunk) for chunk in session.hidden["chunks"])


def cancelled() -> errors.ApiError:
    """Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes#499"""
    return errors.ApiError(499, "The upload was cancelled.", reason="cancelled")


KINDS = (ResumableUploads,)
