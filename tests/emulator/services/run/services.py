"""Services, in the v2 form. Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services"""

from __future__ import annotations

import copy
import re
from datetime import timedelta

from tests.emulator import errors, quotas
from tests.emulator.backing import Backing
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import Operation
from tests.emulator.patches import camel, paths, replaced
from tests.emulator.services.run.base import (
    DNS_LABEL,
    SERVICES,
    TYPES,
    HasPolicy,
    Violation,
    check_version,
    etag_of,
    missing,
    refuse,
    shown_operation,
    unique,
)
from tests.emulator.services.run.conditions import condition
from tests.emulator.services.run.revisions import Revisions
from tests.emulator.services.run.rollout import Rollout, typed
from tests.emulator.services.run.rules import NAME_RULE, quota_rules, service_rules
from tests.emulator.services.run.template import SERVICE_FIELDS, Allowed, default_account, written
from tests.emulator.services.run.traffic import traffic_rules
from tests.emulator.world import Record

LONGEST_ID = 49
"""Source: `serviceId` in the reference of services.create: "fewer than 50 characters"."""
KEPT = timedelta(days=30)
"""Until a deleted service expires. No source for the figure; the reference has `expireTime` alone."""


class Services(HasPolicy):
    """Services of a location; the v1 kinds call `make`, `change` and `remove` too."""

    collection = SERVICES

    @on("get", "run.services.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "run.services.list")
    def listed(self, call: Call) -> Body:
        records = self.cloud.world.under(f"run/{self.full(call)}/services/", SERVICES)
        return self.paged(call, "services", [each.body for each in records])

    @on("create", "run.services.create")
    def create(self, call: Call) -> Body:
        parent, name = self.full(call), call.get("serviceId") or ""
        if not name or len(name) > LONGEST_ID or not re.fullmatch(DNS_LABEL, name):
            refuse([Violation("serviceId", NAME_RULE.replace("63", str(LONGEST_ID)), True)], "CreateServiceRequest")
        body = self.checked(call, call.body, f"{parent}/services/{name}", "CreateServiceRequest")
        return self.answered(call, self.make(call, f"{parent}/services/{name}", body))

    @on("patch", "run.services.update")
    def patch(self, call: Call) -> Body:
        """With `allowMissing` it makes what is not there, for who may (reference of services.patch)."""
        full = self.full(call)
        if self.cloud.world.find(f"run/{full}") is None and call.get("allowMissing"):
            call.require("run.services.create", *self.guards(call))
            body = self.checked(call, call.body, full, "UpdateServiceRequest")
            return self.answered(call, self.make(call, full, body))
        record = self.existing(call)
        check_version(call.body.get("etag"), record)
        sent = masked(record.body, call.body, call.get("updateMask", ""))
        body = self.checked(call, sent, full, "UpdateServiceRequest")
        return self.answered(call, self.change(call, record, body, bool(call.get("forceNewRevision"))))

    @on("delete", "run.services.delete")
    def delete(self, call: Call) -> Body:
        record = self.existing(call)
        check_version(call.get("etag"), record)
        if call.get("validateOnly"):
            return self.answered(call, record.body)
        return shown_operation(self.remove(call, record))

    # -- what both forms of the API do -------------------------------------------------------------------------------

    def checked(self, call: Call, sent: Body, full: str, request: str, knative: bool = False) -> Body:
        """What a caller wrote of the service of this full name, complete.

        400 for what is wrong, 403 for an account the caller may not act as.
        """
        allowed, name = self.allowed(call, full.split("/")[3]), full.rpartition("/")[2]
        body = written(sent, self.project_of(call), allowed)
        found = [*service_rules(body, name), *traffic_rules(body["traffic"], name), *quota_rules(body, allowed)]
        refuse(found, request, knative)
        self.check_account(call, body["template"]["serviceAccount"])
        return body

    def allowed(self, call: Call, region: str) -> Allowed:
        """The quota of the call's project in a region."""
        project = self.project_of(call)
        metrics = (quotas.limit(self.cloud, project, metric, region) for metric in ("run.cpu", "run.memory"))
        return Allowed(*metrics)

    def check_account(self, call: Call, email: str) -> None:
        """Source: GoogleCloudPlatform/cloud-run-release-manager#81; the one text for "may not" and "is not there"."""
        project = self.project_of(call)
        named = email.partition("@")[2].removesuffix(".iam.gserviceaccount.com")
        own = project.id if email == default_account(project) else named
        there = self.cloud.world.find(f"iam/projects/{own}/serviceAccounts/{email}") is not None
        resources = (f"projects/{own}/serviceAccounts/{email}", f"projects/{own}")
        if not there or not self.cloud.access.may(call.caller, "iam.serviceAccounts.actAs", resources):
            raise errors.ApiError(
                403, f"Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist)."
            )

    def make(self, call: Call, full: str, body: Body, dry: bool | None = None) -> Operation | Body:
        """A new service; only what it would be where the call is to validate alone."""
        if self.cloud.world.find(f"run/{full}"):
            raise errors.already_exists(f"Resource '{full.rpartition('/')[2]}' already exists.")
        quotas.check_services(self.cloud, self.project_of(call), full.split("/")[3])
        record = Record(f"run/{full}", SERVICES, body)
        body |= {"name": full, "uid": unique(self.project_of(call), f"{full}/{self.cloud.world.number()}")}
        body |= {"createTime": self.now, "creator": call.email, "generation": "1"}
        self.stamp(call, record)
        if call.get("validateOnly") if dry is None else dry:
            return body
        self.cloud.world.put(record)
        return self.rollout(call, record, fresh=True).start(call, "create")

    def change(self, call: Call, record: Record, body: Body, force: bool, dry: bool | None = None) -> Operation | Body:
        """Make a service what `body` says; a revision only where the template is another."""
        fresh = force or _unnamed(record.body["template"]) != _unnamed(body["template"])
        fresh = fresh or self.named_anew(record, body["template"])
        rescaled = record.body.get("scaling") != body.get("scaling")
        if fresh or rescaled:  # googleapis/google-cloud-python#14259: 409 by the service's own scaling, too
            self.check_revision_name(record, body["template"])
        after = {key: value for key, value in record.body.items() if key not in SERVICE_FIELDS} | body
        if call.get("validateOnly") if dry is None else dry:
            return after
        record.body = after | {"generation": str(int(after["generation"]) + 1)}
        self.stamp(call, record)
        return self.rollout(call, record, fresh).start(call, "update")

    def remove(self, call: Call, record: Record) -> Operation:
        """Take a service and its revisions away; meanwhile it is neither ready nor failed.

        Source: gcloud's `DeletionPoller`, which gives up at a condition that has failed; services that have go, too.
        """
        revisions = Revisions(self.cloud)
        held = revisions.under(record.name.removeprefix("run/"))
        bodies = copy.deepcopy([(each.name, each.body) for each in held])

        def act(part: Backing) -> None:
            for name, body in bodies:
                part.stop(name, body)
                part.remove(name)

        def gone() -> Body:
            if self.cloud.world.find(record.name) is not record:  # deleted twice: the first has done it
                raise missing("SERVICE", record.body["name"])
            for each in held:
                revisions.gone(each)
            self.cloud.world.drop(record.name)
            self.cloud.access.drop_policy(record.body["name"])
            expires = rfc3339(self.cloud.world.clock.now() + KEPT)
            return typed(record.body | {"deleteTime": self.now, "expireTime": expires})

        before = {key: record.body[key] for key in ("terminalCondition", "reconciling")}
        operation = revisions.start(call, "run.delete", "delete", record, gone, act, lambda: record.body.update(before))
        record.body |= {"terminalCondition": condition("Ready", self.now, pending=True), "reconciling": True}
        operation.metadata = typed(record.body)
        return operation

    def stamp(self, call: Call, record: Record) -> None:
        """A new version, its etag, and who made it."""
        record.hidden["version"] = self.next_version()
        etag = etag_of(record.hidden["version"])
        record.body |= {"etag": etag, "updateTime": self.now, "lastModifier": call.email}

    def rollout(self, call: Call, record: Record, fresh: bool) -> Rollout:
        return Rollout(Revisions(self.cloud), record, fresh, self.project_of(call))

    def named_anew(self, record: Record, template: Body) -> bool:
        """Whether the template names a revision that is not there."""
        name = template.get("revision")
        return bool(name) and self.cloud.world.find(f"{record.name}/revisions/{name}") is None

    def check_revision_name(self, record: Record, template: Body) -> None:
        """Source: hashicorp/terraform-provider-google#14569, pulumi/pulumi-gcp#350."""
        name = template.get("revision")
        if name and not self.named_anew(record, template):
            message = f"Revision named '{name}' with different configuration already exists."
            raise errors.already_exists(message)

    def answered(self, call: Call, outcome: Operation | Body) -> Body:
        """The operation; one that is done at once where the call was to validate alone."""
        if isinstance(outcome, Operation):
            return shown_operation(outcome)
        parent = "/".join(self.full(call).split("/")[:4])
        response = typed(outcome)
        name = f"{parent}/operations/validated-{self.cloud.world.number()}"
        return {"name": name, "metadata": {"@type": f"{TYPES}Service"}, "done": True, "response": response}


def _unnamed(template: Body) -> Body:
    return {key: value for key, value in template.items() if key != "revision"}


def masked(before: Body, sent: Body, mask: str) -> Body:
    """What a service is to be: all that was sent, or what was there with the fields of the mask replaced.

    Source: https://google.aip.dev/161; a path that is no field is a 400 there.
    """
    named = paths(mask)
    if not named or named == ["*"]:
        return sent
    after = copy.deepcopy(before)
    for path in named:
        keys = [camel(part) for part in path.split(".")]
        if keys[0] not in SERVICE_FIELDS:
            if keys[0] not in before and keys[0] not in ("etag", "name"):
                raise errors.invalid(f"Invalid field mask path: {path}.")  # no source: words
            continue
        after = replaced(after, sent, keys)
    return after


KINDS = (Services,)
