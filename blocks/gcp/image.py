"""A container image of the stack's in its registry, as a resource: known by what it is built from, never by when."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from blocks.gcp.google import Google
from blocks.gcp.registry import Registry
from blocks.resource import Attributes, Change, Resource

SEEN_SECONDS = 60.0
"""Time a registry gets to show an image that was pushed."""


@dataclass(frozen=True)
class Context:
    """What an image is built from: a `Dockerfile`, and what it copies."""

    files: Mapping[str, bytes]
    """Path → content."""

    @property
    def digest(self) -> str:
        """64 digits, by names and contents alone."""
        found = hashlib.sha256()
        for name, content in sorted(self.files.items()):
            found.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
        return found.hexdigest()

    def archive(self) -> bytes:
        """It as a compressed tar file, as Docker and Cloud Build take it."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, content in sorted(self.files.items()):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return gzip.compress(packed.getvalue(), mtime=0)


class Builder(Protocol):
    """Builds an image and pushes it under its name and tag.

    Raises:
        Blocked: the build failed; with the last lines of its log.
    """

    def __call__(self, name: str, context: Context) -> None: ...


class Image(Resource):
    """An image whose tag is the digest of what it is built from.

    Args:
        part: Its name in the registry, such as `proxy`.
        builder: What makes it.
        needs: What the builder needs.
    """

    def __init__(
        self,
        google: Google,
        registry: Registry,
        part: str,
        context: Context,
        builder: Builder,
        needs: tuple[str, ...] = (),
    ) -> None:
        self.name = f"image of the {part}"
        self.needs = (registry.name, *needs)
        self._google, self._registry, self._part = google, registry, part
        self._context, self._builder = context, builder
        self._tagged = f"{registry.address}/{part}:{context.digest}"

    def find(self) -> Attributes | None:
        return self.want() if self._digest() else None

    def want(self) -> Attributes:
        return {"built from": self._context.digest}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._builder(self._tagged, self._context)
        self._google.wait(self._digest, f"{self._tagged} being in the registry", seconds=SEEN_SECONDS)

    def delete(self) -> None:
        """Leave it: it goes with its registry."""

    def address(self) -> str:
        """How it is named by its own digest, whatever becomes of the tag; by its tag where it is not built yet."""
        digest = self._digest()
        return f"{self._registry.address}/{self._part}@{digest}" if digest else self._tagged

    def _digest(self) -> str | None:
        return self._registry.digest(self._part, self._context.digest)
