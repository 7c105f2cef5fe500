"""Objects in a bucket of Google Cloud Storage, and the bucket.

Source: https://cloud.google.com/storage/docs/request-preconditions, https://cloud.google.com/storage/docs/consistency
(reads and lists show each write that has ended).
"""

from __future__ import annotations

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

import requests
from google.api_core.exceptions import NotFound, PreconditionFailed, from_http_response
from google.cloud.storage import Blob, Bucket
from google.cloud.storage.retry import DEFAULT_RETRY

from blocks.errors import Blocked, Conflict, WrongCall
from blocks.gcp.bucket import BucketResource
from blocks.gcp.google import Google, explained
from blocks.object_store import ObjectStore, Versioned
from blocks.resource import Resource

WRITER = "selfhost-writer"
"""Metadata of an object that was written on a condition: who did, so that a lost answer is told from a lost race."""
JSON = "application/json"


@dataclass(frozen=True)
class GcsObjectStore(ObjectStore):
    """A bucket of the stack's own; a key is an object's name."""

    google: Google
    stack: str
    bucket: str
    """Its name, which no other bucket in the world has."""
    region: str

    def outside(self) -> list[Resource]:
        return [BucketResource(self.google, self.stack, self.bucket, self.region)]

    def address(self) -> str:
        return f"gs://{self.bucket}"

    def put(self, key: str, source: Path) -> None:
        blob = self._blob(key)
        with source.open("rb") as reading, self._explained("writing"):
            blob.upload_from_file(reading, size=source.stat().st_size, retry=DEFAULT_RETRY)

    def get(self, key: str, target: Path) -> None:
        blob, part = self._blob(key), target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
        try:
            with self._explained("reading"):
                blob.download_to_filename(str(part))
            part.replace(target)
        except NotFound as error:
            raise Blocked(f"there is no object {key!r} in {self.address()}") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, key: str) -> Versioned | None:
        try:
            with self._explained("reading"):
                answer = DEFAULT_RETRY(self._download)(self._blob(key))
        except NotFound:
            return None
        now, written = (parsedate_to_datetime(answer.headers[each]) for each in ("Date", "Last-Modified"))
        return Versioned(answer.content, int(answer.headers["X-Goog-Generation"]), (now - written).total_seconds())

    def _download(self, blob: Blob) -> requests.Response:
        """The object's bytes, with what only headers say: its generation, and its age by Google's clock."""
        address = f"{self.google.storage.api_endpoint}/storage/v1{blob.path}"
        answer = self.google.session.get(address, params={"alt": "media"}, timeout=60)
        if not answer.ok:
            raise from_http_response(answer)  # type: ignore[no-untyped-call]
        return answer

    def write(self, key: str, content: bytes, *, if_generation: int) -> int:
        blob, writer = self._blob(key), secrets.token_hex(8)
        blob.metadata = {WRITER: writer}
        try:
            with self._explained("writing"):
                blob.upload_from_string(content, JSON, if_generation_match=if_generation, retry=DEFAULT_RETRY)
        except PreconditionFailed as error:
            return self._own_generation(key, writer, error)
        return int(blob.generation)

    def _own_generation(self, key: str, writer: str, error: Exception) -> int:
        """Generation of what this very writer has written, where the answer was lost and it was sent again."""
        with self._explained("reading"):
            found = self._bucket().get_blob(key)
        if found is None or (found.metadata or {}).get(WRITER) != writer:
            raise Conflict(f"{key} was changed by somebody else meanwhile", "run the same command again") from error
        return int(found.generation)

    def listing(self, prefix: str = "") -> list[str]:
        try:
            with self._explained("listing"):
                return sorted(each.name for each in self.google.storage.list_blobs(self.bucket, prefix=prefix))
        except NotFound:  # there is no bucket yet
            return []

    def remove(self, key: str) -> None:
        blob = self._blob(key)
        try:
            with self._explained("removing from"):
                blob.delete(retry=DEFAULT_RETRY)
        except NotFound:
            return

    def _bucket(self) -> Bucket:
        return self.google.storage.bucket(self.bucket)

    def _blob(self, key: str) -> Blob:
        path = PurePosixPath(key)
        if not key or path.is_absolute() or ".." in path.parts or str(path) != key:
            raise WrongCall(f"{key!r} is not a key of an object", "keys are relative paths inside the store")
        return self._bucket().blob(key)

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(f"{doing} {self.address()}")
