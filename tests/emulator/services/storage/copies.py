"""Objects made out of objects: copy, rewrite, compose. Source: https://cloud.google.com/storage/docs/copying-renaming-moving-objects"""

from __future__ import annotations

from dataclasses import dataclass

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.storage.base import refuse_list, shown_object
from tests.emulator.services.storage.bucket_settings import STORAGE_CLASSES
from tests.emulator.services.storage.generations import WRITABLE, ObjectKind
from tests.emulator.services.storage.preconditions import Preconditions, asked
from tests.emulator.world import Record

COPIED = tuple(name for name in WRITABLE if not name.endswith("Hold"))
MEGABYTE = 1024 * 1024
MOST_SOURCES = 32
"""Source: https://cloud.google.com/storage/docs/composite-objects"""


@dataclass(frozen=True)
class Step:
    """How far a rewrite has got: the source's generation and the bytes written; told by the token, as at Google it is
    told by nothing else."""

    generation: int
    written: int

    @property
    def token(self) -> str:
        return f"{self.generation}-{self.written}"


class Copies(ObjectKind):
    """The destination's bucket guards the method; reading the source is asked for here."""

    def source(self, call: Call) -> Record:
        bucket = self.bucket(call, call["sourceBucket"])
        self.require(call, "storage.objects.get", bucket)
        record = self.generation(call, bucket, call["sourceObject"], call.get("sourceGeneration"))
        asked(call, "ifSource").check(record.body)
        return record

    def made(self, call: Call, source: Record) -> Record:
        """The destination. A body that says anything replaces all metadata; else it is the source's."""
        bucket = self.bucket(call)
        if call.get("destinationPredefinedAcl"):
            raise refuse_list(bucket.body)
        if call.get("destinationKmsKeyName"):
            raise errors.not_emulated("destinationKmsKeyName of a copy")
        settings = call.body or {name: source.body[name] for name in COPIED if name in source.body}
        if settings.get("storageClass", "STANDARD") not in STORAGE_CLASSES:
            raise errors.invalid(f"Invalid storage class: {settings['storageClass']}")  # no source for the words
        named = settings | {"name": call["destinationObject"]}
        record = self.put(call, bucket, named, source.hidden["content"], asked(call))
        if "componentCount" in source.body:
            record.body["componentCount"] = source.body["componentCount"]
            del record.body["md5Hash"]
        return record

    @on("copy", "storage.objects.create")
    def copy(self, call: Call) -> Body:
        return shown_object(self.made(call, self.source(call)), call)

    @on("rewrite", "storage.objects.create")
    def rewrite(self, call: Call) -> Body:
        """At once, or `maxBytesRewrittenPerCall` at a time: at Google only between places or classes, here always."""
        source = self.source(call)
        size, generation = int(source.body["size"]), int(source.body["generation"])
        each = call.get("maxBytesRewrittenPerCall") or size
        if call.get("maxBytesRewrittenPerCall") and int(each) % MEGABYTE:
            raise errors.invalid("maxBytesRewrittenPerCall must be an integral multiple of 1 MiB.")  # no source
        step = self.before(call.get("rewriteToken", ""), generation)
        step = Step(generation, min(step.written + int(each), size))
        shape: Body = {
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": str(step.written),
            "objectSize": str(size),
        }
        if step.written < size:
            return shape | {"done": False, "rewriteToken": step.token}
        return shape | {"done": True, "resource": shown_object(self.made(call, source), call)}

    def before(self, token: str, generation: int) -> Step:
        """Where the last call stopped."""
        if not token:
            return Step(generation, 0)
        first, _, written = token.partition("-")
        if first != str(generation) or not written.isdigit():
            raise errors.invalid("Invalid rewrite token.")  # no source for the words
        return Step(generation, int(written))

    @on("compose", "storage.objects.create")
    def compose(self, call: Call) -> Body:
        """Source: https://cloud.google.com/storage/docs/composite-objects (no MD5, a count of components)"""
        bucket = self.bucket(call)
        self.check_composition(call, bucket)
        sources = [self.component(call, bucket, each) for each in call.body.get("sourceObjects", [])]
        content = b"".join(source.hidden["content"] for source in sources)
        settings = call.body.get("destination", {}) | {"name": call["destinationObject"]}
        record = self.put(call, bucket, settings, content, asked(call))
        record.body["componentCount"] = sum(source.body.get("componentCount", 1) for source in sources)
        del record.body["md5Hash"]
        return shown_object(record, call)

    def check_composition(self, call: Call, bucket: Record) -> None:
        if call.get("destinationPredefinedAcl"):
            raise refuse_list(bucket.body)
        if call.get("kmsKeyName") or call.body.get("deleteSourceObjects"):
            raise errors.not_emulated("kmsKeyName or deleteSourceObjects of a composition")
        count = len(call.body.get("sourceObjects", []))
        if not 0 < count <= MOST_SOURCES:
            # Source of "too many": minio/minio#9646; of "none": googleapis/storage-testbench, its REST server
            raise errors.invalid(
                f"The number of source components provided ({count}) exceeds the maximum ({MOST_SOURCES})"
                if count
                else "You must provide at least one source component."
            )

    def component(self, call: Call, bucket: Record, wanted: Body) -> Record:
        self.require(call, "storage.objects.get", bucket)
        number = str(wanted["generation"]) if "generation" in wanted else None
        record = self.generation(call, bucket, wanted.get("name", ""), number)
        match = wanted.get("objectPreconditions", {}).get("ifGenerationMatch")
        Preconditions(int(match) if match is not None else None).check(record.body)
        return record


KINDS = (Copies,)
