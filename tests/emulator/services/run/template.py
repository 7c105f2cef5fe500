"""A service and its template as a caller may write them: what is kept, what is refused, what Google fills in.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services and RevisionTemplate.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.world import Project

SERVICE_FIELDS = ("annotations", "client", "clientVersion", "customAudiences", "defaultUriDisabled", "description",
                  "ingress", "invokerIamDisabled", "labels", "launchStage", "scaling", "template",
                  "traffic")  # fmt: skip
"""What a caller may set. Output-only fields in a request are ignored (https://google.aip.dev/203)."""
TEMPLATE_FIELDS = ("annotations", "client", "clientVersion", "containers", "executionEnvironment", "labels",
                   "maxInstanceRequestConcurrency", "revision", "scaling", "serviceAccount", "sessionAffinity",
                   "timeout", "volumes", "vpcAccess")  # fmt: skip
NOT_EMULATED = {
    "service": ("binaryAuthorization", "buildConfig", "functionalType", "iapEnabled", "multiRegionSettings",
                "sshEnabled"),
    "template": ("ambientNetworking", "encryptionKey", "encryptionKeyRevocationAction", "encryptionKeyShutdownDuration",
                 "gpuZonalRedundancyDisabled", "healthCheckDisabled", "nodeSelector", "sandboxes", "serviceMesh",
                 "workloadIdentityConfig"),
    "container": ("baseImageUri", "buildConfig", "sandboxLauncher", "sourceCode"),
    "volume": ("cloudSqlInstance", "filestore", "gcs", "nfs"),
    "scaling": ("concurrencyUtilization", "cpuUtilization"),
    "vpcAccess": ("connector",),
}  # fmt: skip
"""Fields that change what Google does and would change nothing here."""

DEFAULT_STARTUP_PROBE = {"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1}
"""Source: https://cloud.google.com/run/docs/configuring/healthchecks#default_startup_probes; with `tcpSocket` on the
port, as chainguard-dev/terraform-infra-common#254 prints it."""
DEFAULT_LIMITS = {"cpu": "1000m", "memory": "512Mi"}
"""Source: https://cloud.google.com/run/docs/configuring/services/cpu and …/memory-limits."""
DEFAULT_MAX_INSTANCES = 100
"""The most there are by default, whatever the quota. Source: `maxInstanceCount` in the reference of RevisionScaling."""


@dataclass(frozen=True)
class Allowed:
    """A region's quota: CPU in thousandths, memory in bytes."""

    cpu: float
    memory: float

    def instances(self, containers: list[Body]) -> int:
        """How many instances of these containers the quota allows at once.

        Source: https://cloud.google.com/run/docs/configuring/max-instances-limits (the lower of the two quotients)
        """
        memory = sum(bytes_of(str(each["resources"]["limits"]["memory"])) for each in containers)
        return int(min(self.cpu / max(total_cpu(containers) * 1000, 1), self.memory / max(memory, 1)))


def written(sent: Body, project: Project, allowed: Allowed) -> Body:
    """What a caller wrote, as it is kept: output-only fields gone, defaults filled in; 501 for what is not emulated."""
    _refuse("service", sent)
    body = {key: copy.deepcopy(value) for key, value in sent.items() if key in SERVICE_FIELDS and value is not None}
    if body.get("ingress", "").endswith("UNSPECIFIED"):
        del body["ingress"]
    body.setdefault("ingress", "INGRESS_TRAFFIC_ALL")
    if body.get("launchStage", "").endswith("UNSPECIFIED"):
        del body["launchStage"]
    body.setdefault("launchStage", "GA")
    body["traffic"] = body.get("traffic") or [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]
    if "template" in body:
        body["template"] = filled(body["template"], project)
        _scale(body, allowed)
    return body


def _scale(body: Body, allowed: Allowed) -> None:
    """The maximum of instances, of the service and of a revision, is by default what the quota allows.

    Sources: GoogleCloudPlatform/magic-modules#18394 ("a dynamic default … based on the user's available quota"), #18526
    (both levels come back from the API), hashicorp/terraform-provider-google#26343 (the service's, too).
    """
    template, scaling = body["template"], body.get("scaling", {})
    most = max(1, min(DEFAULT_MAX_INSTANCES, allowed.instances(template["containers"])))
    template["scaling"] = {"maxInstanceCount": most} | template.get("scaling", {})
    if scaling.get("scalingMode") != "MANUAL":
        body["scaling"] = {"maxInstanceCount": max(most, scaling.get("minInstanceCount", 0))} | scaling


def filled(sent: Body, project: Project) -> Body:
    """A template with Google's defaults; filling a filled one changes nothing."""
    _refuse("template", sent)
    _refuse("scaling", sent.get("scaling", {}))
    _refuse("vpcAccess", sent.get("vpcAccess", {}))
    template = {key: value for key, value in sent.items() if key in TEMPLATE_FIELDS and value not in (None, {}, [], "")}
    template.setdefault("timeout", "300s")
    template.setdefault("serviceAccount", default_account(project))
    if template.get("executionEnvironment", "").endswith("UNSPECIFIED"):
        del template["executionEnvironment"]
    for volume in template.get("volumes", []):
        _refuse("volume", volume)
    containers = template.setdefault("containers", [])
    for container in containers:
        fill_container(container, serving=len(containers) == 1 or bool(container.get("ports")))
    if not template.get("maxInstanceRequestConcurrency"):
        template["maxInstanceRequestConcurrency"] = 80 if total_cpu(containers) >= 1 else 1
    if "vpcAccess" in template and template["vpcAccess"].get("egress", "VPC_EGRESS_UNSPECIFIED").endswith(
        "UNSPECIFIED"
    ):
        template["vpcAccess"]["egress"] = "PRIVATE_RANGES_ONLY"
    return template


def fill_container(container: Body, serving: bool) -> None:
    """`serving` is the one that gets requests: it has a port and a startup probe; sidecars have neither."""
    _refuse("container", container)
    given = "resources" in container
    resources = container.setdefault("resources", {})
    resources["limits"] = DEFAULT_LIMITS | resources.get("limits", {})
    if not given:
        resources |= {"cpuIdle": True, "startupCpuBoost": True}  # startupCpuBoost: no source that the API fills it in
    port = 0
    if serving:
        default = {"name": "http1", "containerPort": 8080}
        ports = container.get("ports") or [{}]
        container["ports"] = [default | {key: value for key, value in each.items() if value} for each in ports]
        port = container["ports"][0]["containerPort"]
        container.setdefault("startupProbe", DEFAULT_STARTUP_PROBE | {"tcpSocket": {"port": port}})
    for probe in (container[name] for name in ("startupProbe", "livenessProbe", "readinessProbe") if name in container):
        fill_probe(probe, port)


def fill_probe(probe: Body, port: int) -> None:
    """Source: the defaults in the reference of Probe."""
    for name, default in (("timeoutSeconds", 1), ("periodSeconds", 10), ("failureThreshold", 3)):
        probe[name] = probe.get(name) or default
    for action in (probe[name] for name in ("httpGet", "tcpSocket", "grpc") if name in probe):
        action["port"] = action.get("port") or port
    if "httpGet" in probe:
        probe["httpGet"].setdefault("path", "/")


def default_account(project: Project) -> str:
    """Source: https://cloud.google.com/run/docs/configuring/services/service-identity"""
    return f"{project.number}-compute@developer.gserviceaccount.com"


def cpu_of(text: str) -> float:
    """`1`, `0.5` or `1000m`; 0 for anything else."""
    number, milli = (text[:-1], True) if text.endswith("m") else (text, False)
    try:
        return float(number) / (1000 if milli else 1)
    except ValueError:
        return 0.0


def total_cpu(containers: list[Body]) -> float:
    return sum(cpu_of(str(each["resources"]["limits"]["cpu"])) for each in containers)


UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 10**3, "M": 10**6, "G": 10**9, "": 1}


def bytes_of(text: str) -> int:
    """`512Mi`, `1G`; 0 for anything else. Source: https://cloud.google.com/run/docs/configuring/memory-limits"""
    number = text.rstrip("KMGik")
    unit = text[len(number) :]
    return int(float(number) * UNITS[unit]) if number.replace(".", "", 1).isdigit() and unit in UNITS else 0


def _refuse(what: str, sent: dict[str, Any]) -> None:
    for name in NOT_EMULATED[what]:
        if sent.get(name) and not str(sent[name]).endswith("UNSPECIFIED"):
            raise errors.not_emulated(f"{name} of a Cloud Run {what}")
