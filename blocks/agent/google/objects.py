"""Objects of the stack's bucket.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import quote, urlencode

from .client import Client, Refused

STORAGE = "https://storage.googleapis.com"
JSON = "application/json"
PIECE = 1 << 20
"""Bytes that are read at a time of what goes to a file."""


@dataclass(frozen=True)
class Object:
    content: bytes
    generation: int
    age: float
    """Seconds since it was written, by Google's clock."""


class Objects:
    """Read and written by key."""

    def __init__(self, client: Client, bucket: str, address: str = "") -> None:
        self._client = client
        self._bucket = quote(bucket, safe="")
        self._address = address or STORAGE

    def read(self, key: str, unless: int = 0) -> Object | None:
        """A small object; None where there is none, or where it still has the generation `unless`."""
        condition = {"ifGenerationNotMatch": str(unless)} if unless else {}
        try:
            answer = self._client.call(f"reading {key}", "GET", self._place(key, alt="media", **condition))
        except Refused as error:
            if error.status == 404:
                return None
            raise
        if answer.status == 304:
            return None
        now, written = (parsedate_to_datetime(answer.headers[each]) for each in ("Date", "Last-Modified"))
        generation = int(answer.headers["X-Goog-Generation"])
        return Object(answer.content, generation, (now - written).total_seconds())

    def is_there(self, key: str) -> bool:
        return self.read(key) is not None

    def write(self, key: str, content: bytes, if_generation: int | None = None, media: str = JSON) -> bool:
        """Write an object whole; with `if_generation` only where it still has that one, 0: where there is none.

        False where it has another. Also where it was this very writer's whose answer got lost: to be read again.
        """
        told = {"uploadType": "media", "name": key, "fields": "generation"}
        if if_generation is not None:
            told["ifGenerationMatch"] = str(if_generation)
        address = f"{self._address}/upload/storage/v1/b/{self._bucket}/o?{urlencode(told)}"
        try:
            self._client.call(f"writing {key}", "POST", address, content, media)
        except Refused as error:
            if error.status == 412:
                return False
            raise
        return True

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each object whose key begins so."""
        found: dict[str, int] = {}
        told = {"prefix": prefix, "fields": "items(name,size),nextPageToken"}
        while True:
            address = f"{self._address}/storage/v1/b/{self._bucket}/o?{urlencode(told)}"
            page = json.loads(self._client.call(f"listing {prefix}", "GET", address).content)
            found |= {each["name"]: int(each["size"]) for each in page.get("items", ())}
            if "nextPageToken" not in page:
                return found
            told["pageToken"] = page["nextPageToken"]

    def fetch(self, key: str, target: Path, sha256: str, mode: int = 0o600) -> None:
        """Write an object to a file, which appears whole and with that digest or not at all.

        Raises:
            Refused: there is no such object, or its digest is another one.
            OSError: the file cannot be written.
        """
        beside = target.with_name(f".{target.name}.part")
        try:
            self._client.retried(lambda: self._download(key, beside, sha256, mode))
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    def _download(self, key: str, target: Path, sha256: str, mode: int) -> None:
        digest = hashlib.sha256()
        with (
            target.open("wb") as file,
            self._client.opened(f"fetching {key}", "GET", self._place(key, alt="media")) as answer,
        ):
            os.fchmod(file.fileno(), mode)
            while piece := answer.read(PIECE):
                digest.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            raise Refused(f"{key} in the bucket is damaged: its sha256 is {digest.hexdigest()}, not {sha256}")

    def _place(self, key: str, **told: str) -> str:
        return f"{self._address}/storage/v1/b/{self._bucket}/o/{quote(key, safe='')}?{urlencode(told)}"
