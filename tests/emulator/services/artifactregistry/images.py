"""Images in a repository, and packages, versions and tags as other views of them.

An image is the record `artifactregistry/projects/P/locations/L/repositories/R/dockerImages/NAME@sha256:…` (slashes in
NAME as %2F, as in Google's names), whose body is a DockerImage with its `tags`. `register` puts one there: a
repository's real part calls it, a builder of Cloud Build does, and a test does by `POST /_emulator/images`.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories.dockerImages
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.artifactregistry.base import RegistryKind
from tests.emulator.world import Record

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud

COLLECTION = "artifactregistry.projects.locations.repositories.dockerImages"
MEDIA_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
REFERENCE = re.compile(
    r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<repository>[^/]+)/(?P<name>[^:@]+)"
    r"(:(?P<tag>[\w.-]+))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)


def register(cloud: Cloud, image: str, digest: str = "", tags: Iterable[str] = ()) -> Record:
    """Put an image into a repository that exists, as a push does; ValueError for a reference to none.

    `image` is `LOCATION-docker.pkg.dev/PROJECT/REPOSITORY/NAME[:tag]`; a tag (`latest` where none is named) moves to
    the newest image that is pushed under it. Without a digest one is derived from the reference.
    """
    found = REFERENCE.fullmatch(image)
    if found is None or cloud.world.find(f"artifactregistry/{repository_of(found)}") is None:
        raise ValueError(f"{image}: no such repository")
    digest = digest or found["digest"] or f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
    wanted = {*tags, *([found["tag"]] if found["tag"] else [])} or {"latest"}
    records = {record.name.rpartition("@")[2]: record for record in _under(cloud, found)}
    for other in records.values():
        other.body["tags"] = sorted(set(other.body["tags"]) - wanted)
    known, now = records.get(digest), rfc3339(cloud.world.clock.now())
    name = f"{repository_of(found)}/dockerImages/{quote(found['name'], safe='')}@{digest}"
    body = {
        "name": name,
        "uri": f"{image.partition('@')[0].removesuffix(':' + (found['tag'] or ''))}@{digest}",
        "tags": sorted(wanted | set(known.body["tags"] if known else ())),
        "imageSizeBytes": "0",
        "mediaType": MEDIA_TYPE,
        "uploadTime": known.body["uploadTime"] if known else now,
        "updateTime": now,
    }
    return cloud.world.put(Record(f"artifactregistry/{name}", COLLECTION, body))


def repository_of(found: re.Match[str]) -> str:
    """Google's name of the repository in a reference."""
    return f"projects/{found['project']}/locations/{found['location']}/repositories/{found['repository']}"


def _under(cloud: Cloud, found: re.Match[str]) -> list[Record]:
    package = quote(found["name"], safe="")
    return cloud.world.under(f"artifactregistry/{repository_of(found)}/dockerImages/{package}@")


def digest_of(cloud: Cloud, image: str) -> str | None:
    """The digest behind a reference by tag (`latest` where it names none) or by digest; None where it is not there."""
    found = REFERENCE.fullmatch(image)
    for record in _under(cloud, found) if found else ():
        digest = record.name.rpartition("@")[2]
        by_tag = not found["digest"] and (found["tag"] or "latest") in record.body["tags"] if found else False
        if found and (by_tag or digest == found["digest"]):
            return digest
    return None


class InRepository(RegistryKind):
    """A kind whose parent is a repository that must exist."""

    def repository(self, call: Call) -> str:
        """Google's name of the repository of a call; 404 where there is none."""
        name = "/".join(self.full(call).split("/")[:6])
        if self.cloud.world.find(f"artifactregistry/{name}") is None:
            raise errors.not_found("Requested entity was not found.")
        return name

    def images(self, call: Call, package: str = "") -> list[Record]:
        """The images in it, or those of one package."""
        wanted = f"{package}@" if package else ""
        return self.cloud.world.under(f"artifactregistry/{self.repository(call)}/dockerImages/{wanted}")

    def of_package(self, call: Call) -> tuple[str, list[Record]]:
        """The package that a call names or is under, and its images; 404 where there are none."""
        folder = "/".join(self.full(call).split("/")[:8])
        found = self.images(call, folder.rpartition("/")[2])
        if not found:
            raise errors.not_found("Requested entity was not found.")
        return folder, found

    def one(self, call: Call, shown: Iterable[Body]) -> Body:
        found = next((each for each in shown if each["name"] == self.full(call)), None)
        if found is None:
            raise errors.not_found("Requested entity was not found.")
        return found


class DockerImages(InRepository):
    """Images by digest."""

    collection = COLLECTION

    @on("list", "artifactregistry.dockerimages.list")
    def listed(self, call: Call) -> Body:
        return self.paged(call, "dockerImages", [each.body for each in self.images(call)])

    @on("get", "artifactregistry.dockerimages.get")
    def get(self, call: Call) -> Body:
        return self.one(call, [each.body for each in self.images(call)])


class Packages(InRepository):
    """Images by name."""

    collection = "artifactregistry.projects.locations.repositories.packages"
    owns_records = False

    def shown(self, call: Call) -> Iterator[Body]:
        """One for each name, as old as its oldest image."""
        folder = f"{self.repository(call)}/packages"
        for name in dict.fromkeys(each.name.rpartition("/")[2].partition("@")[0] for each in self.images(call)):
            bodies = [each.body for each in self.images(call, name)]
            yield {
                "name": f"{folder}/{name}",
                "displayName": unquote(name),
                "createTime": min(each["uploadTime"] for each in bodies),
                "updateTime": max(each["updateTime"] for each in bodies),
            }

    @on("list", "artifactregistry.packages.list")
    def listed(self, call: Call) -> Body:
        return self.paged(call, "packages", list(self.shown(call)))

    @on("get", "artifactregistry.packages.get")
    def get(self, call: Call) -> Body:
        return self.one(call, self.shown(call))


class Versions(InRepository):
    """The digests of one package."""

    collection = "artifactregistry.projects.locations.repositories.packages.versions"
    owns_records = False

    def shown(self, call: Call) -> Iterator[Body]:
        """The basic view has neither tags nor metadata. Source: `view` in the reference of versions.list."""
        folder, images = self.of_package(call)
        for body in (each.body for each in images):
            name = f"{folder}/versions/{body['name'].rpartition('@')[2]}"
            basic = {"name": name, "createTime": body["uploadTime"], "updateTime": body["updateTime"]}
            tags = [{"name": f"{folder}/tags/{tag}", "version": name} for tag in body["tags"]]
            metadata = {key: body[key] for key in ("imageSizeBytes", "mediaType", "name")}
            yield basic | ({"relatedTags": tags, "metadata": metadata} if call.get("view") == "FULL" else {})

    @on("list", "artifactregistry.versions.list")
    def listed(self, call: Call) -> Body:
        return self.paged(call, "versions", list(self.shown(call)))

    @on("get", "artifactregistry.versions.get")
    def get(self, call: Call) -> Body:
        return self.one(call, self.shown(call))


class Tags(InRepository):
    """The tags of one package."""

    collection = "artifactregistry.projects.locations.repositories.packages.tags"
    owns_records = False

    def shown(self, call: Call) -> list[Body]:
        folder, images = self.of_package(call)
        return [
            {"name": f"{folder}/tags/{tag}", "version": f"{folder}/versions/{each.name.rpartition('@')[2]}"}
            for each in images
            for tag in each.body["tags"]
        ]

    @on("list", "artifactregistry.tags.list")
    def listed(self, call: Call) -> Body:
        return self.paged(call, "tags", self.shown(call))

    @on("get", "artifactregistry.tags.get")
    def get(self, call: Call) -> Body:
        return self.one(call, self.shown(call))


KINDS = (DockerImages, Packages, Versions, Tags)
