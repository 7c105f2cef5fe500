"""The APIs of Google's that a stack needs, as one resource: enabled before anything else, and left enabled.

Source: https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchEnable
"""

from __future__ import annotations

from blocks.gcp.google import Google
from blocks.resource import Attributes, Change, Resource

NEEDED = (
    "artifactregistry",
    "cloudbuild",
    "cloudresourcemanager",
    "compute",
    "iam",
    "run",
    "secretmanager",
    "servicenetworking",
    "sqladmin",
    "storage",
)
SECONDS = 300.0
"""Time Google gets to enable them: half a minute, as a rule."""


class Apis(Resource):
    """Those that are needed, and only those. Somebody else may need them too: they are not disabled again."""

    name = "APIs of Google's"

    def __init__(self, google: Google, needed: tuple[str, ...] = NEEDED) -> None:
        self._google, self._needed = google, needed
        self._project = f"v1/projects/{google.project}"

    def find(self) -> Attributes | None:
        names = [f"{self._project.removeprefix('v1/')}/services/{each}.googleapis.com" for each in self._needed]
        answer = self._google.rest(
            "reading which APIs are enabled", "GET", "serviceusage", f"{self._project}/services:batchGet", names=names
        )
        return {_short(each["name"]): each["state"] == "ENABLED" for each in answer["services"]}

    def want(self) -> Attributes:
        return dict.fromkeys(self._needed, True)

    def apply(self, actual: Attributes | None, change: Change) -> None:
        doing = f"enabling {', '.join(change.fields)}"
        body = {"serviceIds": [f"{each}.googleapis.com" for each in change.fields]}
        begun = self._google.rest(doing, "POST", "serviceusage", f"{self._project}/services:batchEnable", body)
        self._google.finish(doing, "serviceusage", "v1", begun, SECONDS)

    def delete(self) -> None:
        """Leave them: what else is in the project may need them."""


def _short(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".googleapis.com")
