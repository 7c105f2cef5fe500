"""Objects of Cloud Storage as an export or an import meets them: by the instance's own service account."""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Call
from tests.emulator.services.sqladmin.answers import refused
from tests.emulator.services.storage.generations import ObjectKind
from tests.emulator.services.storage.marks import policy_name
from tests.emulator.services.storage.preconditions import Preconditions
from tests.emulator.world import Record


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and object of `gs://bucket/object`. No source for the words."""
    found = re.fullmatch(r"gs://([^/]+)/(.+)", uri)
    if found is None:
        raise refused(f"Invalid Cloud Storage URI: {uri}")
    return found[1], found[2]


def check_allowed(cloud: Cloud, account: str, bucket: str, *permissions: str) -> Record:
    """The bucket; 403 unless the account has these permissions on it, and for one that is not there.

    Sources: admin-api-error-messages, ERROR_GCS_BUCKET_PERMISSION_DENIAL; the words as `gcloud sql export` prints them.
    """
    record = cloud.world.find(f"storage/b/{bucket}")
    names = (policy_name(bucket), f"projects/{record.hidden['project']}") if record else ()
    allowed = (cloud.access.may(f"serviceAccount:{account}", permission, names) for permission in permissions)
    if record is None or not all(allowed):
        message = "The service account does not have the required permissions for the bucket."
        raise errors.ApiError(403, message, reason="notAuthorized")
    return record


def content(cloud: Cloud, bucket: Record, name: str) -> bytes | None:
    """What an object holds; None where there is none."""
    record = cloud.world.find(f"{bucket.name}/o/{name}")
    return None if record is None else bytes(record.hidden["content"])


def put(call: Call, bucket: Record, name: str, data: bytes) -> None:
    """A new object, as an upload makes it."""
    settings = {"name": name, "contentType": "application/octet-stream"}
    ObjectKind(call.cloud).put(call, bucket, settings, data, Preconditions())
