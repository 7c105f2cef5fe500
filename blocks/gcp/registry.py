"""The stack's registry of container images: the proxy's, and those of its workers' jobs.

Source: https://cloud.google.com/artifact-registry/docs/reference/rest/v1/projects.locations.repositories,
https://cloud.google.com/artifact-registry/docs/repositories/cleanup-policy (what one policy keeps no other deletes).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from google.api_core import exceptions

from blocks.errors import Blocked
from blocks.gcp.google import Google
from blocks.gcp.marks import LABEL
from blocks.gcp.pruned import pruned
from blocks.resource import Attributes, Change, Resource

KEPT_IMAGES = 10
"""Newest images of each name that stay, whatever their age."""
UNTAGGED_DAYS = 30
"""Days after which an image goes whose tag another one was given."""
CLEANUP: dict[str, Any] = {
    "newest": {"id": "newest", "action": "KEEP", "mostRecentVersions": {"keepCount": KEPT_IMAGES}},
    "untagged": {
        "id": "untagged",
        "action": "DELETE",
        "condition": {"tagState": "UNTAGGED", "olderThan": f"{UNTAGGED_DAYS * 86400}s"},
    },
}
SECONDS = 300.0
"""Time Google gets to make or to remove a repository: ten seconds, as a rule."""
SERVICE = "artifactregistry"


class Registry(Resource):
    """A repository of container images in the stack's region."""

    name = "image registry"

    def __init__(self, google: Google, stack: str, region: str) -> None:
        self._google, self._stack = google, stack
        self.host = f"{region}-docker.pkg.dev"
        self.address = f"{self.host}/{google.project}/{stack}"
        """What the names of its images begin with."""
        self._parent = f"v1/projects/{google.project}/locations/{region}"
        self._path = f"{self._parent}/repositories/{stack}"

    def find(self) -> Attributes | None:
        try:
            found = self._call("reading", "GET", self._path)
        except exceptions.NotFound:
            return None
        actual: Attributes = pruned(found, self.want())
        return actual

    def want(self) -> Attributes:
        return {"format": "DOCKER", "labels": {LABEL: self._stack}, "cleanupPolicies": CLEANUP}

    def require_ours(self, actual: Attributes) -> None:
        if actual["labels"] != {LABEL: self._stack}:
            what = f"the repository {self._stack} of Artifact Registry is there, and not this stack's"
            raise Blocked(what, "another stack name gives another repository")

    def check(self, actual: Attributes) -> None:
        if actual["format"] != "DOCKER":
            what = f"the repository {self._stack} of Artifact Registry has the format {actual['format']}, not DOCKER"
            raise Blocked(what, "remove it by hand")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is None:
            with suppress(exceptions.Conflict):  # the answer was lost: it is there, or about to be
                begun = self._call("making", "POST", f"{self._parent}/repositories", repositoryId=self._stack)
                self._google.finish(self._doing("making"), SERVICE, "v1", begun, SECONDS)
            self._google.wait(self.find, self._doing("making"), seconds=SECONDS)
        else:
            self._call("changing", "PATCH", self._path, updateMask=",".join(change.fields))

    def delete(self) -> None:
        """Remove it with all images."""
        with suppress(exceptions.NotFound):
            begun = self._call("removing", "DELETE", self._path)
            self._google.finish(self._doing("removing"), SERVICE, "v1", begun, SECONDS)

    def digest(self, image: str, tag: str) -> str | None:
        """`sha256:…` of the image that has this tag; None where none has."""
        try:
            found = self._call("reading", "GET", f"{self._path}/packages/{image}/tags/{tag}")
        except exceptions.NotFound:
            return None
        return str(found["version"]).rpartition("/")[2]

    def _call(self, doing: str, verb: str, path: str, **params: str) -> Any:
        body = self.want() if verb in ("POST", "PATCH") else None
        return self._google.rest(self._doing(doing), verb, SERVICE, path, body, **params)

    def _doing(self, doing: str) -> str:
        return f"{doing} the repository {self._stack} of Artifact Registry"
