"""The stack's bucket, as a resource: made first, as the ledger lies in it, and removed last.

Source: https://cloud.google.com/storage/docs/best-practices, CIS Google Cloud 5.1 and 5.2.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from google.api_core.exceptions import Conflict as Taken
from google.api_core.exceptions import NotFound
from google.cloud.storage import Bucket
from google.cloud.storage.constants import PUBLIC_ACCESS_PREVENTION_ENFORCED

from blocks.agent.inbox import LOGS, STATUS
from blocks.errors import Blocked
from blocks.gcp.google import Google, explained
from blocks.gcp.marks import LABEL
from blocks.resource import Attributes, Change, Resource

KEPT_DAYS = 30
"""Days in which what was overwritten or removed can be had back, by its generation."""
ABANDONED_DAYS = 7
"""Days after which what was uploaded in part is dropped."""
OFTEN = [STATUS, "ledger/lease"]
"""Written once a minute and more: what these said a day ago is of no use."""
LIFECYCLE: list[dict[str, Any]] = [
    {"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": KEPT_DAYS}},
    {"action": {"type": "Delete"}, "condition": {"daysSinceNoncurrentTime": 1, "matchesPrefix": OFTEN}},
    {"action": {"type": "Delete"}, "condition": {"age": KEPT_DAYS, "matchesPrefix": [LOGS]}},
    {"action": {"type": "AbortIncompleteMultipartUpload"}, "condition": {"age": ABANDONED_DAYS}},
]


class BucketResource(Resource):
    """A bucket in the stack's region, closed to the public, whose objects' former versions are kept for a while."""

    name = "bucket"

    def __init__(self, google: Google, stack: str, bucket: str, region: str) -> None:
        self._google, self._stack, self._bucket, self._region = google, stack, bucket, region

    def find(self) -> Attributes | None:
        try:
            with self._explained("reading"):
                found = self._google.storage.get_bucket(self._bucket)
        except NotFound:
            return None
        access = found.iam_configuration
        return {
            "stack": found.labels.get(LABEL, ""),
            "region": found.location.lower(),
            "uniform access": access.uniform_bucket_level_access_enabled,
            "public access": access.public_access_prevention,
            "versioning": found.versioning_enabled,
            "lifecycle": [dict(each) for each in found.lifecycle_rules],
        }

    def want(self) -> Attributes:
        return {
            "stack": self._stack,
            "region": self._region,
            "uniform access": True,
            "public access": PUBLIC_ACCESS_PREVENTION_ENFORCED,
            "versioning": True,
            "lifecycle": LIFECYCLE,
        }

    def require_ours(self, actual: Attributes) -> None:
        """A bucket's name may be taken by anybody in the world: ours has our mark, and is in our project."""
        if actual["stack"] != self._stack:
            raise Blocked(self._is_anothers(f"its label {LABEL} is {actual['stack']!r}"), self._hint())
        with self._explained("listing"):
            own = [each.name for each in self._google.storage.list_buckets(prefix=self._bucket)]
        if self._bucket not in own:
            raise Blocked(self._is_anothers(f"it is not in the project {self._google.project}"), self._hint())

    def check(self, actual: Attributes) -> None:
        if actual["region"] != self._region:
            what = f"the bucket {self._bucket} is in {actual['region']}, not in {self._region}, and cannot be moved"
            raise Blocked(what, f"write region = {actual['region']!r}")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        wanted = self._as_wanted()
        with self._explained("making" if actual is None else "changing"):
            try:
                wanted.create(location=self._region) if actual is None else wanted.patch()
            except Taken as error:
                raise Blocked(self._is_anothers("it is not to be seen by this account"), self._hint()) from error

    def delete(self) -> None:
        with self._explained("removing"):
            bucket = self._google.storage.bucket(self._bucket)
            for each in self._google.storage.list_blobs(bucket, versions=True):
                each.delete()  # by its generation, as a list of versions has it
            bucket.delete()

    def _as_wanted(self) -> Bucket:
        bucket = self._google.storage.bucket(self._bucket)
        bucket.labels = {LABEL: self._stack}
        bucket.iam_configuration.uniform_bucket_level_access_enabled = True
        bucket.iam_configuration.public_access_prevention = PUBLIC_ACCESS_PREVENTION_ENFORCED
        bucket.versioning_enabled = True
        bucket.lifecycle_rules = LIFECYCLE
        return bucket

    def _is_anothers(self, why: str) -> str:
        return f"there is a bucket {self._bucket}, and it is not this stack's: {why}"

    def _hint(self) -> str:
        return "another stack name gives another bucket"

    def _explained(self, doing: str) -> AbstractContextManager[None]:
        return explained(f"{doing} the bucket {self._bucket}")
