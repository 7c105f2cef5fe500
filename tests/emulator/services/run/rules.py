"""What Google refuses in a service before it does anything.

Source: the reference of each message in https://cloud.google.com/run/docs/reference/rest/v2, the limits in
https://cloud.google.com/run/docs/configuring/services/cpu and …/memory-limits, and public issues for the words; where a
rule names no issue, the rule is from the reference and there is no source for the words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tests.emulator.kind import Body
from tests.emulator.services.run.base import DNS_LABEL, Violation
from tests.emulator.services.run.images import malformed
from tests.emulator.services.run.probes import probe_rules
from tests.emulator.services.run.template import Allowed, bytes_of, cpu_of, total_cpu

RESERVED_ENV = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION")
"""Source: https://cloud.google.com/run/docs/container-contract#env-vars"""
RESERVED_NAMESPACES = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")
"""Source: `labels` and `annotations` in the reference: "they will be rejected"."""
MEBI, GIBI = 2**20, 2**30
LARGEST_MEMORY = ((1, 4), (2, 8), (4, 16), (6, 24), (8, 32))
"""CPUs → the most memory they take, in GiB. Source: https://cloud.google.com/run/docs/configuring/memory-limits"""
LEAST_MEMORY = {4: 2, 6: 4, 8: 4}
"""CPUs → the least memory they take, in GiB. Source: https://cloud.google.com/run/docs/configuring/services/cpu"""


def service_rules(body: Body, service: str) -> Iterator[Violation]:
    """All that is wrong with what a caller wrote, defaults filled in."""
    if "template" not in body:  # googleapis/google-cloud-java#11101
        yield Violation("service.template", "required field not present.", of_request=True)
        return
    yield from template_rules(body["template"], service)
    yield from label_rules("labels", body.get("labels", {}))
    yield from _namespaces("annotations", body.get("annotations", {}))
    scaling = body.get("scaling", {})
    least, most = scaling.get("minInstanceCount", 0), scaling.get("maxInstanceCount", 0)
    if min(least, most) < 0 or (most and most < least):
        yield Violation("service.scaling.maxInstanceCount", "must be greater or equal than min_instance_count.", True)
    if scaling.get("scalingMode") == "MANUAL" and "manualInstanceCount" not in scaling:
        yield Violation("service.scaling.manualInstanceCount", "must be set in manual scaling mode.", True)
    if len(body.get("description", "")) > 512:
        yield Violation("service.description", "must be at most 512 characters.", of_request=True)
    if body["launchStage"] not in ("ALPHA", "BETA", "GA"):
        yield Violation("service.launchStage", "must be one of ALPHA, BETA, GA.", of_request=True)


def quota_rules(body: Body, allowed: Allowed) -> Iterator[Violation]:
    """Source of the words: googlecodelabs/feedback#1856, jspsych/datapipe#238."""
    template = body.get("template")
    if not template or not template["containers"]:
        return
    most, asked = allowed.instances(template["containers"]), template["scaling"]["maxInstanceCount"]
    if asked > most:
        text = (
            f"Max instances must be set to {most} or fewer in order to set the requested total CPU.\nConsider running "
            "your workload in a region with greater capacity, or requesting an increase in quota for this region if "
            "you are seeing sustained usage near this limit, see https://cloud.google.com/run/quotas."
        )
        yield Violation("template.scaling.max_instance_count", text)


def template_rules(template: Body, service: str) -> Iterator[Violation]:
    yield from _revision_name(template.get("revision", ""), service)
    yield from label_rules("template.labels", template.get("labels", {}))
    yield from _namespaces("template.annotations", template.get("annotations", {}))
    seconds = float(template["timeout"].removesuffix("s"))
    if not 1 <= seconds <= 3600:
        yield Violation("template.timeout", "must be between 1 and 3600 seconds.")
    if not 1 <= template["maxInstanceRequestConcurrency"] <= 1000:
        yield Violation("template.maxInstanceRequestConcurrency", "must be between 1 and 1000.")
    scaling = template["scaling"]
    least, most = scaling.get("minInstanceCount", 0), scaling["maxInstanceCount"]
    if least < 0 or most < max(least, 1):  # goblet/goblet#287
        text = "must be greater or equal than min_instance_count."
        yield Violation("service.template.scaling.maxInstanceCount", text, of_request=True)
    yield from vpc_rules(template.get("vpcAccess"))
    yield from containers_rules(template)
    yield from volume_rules(template)


def _revision_name(name: str, service: str) -> Iterator[Violation]:
    """Source: hashicorp/terraform-provider-google#6491."""
    if name and not name.startswith(f"{service}-"):
        text = (
            "The revision name must be prefixed by the name of the enclosing Service or Configuration with a trailing -"
        )
        yield Violation("template.revision", text)
    if name and (len(name) > 63 or not re.fullmatch(DNS_LABEL, name)):
        yield Violation("template.revision", NAME_RULE)


NAME_RULE = (
    "Resource name must use only lowercase letters, numbers and '-'. Must begin with a letter and cannot end with a "
    "'-'. Maximum length is 63 characters."
)
"""Source: terraform-google-modules/terraform-docs-samples#171."""


def vpc_rules(access: Body | None) -> Iterator[Violation]:
    """Source: hashicorp/terraform-provider-google#15568, and the reference of VpcAccess for one interface alone."""
    if access is None:
        return
    interfaces = access.get("networkInterfaces", [])
    if bool(interfaces) == bool(access.get("connector")):
        text = "one and only one of connector and network_interfaces must be set."
        yield Violation("service.template.vpcAccess.connector", text, of_request=True)
    if len(interfaces) > 1:
        text = "only a single network interface is supported."
        yield Violation("service.template.vpcAccess.networkInterfaces", text, of_request=True)
    for interface in interfaces:
        if not interface.get("network") and not interface.get("subnetwork"):
            text = "at least one of network or subnetwork must be specified."
            yield Violation("service.template.vpcAccess.networkInterfaces[0]", text, of_request=True)


def containers_rules(template: Body) -> Iterator[Violation]:
    containers = template["containers"]
    if not containers:
        yield Violation("service.template.containers", "required field not present.", of_request=True)
        return
    if sum(bool(each.get("ports")) for each in containers) != 1:
        yield Violation("template.containers", "should contain exactly one container with an exposed port.")
    names = [each.get("name", "") for each in containers]
    if len(containers) > 1 and (
        len(set(names)) < len(names) or not all(re.fullmatch(DNS_LABEL, each) for each in names)
    ):
        yield Violation("template.containers", "each must have a name of its own, a DNS label.")
    for number, container in enumerate(containers):
        yield from _container(container, f"template.containers[{number}]", template)
    if total_cpu(containers) < 1 and template["maxInstanceRequestConcurrency"] > 1:
        # nearform/slack-knowledgebase-chatgpt-responder#980
        text = "Invalid value specified for cpu. Total cpu < 1 is not supported with concurrency > 1."
        yield Violation("template.containers.resources.limits.cpu", text)


def _container(container: Body, at: str, template: Body) -> Iterator[Violation]:
    problem = malformed(container.get("image", "")) if container.get("image") else "image is required."
    if problem:
        yield Violation(f"{at}.image", problem)
    ports = container.get("ports", [])
    if len(ports) > 1:  # GoogleCloudPlatform/magic-modules#10173
        yield Violation(f"service.{at}.ports", "ports should contain 0 or 1 port.", of_request=True)
    for port in ports:
        if not 0 < port["containerPort"] < 65536:
            yield Violation(f"{at}.ports[0].container_port", "must be a valid TCP port number, 0 < port < 65536.")
        if port["name"] not in ("http1", "h2c"):
            yield Violation(f"{at}.ports[0].name", 'must be one of "http1" and "h2c".')
    yield from env_rules(container.get("env", []), at)
    yield from resource_rules(container["resources"], at, template.get("executionEnvironment", ""))
    yield from probe_rules(container, at)
    yield from mount_rules(container, at, {each.get("name") for each in template.get("volumes", [])})


def mount_rules(container: Body, at: str, volumes: set[str | None]) -> Iterator[Violation]:
    for number, mount in enumerate(container.get("volumeMounts", [])):
        if mount.get("name") not in volumes:
            yield Violation(f"{at}.volumeMounts[{number}].name", "must match the name of a volume.")
        if not mount.get("mountPath", "").startswith("/") or ":" in mount["mountPath"]:
            yield Violation(f"{at}.volumeMounts[{number}].mountPath", "must be an absolute path without ':'.")


def env_rules(variables: list[Body], at: str) -> Iterator[Violation]:
    """Source: hashicorp/terraform-provider-google#26877 (reserved names); lengths from the reference of EnvVar.

    Other names: https://cloud.google.com/run/docs/configuring/services/environment-variables
    """
    names = [each.get("name", "") for each in variables]
    if reserved := [name for name in dict.fromkeys(names) if name in RESERVED_ENV]:
        told = ", ".join(reserved)
        text = (
            f"The following reserved env names were provided: {told}. These values are automatically set by the system."
        )
        yield Violation(f"{at}.env", text)
    for number, variable in enumerate(variables):
        name, here = names[number], f"{at}.env[{number}]"
        if not name or "=" in name or name.startswith("X_GOOGLE_") or len(name) > 32768:
            yield Violation(f"{here}.name", f"'{name[:40]}' is not a valid name of an environment variable.")
        if len(variable.get("value", "").encode()) > 32768:
            yield Violation(f"{here}.value", "must be at most 32768 bytes.")
        if variable.get("value") and variable.get("valueSource"):
            yield Violation(here, "only one of value and value_source may be set.")
        if variable.get("valueSource") and names.count(name) > 1:
            yield Violation(f"{here}.name", "a variable that refers to a secret must be unique.")


def resource_rules(resources: Body, at: str, environment: str) -> Iterator[Violation]:
    """CPU and memory together. Source of the words: google/osv.dev#2800, googleapis/repo-automation-bots#3875."""
    limits = resources["limits"]
    if unknown := sorted(set(limits) - {"cpu", "memory"}):
        yield Violation(f"{at}.resources.limits", f"'{unknown[0]}' is not a supported resource.")
    cpu, memory = cpu_of(str(limits["cpu"])), bytes_of(str(limits["memory"]))
    if not (cpu in (1, 2, 4, 6, 8) or 0.08 <= cpu < 1):
        text = "Invalid value specified for cpu. Only 1, 2, 4, 6, 8 and values from 0.08 to less than 1 are supported."
        yield Violation(f"{at}.resources.limits.cpu", text)
        return
    if cpu < 1 and not resources.get("cpuIdle"):
        text = "Invalid value specified for cpu. Less than 1 CPU is not supported with cpu always allocated."
        yield Violation(f"{at}.resources.limits.cpu", text)
    second = environment == "EXECUTION_ENVIRONMENT_GEN2"
    large = second or not resources.get("cpuIdle")
    least = max((512 if large else 128) * MEBI, LEAST_MEMORY.get(int(cpu), 0) * GIBI)
    most = next(gibi for cpus, gibi in LARGEST_MEMORY if cpu <= cpus) * GIBI
    if not least <= memory <= most:
        where = "memory with gen2 execution environment" if second else "container memory"
        span = f"between {_memory(least)} and {_memory(most)} inclusive"
        text = f"Invalid value specified for {where}. For {float(cpu)} CPU, memory must be {span}."
        yield Violation(f"{at}.resources.limits.memory", text)


def _memory(size: int) -> str:
    return f"{size // GIBI}Gi" if size >= GIBI else f"{size // MEBI}Mi"


def volume_rules(template: Body) -> Iterator[Violation]:
    names = [each.get("name", "") for each in template.get("volumes", [])]
    if len(set(names)) < len(names) or not all(names):
        yield Violation("template.volumes", "each must have a name of its own.")
    for number, volume in enumerate(template.get("volumes", [])):
        if ("secret" in volume) == ("emptyDir" in volume):
            yield Violation(f"template.volumes[{number}]", "exactly one source must be set.")
        for place, item in enumerate(volume.get("secret", {}).get("items", [])):
            if not item.get("path") or not item.get("version"):
                yield Violation(f"template.volumes[{number}].secret.items[{place}]", "path and version are required.")


def label_rules(at: str, labels: dict[str, str]) -> Iterator[Violation]:
    """Source: https://cloud.google.com/run/docs/configuring/services/labels (64 labels, 63 characters)."""
    yield from _namespaces(at, labels)
    if len(labels) > 64:
        yield Violation(at, "at most 64 labels are allowed.")
    for key, value in labels.items():
        if not re.fullmatch(r"([a-z0-9.-]+/)?[a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?", key):
            yield Violation(at, f"'{key}' is not a valid label key.")
        if not re.fullmatch(r"([a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?)?", value):
            yield Violation(at, f"'{value}' is not a valid label value.")


def _namespaces(at: str, entries: dict[str, str]) -> Iterator[Violation]:
    for key in entries:
        if key.partition("/")[0] in RESERVED_NAMESPACES and "/" in key:
            yield Violation(at, f"'{key}' is in a namespace that Cloud Run API v2 does not support.")
