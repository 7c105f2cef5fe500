"""What the kinds of IAM share: how an account is named, and the words of a refusal.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts
"""

from __future__ import annotations

from datetime import timedelta

from tests.emulator import accounts, errors
from tests.emulator.kind import Call, Kind
from tests.emulator.world import Project, Record


class IamKind(Kind):
    """A kind of iam.v1."""

    apis = ("iam.v1",)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        return denied(permission)


class OfAccount(IamKind):
    """Methods about one account, `projects/{id or -}/serviceAccounts/{email or unique id}`, or what is under it."""

    def named(self, call: Call) -> list[str]:
        """The parts of the name a call is about."""
        return str(call.get("name") or call["resource"]).split("/")

    def account(self, call: Call) -> Record | None:
        """The account of a call, None where there is no such."""
        parts = self.named(call)
        if len(parts) < 4:
            return None
        found = accounts.account(self.cloud.world, parts[3])
        here = parts[1] == "-" or (found and found.body["projectId"] == call.project(parts[1]).id)
        return found if here else None

    def existing(self, call: Call) -> Record:
        """The account of a call. Source of the words: logs of gcloud, "Unknown service account"."""
        found = self.account(call)
        if found is None:
            raise self._forbidden_yet(call) or errors.not_found("Unknown service account")
        return found

    def _forbidden_yet(self, call: Call) -> errors.ApiError | None:
        """A new account is 404 at first and then 403, as long as it is not known everywhere.

        Sources: hashicorp/terraform-provider-google#18087 (404), #15042 (403).
        """
        world, parts = self.cloud.world, self.named(call)
        new = accounts.of_email(world, parts[3]) if len(parts) > 3 else None
        left = (new.hidden["known"] - world.clock.now()) if new and "known" in new.hidden else timedelta(0)
        half = (world.settling.until("settle.account") - world.clock.now()) / 2
        answering = self.cloud.handler(call.method) if call.method else None
        return denied(answering.permission if answering else "") if timedelta(0) < left <= half else None

    def guards(self, call: Call) -> tuple[str, ...]:
        """The account's policy, then its project's; an account of no project that we know is as if forbidden.

        Sources: the reference's note on the wildcard `-` ("an HTTP 403 Forbidden error instead of a 404 Not Found", for
        fake@example.com); logs of gcloud, which asks by `-` and is told NOT_FOUND of accounts of one's own project.
        """
        parts = self.named(call)
        found = self.account(call)
        if found is not None:
            return found.body["name"], f"projects/{found.body['projectId']}"
        project = f"projects/{self._home(call, parts).id}"
        return ("/".join([project, *parts[2:4]]), project) if len(parts) > 3 else (project,)

    def _home(self, call: Call, parts: list[str]) -> Project:
        """The project of an account that there is not: the one named, or the one its email says."""
        if parts[1] != "-":
            return call.project(parts[1])
        home = accounts.home(self.cloud.world, parts[3]) if len(parts) > 3 else None
        answering = self.cloud.handler(call.method) if call.method else None
        if home is None:
            raise denied(answering.permission if answering else "")
        return home


def denied(permission: str) -> errors.ApiError:
    """403 in IAM's words. Source: everycure-org/matrix#75, google-github-actions/auth#340, which print it whole."""
    return errors.ApiError(
        403,
        f"Permission '{permission}' denied on resource (or it may not exist).",
        details=[errors.error_info("IAM_PERMISSION_DENIED", "iam.googleapis.com", permission=permission)],
    )
