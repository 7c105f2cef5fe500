"""What all kinds of Cloud Storage share: names, guards, refusals, links, marks of a version.

Source: https://cloud.google.com/storage/docs/json_api/v1 and, for the texts of errors,
https://cloud.google.com/storage/docs/json_api/v1/status-codes and the public issues named beside them.
"""

from __future__ import annotations

import base64
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

from tests.emulator import access, errors
from tests.emulator.kind import Body, Call, Kind
from tests.emulator.services.storage.lifecycle import expired
from tests.emulator.services.storage.marks import lists_name, policy_name
from tests.emulator.world import Project, Record

GOOGLE = "https://www.googleapis.com"
"""What a `selfLink` begins with, whatever address was called."""


class StorageKind(Kind):
    """A kind whose methods name their bucket by `bucket`, `destinationBucket` or `sourceBucket`."""

    apis = ("storage.v1",)
    owns_records = False

    def guards(self, call: Call) -> tuple[str, ...]:
        """The bucket's policy, then its project's; without uniform access, the default list of its objects between."""
        return self.guards_of(self.bucket(call))

    def guards_of(self, bucket: Record) -> tuple[str, ...]:
        name, project = policy_name(bucket.body["name"]), f"projects/{bucket.hidden['project']}"
        return (name, project) if is_uniform(bucket.body) else (name, lists_name(bucket.body["name"]), project)

    def project_of(self, call: Call) -> Project:
        if "project" in call.parameters:
            return super().project_of(call)
        return call.project(str(self.bucket(call).hidden["project"]))

    def bucket(self, call: Call, name: str = "") -> Record:
        """The bucket called, after its lifecycle rules have done what is due.

        Source of the words: GoogleCloudPlatform/gcsfuse#733.
        """
        name = name or next(
            call[key] for key in ("bucket", "destinationBucket", "sourceBucket") if key in call.parameters
        )
        record = self.cloud.world.find(f"storage/b/{name}")
        if record is None:
            raise errors.not_found("The specified bucket does not exist.")
        expired(self.cloud.world, record)
        return record

    def refused(self, call: Call, permission: str, resource: str) -> errors.ApiError:
        """Source: zetaalphavector/InPars#13, apache/pinot#11655, salesforce/HIVE#15 (without a caller)."""
        anonymous = call.caller == access.ANONYMOUS
        who = "Anonymous caller" if anonymous else call.email
        place = "project" if "/buckets/" not in resource else f"Storage {_about(permission)}"
        message = (
            f"{who} does not have {permission} access to the Google Cloud {place}. "
            f"Permission '{permission}' denied on resource (or it may not exist)."
        )
        if anonymous:
            return errors.ApiError(401, message, reason="required", headers=errors.unauthenticated().headers)
        return errors.ApiError(403, message, reason="forbidden")

    def require(self, call: Call, permission: str, bucket: Record) -> None:
        """A permission besides the one that the method asks for."""
        guards = self.guards_of(bucket)
        if not self.cloud.access.may(call.caller, permission, guards):
            raise self.refused(call, permission, guards[0])


class PlainError(Exception):
    """A 400 of the servers that take content: words alone, without JSON.

    Sources: Byron/google-apis-rs#291 ("not JSON"), talkiq/gcloud-aio#860, firebase/firebase-tools#10325.
    """

    @property
    def answer(self) -> Response:
        return in_words(str(self), 400)


def in_words(text: str, code: int) -> Response:
    """An error of content, which is not JSON. Source: firebase/firebase-tools#3647 (a download that is not there)."""
    return HTMLResponse(text, code)


def _about(permission: str) -> str:
    """Listing is of a bucket, all else of `storage.objects.*` of an object."""
    whole = permission.startswith("storage.buckets.") or permission == "storage.objects.list"
    return "bucket" if whole else "object"


def is_uniform(bucket: Body) -> bool:
    return bool(bucket["iamConfiguration"]["uniformBucketLevelAccess"]["enabled"])


def refuse_list(bucket: Body) -> errors.ApiError:
    """What a caller is told that wants an access control list.

    Source: googleapis/nodejs-storage#1230, cloudyr/googleCloudStorageR#121
    """
    if not is_uniform(bucket):
        return errors.not_emulated("an access control list")
    return errors.invalid(
        "Cannot insert legacy ACL for an object when uniform bucket-level access is enabled. Read more at "
        "https://cloud.google.com/storage/docs/uniform-bucket-level-access"
    )


def shown_object(record: Record, call: Call) -> Body:
    """The body with its links, `mediaLink` as the caller can follow it."""
    body = record.body
    path = f"/b/{quote(body['bucket'], safe='')}/o/{quote(body['name'], safe='')}"
    media = f"{call.base}/download/storage/v1{path}?generation={body['generation']}&alt=media"
    return {**body, "selfLink": f"{GOOGLE}/storage/v1{path}", "mediaLink": media}


def page(names: list[str], call: Call, most: int = 1000) -> tuple[list[str], dict[str, str]]:
    """The names asked for, in order, and the token where there are more; a token holds the last name given.

    Source: `maxResults` (1,000 at most) and `pageToken` in https://cloud.google.com/storage/docs/json_api/v1/objects/list
    """
    size = call.get("maxResults") or most
    after = _token_name(call.get("pageToken", ""))
    rest = [name for name in sorted(names) if name > after]
    given = rest[: min(size, most)]
    token = base64.urlsafe_b64encode(given[-1].encode()).decode() if len(rest) > len(given) else ""
    return given, {"nextPageToken": token} if token else {}


def _token_name(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise errors.invalid("Invalid page token.") from None  # no source for the words
