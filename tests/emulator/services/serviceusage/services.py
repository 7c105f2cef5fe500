"""Services of a project. Source: https://cloud.google.com/service-usage/docs/reference/rest/v1/services"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from tests.emulator import agents, errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.operations import Operation, long_running_shape
from tests.emulator.pages import page
from tests.emulator.services.serviceusage.catalogue import dependents, titles, with_needs
from tests.emulator.world import Project, Record

MOST = 20
"""Services in one batchEnable. Source: the reference, batchEnable: "a maximum of 20 services"."""
MOST_GOT = 30
"""Services in one batchGet. Source: the reference, batchGet."""
USAGE = timedelta(days=30)
NOTHING_TO_DO = "operations/noop.DONE_OPERATION"
"""The operation of an enable without effect. Source: answers printed in public code."""
RESPONSES = "type.googleapis.com/google.api.serviceusage.v1."


class UsageKind(Kind):
    """A kind of Service Usage."""

    apis = ("serviceusage.v1",)

    def denied(self, permission: str, resource: str) -> errors.ApiError:
        """Source: logs of gcloud in public repositories, for enabling ("Permission denied to enable service […]")."""
        verb = permission.rpartition(".")[2]
        info = errors.error_info(
            "AUTH_PERMISSION_DENIED", "serviceusage.googleapis.com", permission=permission, resource=resource
        )
        return errors.ApiError(403, f"Permission denied to {verb} service [{resource}]", details=[info])


class Services(UsageKind):
    """Which are enabled."""

    collection = "serviceusage.services"
    owns_records = False

    @on("get", "serviceusage.services.get")
    def get(self, call: Call) -> Body:
        return self.shown(self.project_of(call), self.named(call))

    @on("batchGet", "serviceusage.services.get")
    def batch_get(self, call: Call) -> Body:
        project, names = self.project_of(call), call.get("names", [])
        if len(names) > MOST_GOT:
            raise errors.invalid("Request contains an invalid argument.")
        wanted = [name.rpartition("/")[2] for name in names]
        self.check_known(wanted)
        return {"services": [self.shown(project, each) for each in wanted]} if wanted else {}

    @on("list", "serviceusage.services.list")
    def listed(self, call: Call) -> Body:
        """Source: the reference, list: `state:ENABLED` and `state:DISABLED`, pages of 50 and at most 200."""
        project, wanted = self.project_of(call), call.get("filter", "")
        if wanted not in ("", "state:ENABLED", "state:DISABLED"):
            raise errors.invalid(f"Invalid filter: {wanted}")  # words: no source
        found = [self.shown(project, each) for each in sorted(titles(self.cloud))]
        kept = [each for each in found if wanted in ("", f"state:{each['state']}")]
        return page("services", kept, call, 50, 200)

    @on("enable", "serviceusage.services.enable")
    def enable(self, call: Call) -> Body:
        project, service = self.project_of(call), self.named(call)

        def response() -> Body:
            return {"@type": f"{RESPONSES}EnableServiceResponse", "service": self.shown(project, service)}

        return self._enable(call, project, [service], response)

    @on("batchEnable", "serviceusage.services.enable")
    def batch_enable(self, call: Call) -> Body:
        project, services = self.project_of(call), call.body.get("serviceIds", [])
        if not 0 < len(services) <= MOST:
            raise errors.invalid("Request contains an invalid argument.")
        self.check_known(services)

        def response() -> Body:
            shown = [self.shown(project, each) for each in services]
            return {"@type": f"{RESPONSES}BatchEnableServicesResponse", "services": shown}

        return self._enable(call, project, services, response)

    @on("disable", "serviceusage.services.disable")
    def disable(self, call: Call) -> Body:
        """Sources of the words: hashicorp/terraform-provider-google#5424, #4570; none of those for one not enabled."""
        project, service = self.project_of(call), self.named(call)
        if service not in project.services:
            raise errors.failed_precondition(f"The service {service} is not enabled.")
        needing = dependents(service, project.services)
        if needing and not call.body.get("disableDependentServices"):
            raise errors.failed_precondition(_depended(service, needing))
        if call.body.get("checkIfServiceHasUsage") == "CHECK":
            self._check_unused(project, [service, *needing])

        def effect() -> Body:
            project.services -= {service, *needing}
            return {"@type": f"{RESPONSES}DisableServiceResponse", "service": self.shown(project, service)}

        return self._begin(call, project, "disable", [service], effect)

    # -- what they share ---------------------------------------------------------------------------------------------

    def named(self, call: Call) -> str:
        """The service a call names, which there must be."""
        service = str(call["name"]).rpartition("/")[2]
        self.check_known([service])
        return service

    def check_known(self, services: Iterable[str]) -> None:
        """Source: logs of gcloud in public repositories, which print message and reason."""
        if unknown := ",".join(sorted(set(services) - titles(self.cloud).keys())):
            reason, domain = "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED", "serviceusage.googleapis.com"
            message = f"Not found or permission denied for service(s): {unknown}."
            raise errors.ApiError(403, message, details=[errors.error_info(reason, domain, services=unknown)])

    def _check_unused(self, project: Project, services: list[str]) -> None:
        """Source: the reference, CheckIfServiceHasUsage (30 days), which gcloud asks for; words: no source."""
        since = self.cloud.world.clock.now() - USAGE
        if used := [each for each in services if project.used.get(each, since) > since]:
            error = errors.failed_precondition(f"The service {used[0]} has been used in the last 30 days.")
            error.details = [errors.error_info("COMMON_SU_SERVICE_HAS_USAGE", "serviceusage.googleapis.com")]
            raise error

    def shown(self, project: Project, service: str) -> Body:
        return {
            "name": f"projects/{project.number}/services/{service}",
            "parent": f"projects/{project.number}",
            "config": {"name": service, "title": titles(self.cloud)[service]},
            "state": "ENABLED" if service in project.services else "DISABLED",
        }

    def _enable(self, call: Call, project: Project, services: list[str], response: Callable[[], Body]) -> Body:
        if project.services.issuperset(services):
            return {"name": NOTHING_TO_DO, "done": True, "response": response()}
        _check_billing(project, services)

        def effect() -> Body:
            new = with_needs(services) - project.services
            project.answering |= dict.fromkeys(new, self.cloud.world.settling.until("settle.service"))
            agents.enable(self.cloud.access, project, new)
            return response()

        return self._begin(call, project, "enable", services, effect)

    def _begin(self, call: Call, project: Project, verb: str, services: list[str], effect: Any) -> Body:
        record = Record(f"serviceusage/projects/{project.id}/services", self.collection, {})
        operation = self.start(call, "serviceusage.enable", verb, record, effect)
        names = [f"projects/{project.number}/services/{each}" for each in services]
        operation.metadata = {"@type": f"{RESPONSES}OperationMetadata", "resourceNames": names}
        return shown_operation(operation, project)


class Operations(UsageKind):
    """Enabling and disabling on their way."""

    collection = "serviceusage.operations"
    owns_records = False

    @on("get", "")
    def get(self, call: Call) -> Body:
        """The project is the one whose number is in the operation's name; the one that did nothing is nobody's."""
        operation = self._find(call["name"])
        if operation is None:
            return {"name": NOTHING_TO_DO, "done": True, "response": {"@type": f"{RESPONSES}EnableServiceResponse"}}
        call.require("serviceusage.operations.get", f"projects/{operation.project}")
        return shown_operation(operation, self.cloud.world.projects[operation.project])

    def guards(self, call: Call) -> tuple[str, ...]:
        return ("operations",)

    def _find(self, name: str) -> Operation | None:
        """None for the operation that did nothing. The words of the 404 have no source."""
        if name == NOTHING_TO_DO:
            return None
        found = self.cloud.operations.find("serviceusage", name.rpartition("-")[2])
        if found is None:
            raise errors.not_found(f"Operation {name} was not found.")
        return found


FREE = ("iam", "iamcredentials", "cloudresourcemanager", "serviceusage", "servicenetworking", "oslogin")
"""Services that cost nothing. No list by Google was found: these are not sold."""


def _check_billing(project: Project, services: Iterable[str]) -> None:
    """Source: kyegomez/zeta#71, which is SkyPilot's check (message and details)."""
    paid = [each for each in services if each.partition(".")[0] not in FREE]
    if project.billing or not paid:
        return
    number, named = str(project.number), ",".join(paid)
    error = errors.failed_precondition(
        f"Billing account for project '{number}' is not found. Billing must be enabled for activation of service(s) "
        f"'{named}' to proceed."
    )
    told = {"project": number, "services": named}
    domain = "serviceusage.googleapis.com/billing-enabled"
    subject = f"?error_code=390001&project={number}&" + "&".join(f"services={each}" for each in paid)
    violation = {"type": "googleapis.com/billing-enabled", "subject": subject}
    error.details = [
        {"@type": "type.googleapis.com/google.rpc.PreconditionFailure", "violations": [violation]},
        errors.error_info("UREQ_PROJECT_BILLING_NOT_FOUND", domain, **told),
    ]
    raise error


def shown_operation(operation: Operation, project: Project) -> Body:
    kind = "acat" if operation.verb == "disable" else "acf"
    return long_running_shape(operation, f"operations/{kind}.p2-{project.number}-{operation.number}")


def _depended(service: str, needing: list[str]) -> str:
    plural = "s" if len(needing) > 1 else ""
    return (
        f"The service {service} is depended on by the following active service{plural}: {','.join(needing)}; Please "
        "specify disable_dependent_services=true if you want to proceed with disabling all services."
    )


KINDS = (Services, Operations)
