"""Uploads in one request, and the first request of a resumable one.

Source: https://cloud.google.com/storage/docs/uploads-downloads#uploads
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from starlette.responses import Response

from tests.emulator import errors
from tests.emulator.discovery import Document
from tests.emulator.kind import Answer, Body, Call, on
from tests.emulator.schema import violations, without_nulls
from tests.emulator.services.storage.base import PlainError, refuse_list, shown_object
from tests.emulator.services.storage.bucket_settings import STORAGE_CLASSES
from tests.emulator.services.storage.generations import ObjectKind, check_name, check_sums
from tests.emulator.services.storage.preconditions import asked
from tests.emulator.services.storage.resumable import begun
from tests.emulator.world import Record

WRONG_PARTS = "Malformed multipart body."
"""Source: Byron/google-apis-rs#291"""


@dataclass(frozen=True)
class Upload:
    """What one request brings: the object's metadata and its content."""

    metadata: Body
    content: bytes


class Uploads(ObjectKind):
    """`insert` by `uploadType`: media, multipart, resumable."""

    @on("insert", "storage.objects.create")
    def insert(self, call: Call) -> Answer:
        bucket = self.bucket(call)
        if call.get("predefinedAcl"):
            raise refuse_list(bucket.body)
        if call.get("kmsKeyName"):
            raise errors.not_emulated("kmsKeyName of an object")
        kind = call.get("uploadType", "")
        if kind == "resumable":
            return self.begin(call, bucket)
        if kind not in ("media", "multipart"):
            raise errors.invalid(f"Invalid upload type: '{kind}'")  # no source for the words
        try:
            upload = self.media(call) if kind == "media" else self.multipart(call)
        except PlainError as error:
            return error.answer
        return shown_object(self.store(call, bucket, upload), call)

    def store(self, call: Call, bucket: Record, upload: Upload) -> Record:
        check_sums(upload.content, upload.metadata)
        return self.put(call, bucket, upload.metadata, upload.content, asked(call))

    def media(self, call: Call) -> Upload:
        """The content alone; its name is a parameter."""
        told = {"contentType": call.headers.get("content-type"), "md5Hash": call.headers.get("content-md5")}
        return Upload(self.named({key: value for key, value in told.items() if value}, call), call.content)

    def multipart(self, call: Call) -> Upload:
        """A part of JSON, then the content (RFC 2387)."""
        (_, raw), (head, content) = parts_of(call.headers.get("content-type", ""), call.content)
        metadata = self.metadata(call, raw)
        if "content-type" in head:
            metadata.setdefault("contentType", head["content-type"])
        return Upload(self.named(metadata, call), content)

    def begin(self, call: Call, bucket: Record) -> Answer:
        """A session, whose address the answer names. Preconditions are checked now and again at the end."""
        metadata = self.metadata(call, call.content)
        if "x-upload-content-type" in call.headers:
            metadata.setdefault("contentType", call.headers["x-upload-content-type"])
        metadata = self.named(metadata, call)
        check_name(metadata["name"])
        before = self.live(bucket, metadata["name"])
        asked(call).check(before.body if before else None)
        session = begun(call, bucket, metadata, str(self.cloud.world.number()))
        self.cloud.world.put(session)
        upload_id = session.name.rpartition("/")[2]
        place = f"{call.base}/upload/storage/v1/b/{bucket.body['name']}/o?uploadType=resumable&upload_id={upload_id}"
        return Response(status_code=200, headers={"Location": place, "X-GUploader-UploadID": upload_id})

    def metadata(self, call: Call, raw: bytes) -> Body:
        """The JSON part as the schema of an object wants it."""
        try:
            body = json.loads(raw or b"{}")
        except ValueError:
            raise errors.invalid("Parse Error", reason="parseError") from None
        wrong = violations(self.document, {"$ref": "Object"}, body)
        if wrong:
            found = [(each.where, each.message) for each in wrong]
            message = "\n".join(message for _, message in found)
            raise errors.invalid(message, details=[errors.bad_request(found)])
        cleaned: Body = without_nulls(body)
        return cleaned

    @property
    def document(self) -> Document:
        return self.cloud.router.documents["storage.v1"]

    def named(self, metadata: Body, call: Call) -> Body:
        """With what parameters say: they go before the body, as `name` and `contentEncoding` are described."""
        told = {"name": call.get("name", ""), "contentEncoding": call.get("contentEncoding")}
        metadata = metadata | {key: value for key, value in told.items() if value}
        metadata.setdefault("name", "")
        if metadata.get("storageClass", "STANDARD") not in STORAGE_CLASSES:
            raise errors.invalid(f"Invalid storage class: {metadata['storageClass']}")  # no source for the words
        return metadata


def parts_of(content_type: str, content: bytes) -> list[tuple[dict[str, str], bytes]]:
    """Headers (names in lower case) and bodies of the two parts of an upload; 400 where there are not two.

    Lines end as the first does. gcloud ends them with a line feed alone, and names the boundary in single quotes.
    """
    found = re.search(r"""boundary=["']?([^"';]+)""", content_type)
    mark = b"--" + found[1].encode() if found else b""
    first = content.find(mark)
    end = b"\r\n" if content.startswith(b"\r\n", first + len(mark)) else b"\n"
    second = content.find(end + mark, first + len(mark))
    last = content.rfind(end + mark + b"--")
    if not mark or first < 0 or not first < second < last:
        raise PlainError(WRONG_PARTS)
    behind = second + len(end) + len(mark)
    return [_part(content[first + len(mark) : second], end), _part(content[behind:last], end)]


def _part(piece: bytes, end: bytes) -> tuple[dict[str, str], bytes]:
    """A line's rest, headers, an empty line, the body."""
    head, _, body = piece.partition(end + end)
    lines = (line.partition(":") for line in head.decode("latin-1").splitlines())
    return {name.strip().lower(): value.strip() for name, _, value in lines if name}, body


KINDS = (Uploads,)
