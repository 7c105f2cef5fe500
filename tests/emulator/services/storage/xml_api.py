"""The XML API, `/bucket/object`, which signed URLs use too: not emulated, and it says so.

Source: https://cloud.google.com/storage/docs/xml-api/overview, https://cloud.google.com/storage/docs/access-control/signed-urls
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Answer, Call, raw
from tests.emulator.services.storage.base import StorageKind

OBJECT = r"/(?!(?:storage|upload|resumable|download|batch|discovery)/)[a-z0-9][a-z0-9._-]+[a-z0-9]/.+"
"""A bucket's name and an object's, where the JSON API has no path."""


class XmlApi(StorageKind):
    """Every verb, so that none is taken for a path that does not exist."""

    collection = "storage.xml"

    def refuse(self, _: Call) -> Answer:
        raise errors.not_emulated("storage: the XML API, and with it a signed URL,")

    @raw("storage", "GET", OBJECT)
    def get(self, call: Call) -> Answer:
        return self.refuse(call)

    @raw("storage", "HEAD", OBJECT)
    def head(self, call: Call) -> Answer:
        return self.refuse(call)

    @raw("storage", "PUT", OBJECT)
    def put(self, call: Call) -> Answer:
        return self.refuse(call)

    @raw("storage", "POST", OBJECT)
    def post(self, call: Call) -> Answer:
        return self.refuse(call)

    @raw("storage", "DELETE", OBJECT)
    def delete(self, call: Call) -> Answer:
        return self.refuse(call)


KINDS = (XmlApi,)
