"""The APIs of Google's that a stack needs, as one resource: enabled before anything else, and left enabled.

Source: https://cloud.google.com/service-usage/docs/reference/rest/v1/services/batchEnable
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from google.api_core import exceptions

from blocks.errors import Blocked
from blocks.gcp.google import Google, reason
from blocks.resource import Attributes, Change, Resource

READS = {
    "artifactregistry": "v1/projects/{project}/locations",
    "cloudbuild": "v1/projects/{project}/builds",
    "cloudresourcemanager": "v3/projects/{project}",
    "compute": "compute/v1/projects/{project}",
    "iam": "v1/projects/{project}/serviceAccounts",
    "run": "v1/projects/{project}/authorizeddomains",
    "secretmanager": "v1/projects/{project}/secrets",
    "servicenetworking": "v1/services/servicenetworking.googleapis.com/connections",
    "sqladmin": "v1/projects/{project}/instances",
    "storage": "storage/v1/b?project={project}",
}
"""What can be read by each, whatever is there: so it is seen whether it answers."""
NEEDED = tuple(READS)
NO_BILLING = "UREQ_PROJECT_BILLING_NOT_FOUND"
SECONDS = 300.0
"""Time Google gets to enable them: half a minute, as a rule."""
KNOWN_SECONDS = 600.0
"""Time until a fresh one answers everywhere: a few minutes, says Google where it refuses."""


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
        try:
            begun = self._google.rest(doing, "POST", "serviceusage", f"{self._project}/services:batchEnable", body)
        except exceptions.BadRequest as error:
            if reason(error) != NO_BILLING:
                raise
            hint = f"https://console.cloud.google.com/billing/linkedaccount?project={self._google.project}"
            raise Blocked(f"nobody pays for {self._google.project}: it has no billing account", hint) from error
        self._google.finish(doing, "serviceusage", "v1", begun, SECONDS)
        for each in change.fields:
            answers = partial(self._answers, each)
            self._google.wait(answers, f"{each} answering", seconds=KNOWN_SECONDS, every=5.0)

    def delete(self) -> None:
        """Leave them: what else is in the project may need them."""

    def _answers(self, api: str) -> bool:
        """Whether it does, were it with a refusal: it is refused otherwise while it is not known to be enabled.

        Raises:
            NotReady: it is not.
        """
        path = READS[api].format(project=self._google.project)
        with suppress(Blocked, exceptions.ClientError):
            self._google.rest(f"asking {api}", "GET", api, path)
        return True


def _short(name: str) -> str:
    return name.rpartition("/")[2].removesuffix(".googleapis.com")
