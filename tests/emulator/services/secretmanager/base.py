"""What secrets and versions share: names, guards, refusals, time running out, pages.

Source: https://cloud.google.com/secret-manager/docs/reference/rest
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.emulator import access, errors
from tests.emulator.kind import Body, Call, Kind
from tests.emulator.pages import page
from tests.emulator.services.secretmanager.filters import keeps
from tests.emulator.world import Record

MOST = 25000
"""Results on a page. Source: `pageSize` in …/projects.secrets/list"""


LONGEST = timedelta(days=365_000)


class SecretKind(Kind):
    """A kind whose methods are named by `name`, `parent` or `resource`, which is a secret, a version or a project."""

    apis = ("secretmanager.v1",)

    def guards(self, call: Call) -> tuple[str, ...]:
        """The secret's policy, where a secret is named, then the project's."""
        parts, project = call.named.split("/"), f"projects/{self.project_of(call).id}"
        return (f"{project}/secrets/{parts[3]}", project) if len(parts) > 3 else (project,)

    def refused(self, call: Call, permission: str, resource: str) -> errors.ApiError:
        """Source: googleapis/python-secret-manager#389"""
        if call.caller == access.ANONYMOUS:
            return errors.unauthenticated()
        name = call.named
        info = errors.error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=permission, resource=name)
        return errors.ApiError(
            403, f"Permission '{permission}' denied for resource '{name}' (or it may not exist).", details=[info]
        )

    def secret(self, call: Call, missing: str = "not found.") -> Record:
        """The secret that a call names, by itself or by a version of it."""
        self.settle()
        project, secret = self.project_of(call), call.named.split("/")[3]
        record = self.cloud.world.find(f"secretmanager/projects/{project.id}/secrets/{secret}")
        if record is None:
            raise errors.not_found(f"Secret [projects/{project.number}/secrets/{secret}] {missing}")
        return record

    def settle(self) -> None:
        """Carry out what time has brought: secrets expire, versions are destroyed as scheduled.

        Source: https://cloud.google.com/secret-manager/docs/secret-expiration,
        https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions
        """
        now = self.cloud.world.clock.now()
        for record in self.cloud.world.under("secretmanager/"):
            if "expireTime" in record.body and moment(record.body["expireTime"]) <= now:
                self.remove(record)
            scheduled = record.body.get("scheduledDestroyTime")
            if scheduled and moment(scheduled) <= now:
                self.destroy(record, scheduled)

    def remove(self, secret: Record) -> None:
        """A secret with all its versions and its policy."""
        for gone in [secret, *self.cloud.world.under(f"{secret.name}/")]:
            self.cloud.world.drop(gone.name)
        self.cloud.access.drop_policy(secret.name.removeprefix("secretmanager/"))

    def destroy(self, version: Record, at: str) -> None:
        """Make the payload unreadable for good."""
        version.hidden.pop("data", None)
        version.body.pop("scheduledDestroyTime", None)
        version.body |= {"state": "DESTROYED", "destroyTime": at, "etag": self.etag()}

    def etag(self) -> str:
        """A text in quotes, as etags here look."""
        return f'"{self.cloud.world.number():014x}"'

    def check_etag(self, given: str, record: Record) -> None:
        """Source: https://cloud.google.com/secret-manager/docs/etags (FAILED_PRECONDITION; no source for the words)"""
        if given and given != record.body["etag"]:
            raise errors.failed_precondition(
                f"The etag provided, {given}, does not match the current etag, {record.body['etag']}."
            )

    def page(self, records: list[Record], call: Call, key: str) -> Body:
        """The newest first; `totalSize` is 0 where a filter is set."""
        text = call.get("filter", "")
        keeps(text, {})  # a filter that is none is refused even where nothing is there to be filtered
        found = [record.body for record in reversed(records) if keeps(text, record.body)]
        return page(key, found, call, MOST, MOST) | ({} if text else {"totalSize": len(found)})


def moment(text: str) -> datetime:
    """A timestamp as the API takes it: `Z` or an offset, any number of digits behind the second; 400 for none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise errors.invalid(f"Invalid timestamp: {text}") from None  # no source for the words


def duration(text: str) -> timedelta:
    """`86400s` or `1.5s`; 400 for more than a thousand years (no source for a limit)."""
    seconds = float(text.removesuffix("s"))
    if abs(seconds) > LONGEST.total_seconds():
        raise errors.invalid(f"Invalid duration: {text}")
    return timedelta(seconds=seconds)
