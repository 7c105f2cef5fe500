"""What all kinds of Cloud Run share: names, versions, pages, refusals, IAM.

Source: https://cloud.google.com/run/docs/reference/rest and, for the words, the issues named beside them.
"""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.located import LocatedKind
from tests.emulator.operations import Operation, long_running_shape
from tests.emulator.organization import NOT_PERMITTED
from tests.emulator.pages import page
from tests.emulator.policy_kind import PolicyKind
from tests.emulator.world import Project, Record

SERVICES = "run.projects.locations.services"
REVISIONS = "run.projects.locations.services.revisions"
EXECUTIONS = "run.projects.locations.jobs.executions"
TYPES = "type.googleapis.com/google.cloud.run.v2."
DNS_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
MOST = 100
"""Items on a page. No source: the reference says only that the server decides."""


@dataclass(frozen=True)
class Violation:
    """What is wrong with a service: where, as a path of the v2 form, and in Google's words.

    Some are told of the request as a whole ("Violation in CreateServiceRequest.service.…", in the field's proto name),
    the others of the template; Google's two validators speak differently.
    """

    path: str
    message: str
    of_request: bool = False

    def told(self, request: str, knative: bool) -> tuple[str, str]:
        """(field, description), as the API that was called tells it."""
        if knative:
            return re.sub(r"^template\.", "spec.template.spec.", self.path), self.message
        if self.of_request:
            snake = re.sub(r"(?<=[a-z])([A-Z])", lambda found: "_" + found[1].lower(), self.path)
            return f"Violation in {request}.{snake}", self.message
        return self.path, self.message


def refuse(found: Sequence[Violation], request: str, knative: bool = False) -> None:
    """400 with all violations, if there are any.

    Source of the shape, "<field>: <description>" and a BadRequest: GoogleCloudPlatform/magic-modules#10173 (v2),
    terraform-google-modules/terraform-docs-samples#171 (v1).
    """
    if found:
        told = [each.told(request, knative) for each in found]
        message = "\n".join(f"{field}: {text}" if field else text for field, text in told)
        raise errors.ApiError(400, message, reason="badRequest", details=[errors.bad_request(told)])


class RunKind(LocatedKind):
    """A kind named `projects/P/locations/L/…`."""

    apis: ClassVar[tuple[str, ...]] = ("run.v2",)
    word = "SERVICE"
    """What Google calls the kind where one is missing."""

    def project_of(self, call: Call) -> Project:
        """The one behind `projects/` or, in v1, `namespaces/`."""
        return call.project(call.named.split("/")[1])

    def guards(self, call: Call) -> tuple[str, ...]:
        """The service, if the call names one, then the project. Source: https://cloud.google.com/run/docs/reference/iam"""
        project = f"projects/{self.project_of(call).id}"
        parts = self.path(call).split("/")
        return ("/".join(parts[:6]), project) if len(parts) > 5 else (project,)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """Source: google-github-actions/deploy-cloudrun#182."""
        return errors.ApiError(
            403, f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist)."
        )

    def existing(self, call: Call) -> Record:
        return self.record(self.full(call))

    def record(self, full: str) -> Record:
        record = self.cloud.world.find(f"run/{full}")
        if record is None or record.collection != self.owner:
            raise missing(self.word, full)
        return record

    @property
    def owner(self) -> str:
        """The collection whose records this kind shows."""
        return self.collection

    def paged(self, call: Call, key: str, items: list[Any]) -> Body:
        """`{key: items, "nextPageToken": …}` by `pageSize` and `pageToken`."""
        if call.get("showDeleted"):
            raise errors.not_emulated(f"{self.collection}.list with showDeleted")
        return page(key, items, call, MOST, MOST)

    def next_version(self) -> str:
        """Microseconds since the epoch, never twice the same.

        Source: versions in "Conflict for resource …" of public logs, for instance 1786872223639166.
        """
        return str(int(self.cloud.world.clock.now().timestamp() * 1_000_000) + self.cloud.world.number() % 100_000)


class HasPolicy(RunKind, PolicyKind):
    """A kind of Cloud Run whose resources have policies."""

    def policy_name(self, call: Call) -> str:
        return self.existing(call).name.removeprefix("run/")

    @on("setIamPolicy", "{service}.{kind}.setIamPolicy")
    def set_policy(self, call: Call) -> Body:
        """Source of the words of an organization: googlemaps/js-route-optimization-app#198."""
        try:
            return super().set_policy(call)
        except errors.ApiError as error:
            if error.message == NOT_PERMITTED:
                error.message = f"{NOT_PERMITTED.removesuffix('.')},  perhaps due to an organization policy."
            raise


def missing(word: str, full: str) -> errors.ApiError:
    """Source: GoogleCloudPlatform/generative-ai#1795"""
    parts = full.split("/")
    return errors.not_found(
        f"Resource '{parts[-1]}' of kind '{word}' in region '{parts[3]}' in project '{parts[1]}' does not exist."
    )


def shown_operation(operation: Operation) -> Body:
    return long_running_shape(operation, operation.full_name)


def etag_of(version: str) -> str:
    """A quoted text that stands for a version, as etags of v2 look."""
    return f'"{base64.b64encode(version.encode()).decode()}"'


def check_version(given: str | None, record: Record) -> None:
    """409 where a caller saw another version; `given` is an etag of v2 or a resourceVersion of v1.

    Source: https://google.aip.dev/154 (ABORTED) and, for the words, gcloud's "ABORTED: Conflict for resource '…':
    version '…' was specified but current version is '…'." in public repositories (no issue found). No source found for
    what v2 says of an etag.
    """
    now = record.hidden["version"]
    if not given or given.strip('"') == etag_of(now).strip('"') or given == now:
        return
    message = (
        f"Conflict for resource '{record.name.rpartition('/')[2]}': version '{_version_in(given)}' was specified "
        f"but current version is '{now}'."
    )
    raise errors.ApiError(409, message, reason="aborted", status="ABORTED")


def _version_in(etag: str) -> str:
    try:
        return base64.b64decode(etag.strip('"'), validate=True).decode()
    except (binascii.Error, ValueError):
        return etag


def unique(project: Project, name: str) -> str:
    """A UUID that stays the same for the same text."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{project.number}/{name}"))
