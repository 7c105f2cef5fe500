"""Which project a call is counted against, and what that project must have: the API, and quota left.

Source: https://cloud.google.com/docs/quotas/quota-project: the one that X-Goog-User-Project names; else, for an API
that goes by its caller and not by the resource, the service account's own project, or the OAuth client's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.emulator import accounts
from tests.emulator.access import ADC_CLIENT
from tests.emulator.discovery import Method
from tests.emulator.errors import ApiError, error_info

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud
    from tests.emulator.kind import Call
    from tests.emulator.world import Project

BY_CALLER = frozenset({"cloudresourcemanager", "serviceusage", "iamcredentials"})
"""Services that go by their caller. gcloud's own OAuth client has all of them."""
MINUTE = 60.0


def check(cloud: Cloud, call: Call, method: Method) -> None:
    """403 or 429 where the project that a call is counted against may not have it."""
    named = call.headers.get("x-goog-user-project") or call.get("$userProject") or call.get("userProject") or ""
    project = named_project(cloud, call, named, method) if named else own_project(cloud, call, method)
    if project is not None:
        cloud.check_service(project, method)
    _count(cloud, project or _of_resource(cloud, call), method)


def named_project(cloud: Cloud, call: Call, named: str, method: Method) -> Project:
    """The project that the caller named, which it must be allowed to use.

    Source: google-github-actions/auth#250, hashicorp/terraform-provider-google#17938; the details:
    lbjlaq/Antigravity-Manager#3050. Cloud Storage says it in its own words: googleapis/google-cloud-ruby#6456.
    """
    project = cloud.world.project(named)
    if project and cloud.access.may(call.caller, "serviceusage.services.use", (f"projects/{project.id}",)):
        return project
    if method.service == "storage":
        words = f"{call.email} does not have serviceusage.services.use access to the Google Cloud project."
        raise ApiError(403, f"{words} Permission 'serviceusage.services.use' denied on resource (or it may not exist).")
    where = f"https://console.developers.google.com/iam-admin/iam/project?project={named}"
    told = {"consumer": f"projects/{named}", "containerInfo": named, "service": _host(cloud, method)}
    raise ApiError(
        403,
        f"Caller does not have required permission to use project {named}. Grant the caller the "
        "roles/serviceusage.serviceUsageConsumer role, or a custom role with the serviceusage.services.use permission, "
        f"by visiting {where} and then retry. Propagation of the new permission may take a few minutes.",
        reason="forbidden",
        details=[error_info("USER_PROJECT_DENIED", "googleapis.com", **told)],
    )


def own_project(cloud: Cloud, call: Call, method: Method) -> Project | None:
    """The project of a service account that calls; None for a person, whose OAuth client it is.

    Source on a person with credentials of `gcloud auth application-default login`: golang/oauth2#702,
    hashicorp/terraform-provider-google#15066.
    """
    if method.service not in BY_CALLER:
        return None
    if call.caller.startswith("serviceAccount:"):
        return accounts.home(cloud.world, call.email)
    if cloud.access.client_of(call.headers.get("authorization", "")) == ADC_CLIENT:
        host = _host(cloud, method)
        told = {"consumer": f"projects/{ADC_CLIENT.partition('-')[0]}", "service": host}
        raise ApiError(
            403,
            f"Your application is authenticating by using local Application Default Credentials. The {host} API "
            "requires a quota project, which is not set by default. To learn how to set your quota project, see "
            "https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds .",
            reason="forbidden",
            details=[error_info("SERVICE_DISABLED", "googleapis.com", **told)],
        )
    return None


def _host(cloud: Cloud, method: Method) -> str:
    return cloud.router.documents[method.api].host


def _of_resource(cloud: Cloud, call: Call) -> Project | None:
    named = str(call.get("project") or call.get("projectId") or "") or next(
        (str(call[key]) for key in ("name", "parent", "resource") if str(call.get(key, "")).startswith("projects/")), ""
    )
    return cloud.world.project("/".join(named.split("/")[:2]) if named.startswith("projects/") else named)


def _count(cloud: Cloud, project: Project | None, method: Method) -> None:
    """429 for more calls in a minute than a test allows: `POST /_emulator/quotas` with the metric `calls.SERVICE`.

    Sources of the words: cyrilgdn/terraform-provider-postgresql#163,
    GoogleCloudPlatform/cloud-sql-jdbc-socket-factory#979. Without such a limit there is none: Google's are in the
    thousands a minute.
    """
    limit = cloud.world.limits.get((project.id, f"calls.{method.service}", "")) if project else None
    if project is None or limit is None:
        return
    key, now = f"calls of {method.service} for {project.id}", cloud.world.clock.now()
    recent = [each for each in cloud.world.recent.get(key, ()) if (now - each[0]).total_seconds() < MINUTE]
    if len(recent) >= limit:
        host = _host(cloud, method)
        told = {"consumer": f"projects/{project.number}", "service": host, "quota_limit_value": str(int(limit))}
        raise ApiError(
            429,
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
            f"'{host}' for consumer 'project_number:{project.number}'.",
            reason="rateLimitExceeded",
            details=[error_info("RATE_LIMIT_EXCEEDED", "googleapis.com", **told)],
        )
    cloud.world.recent[key] = [*recent, (now, 0.0)]
