"""Images and image families.

Sources: https://cloud.google.com/compute/docs/reference/rest/v1/images,
https://cloud.google.com/compute/docs/images/image-families-best-practices,
https://cloud.google.com/compute/docs/images/deprecate-custom
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body, Call, Kind, on, users_of
from tests.emulator.services.compute.base import ComputeKind, mutation
from tests.emulator.services.compute.links import absolute, referenced
from tests.emulator.services.compute.public_images import publish
from tests.emulator.world import Project, Record, relative

SOURCES = ("sourceDisk", "sourceImage", "sourceSnapshot")
INHERITED = ("architecture", "guestOsFeatures", "licenses", "licenseCodes")
"""What an image or a disk takes over from what it is made of, where nothing else is asked for."""


class Images(ComputeKind):
    """Images of a project and of the public ones."""

    collection = "compute.images"
    singular = "image"
    labelled = True

    def project_of(self, call: Call) -> Project:
        publish(self.cloud, str(call.get("project", "")))
        return super().project_of(call)

    def prepare(self, call: Call, record: Record) -> None:
        """Source of the words: ansible-collections/google.cloud#378."""
        body, project = record.body, self.project_of(call).id
        for name in ("rawDisk", "imageEncryptionKey", "enableConfidentialCompute", "params"):
            if body.get(name):
                raise errors.not_emulated(f"an image with {name}")
        given = [name for name in SOURCES if body.get(name)]
        if len(given) != 1:
            message = "Invalid resource usage: 'Must specify exactly one source for an image.'."
            raise errors.invalid(message, reason="invalidResourceUsage")
        source = source_of(self.cloud, body, given[0], project, f"resource.{given[0]}")
        if given[0] == "sourceDisk" and not call.get("forceCreate"):
            self.check_idle(source)
        body.setdefault("diskSizeGb", source.body.get("sizeGb") or source.body["diskSizeGb"])
        body |= {"sourceType": "RAW", "status": "PENDING", "archiveSizeBytes": "0"}
        body.setdefault("storageLocations", ["us"])

    def check_idle(self, disk: Record) -> None:
        """A disk in use needs forceCreate.

        Source: https://cloud.google.com/compute/docs/images/create-custom#prepare_instance_for_image
        """
        users = [each for each in users_of(self.cloud, disk.name) if "/instances/" in each]
        if users:
            user = self.cloud.world.find(users[0])
            if user is None or user.body.get("status") != "TERMINATED":
                names = disk.name.removeprefix("compute/"), users[0].removeprefix("compute/")
                message = "The disk resource '{}' is already being used by '{}'".format(*names)
                raise errors.invalid(message, reason="resourceInUseByAnotherResource")

    def finished(self, record: Record) -> None:
        record.body |= {"status": "READY", "archiveSizeBytes": "1000000000"}

    @on("getFromFamily", "compute.images.getFromFamily")
    def get_from_family(self, call: Call) -> Body:
        """Source of the words: googlecodelabs/feedback#573."""
        project, family = self.project_of(call).id, call["family"]
        found = newest(self.cloud, project, family)
        if found is None:
            raise errors.not_found(f"The resource 'projects/{project}/global/images/family/{family}' was not found")
        return found.body

    @mutation("deprecate", "compute.images.deprecate")
    def deprecate(self, call: Call) -> Body:
        """ACTIVE, or a body without a state, takes the mark away."""
        record = self.existing(call)
        status = copy.deepcopy(call.body)
        if "replacement" in status:
            project = self.project_of(call).id
            status["replacement"] = absolute(status["replacement"], project, "deprecationStatus.replacement")

        def effect() -> None:
            record.body.pop("deprecated", None)
            if status.get("state", "ACTIVE") != "ACTIVE":
                record.body["deprecated"] = status

        return self.begin(call, "deprecate", record, effect)

    def patched(self, before: Record, after: Record) -> None:
        """Source: "Only the following fields can be modified: family, description, deprecation status"."""
        changed = {key for key in after.body if after.body[key] != before.body.get(key)}
        if changed - {"family", "description", "deprecated"}:
            raise errors.invalid(f"Invalid value for field 'resource.{min(changed)}'. The field cannot be modified.")


class ImageFamilyViews(Kind):
    """The newest image of a family as a zone sees it; here all zones see the same. gcloud asks so."""

    apis = ("compute.v1",)
    collection = "compute.imageFamilyViews"

    def project_of(self, call: Call) -> Project:
        publish(self.cloud, str(call.get("project", "")))
        return super().project_of(call)

    @on("get", "compute.images.getFromFamily")
    def get(self, call: Call) -> Body:
        """Source of the words: tigera/docs#782."""
        project, family = self.project_of(call).id, call["family"]
        found = newest(self.cloud, project, family)
        if found is None:
            full = f"projects/{project}/zones/{call['zone']}/imageFamilyViews/{family}"
            raise errors.not_found(f"The resource '{full}' was not found")
        return {"image": found.body}


def newest(cloud: Cloud, project: str, family: str) -> Record | None:
    """The latest image of a family that is ready and not deprecated."""
    usable = _usable(cloud, project, family)
    return max(usable, key=lambda each: (each.body["creationTimestamp"], int(each.body["id"])), default=None)


def _usable(cloud: Cloud, project: str, family: str) -> Iterator[Record]:
    for record in cloud.world.under(f"compute/projects/{project}/global/images/", "compute.images"):
        body = record.body
        if (body.get("family"), body["status"]) == (family, "READY") and "deprecated" not in body:
            yield record


FAMILY = re.compile(r"projects/([^/]+)/(?:global/images/family|zones/[^/]+/imageFamilyViews)/([^/]+)")
"""Both ways to name a family; gcloud sends the second, with `-` for the zone."""


def image(cloud: Cloud, link: str, project: str, field: str) -> Record:
    """The image behind a link by name or by family.

    Source of the words: docker-archive/infrakit.gcp#1, spinnaker/spinnaker.io#247, googlecodelabs/feedback#463.
    """
    path = relative(absolute(link, project, field))
    owner = path.split("/")[1]
    publish(cloud, owner)
    if cloud.world.project(owner) is None:
        raise errors.invalid(f"Invalid value for field '{field}': '{link}'. The project '{owner}' was not found.")
    family = FAMILY.fullmatch(path)
    if family is None:
        return _not_retired(referenced(cloud, link, project, field, "image"), field, link)
    found = newest(cloud, owner, family[2])
    if found is None:
        raise errors.not_found(f"The resource '{path}' was not found")
    return found


def _not_retired(record: Record, field: str, link: str) -> Record:
    """A deprecated image can still be used, an obsolete one not. No source for the words.

    Source: https://cloud.google.com/compute/docs/images/deprecate-custom
    """
    state = record.body.get("deprecated", {}).get("state", "ACTIVE")
    if state in ("OBSOLETE", "DELETED"):
        raise errors.invalid(f"Invalid value for field '{field}': '{link}'. The image is {state.lower()}.")
    return record


def source_of(cloud: Cloud, body: Body, key: str, project: str, field: str) -> Record:
    """What a new disk or image is made of, under `key`; its link, id and what is inherited go into the body."""
    what = key.removeprefix("source").lower()
    find = image(cloud, body[key], project, field) if what == "image" else None
    found = find or referenced(cloud, body[key], project, field, what)
    body |= {key: found.body["selfLink"], f"{key}Id": found.body["id"]}
    for name in INHERITED:
        if name in found.body:
            body.setdefault(name, copy.deepcopy(found.body[name]))
    return found


KINDS = (Images, ImageFamilyViews)
