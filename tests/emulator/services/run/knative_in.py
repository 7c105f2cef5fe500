"""From the Knative (v1) form of a service to the v2 form, in which services are kept.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services and its messages.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.services.run.annotations import OF_CONTAINERS, RESERVED, SERVICE, TEMPLATE, read

API_VERSION = "serving.knative.dev/v1"
UNSUPPORTED = ("envFrom", "imagePullPolicy", "securityContext", "terminationMessagePath", "terminationMessagePolicy",
               "enableServiceLinks", "imagePullSecrets", "exec", "configMap", "configMapKeyRef", "optional",
               "configurationName")  # fmt: skip
"""Fields the reference says are not supported by Cloud Run. No source for the words of the refusal."""
NOT_EMULATED = ("nodeSelector", "runtimeClassName", "sandboxes", "csi", "nfs", "filestore", "sandboxLauncher")


def service_in(sent: Body) -> Body:
    """What a caller wrote, in the v2 form; output-only parts are dropped."""
    _check_header(sent)
    metadata, spec = sent.get("metadata", {}), sent.get("spec", {})
    body = read(metadata.get("annotations", {}), SERVICE)
    body["labels"] = own(metadata.get("labels", {}))
    if "template" in spec:
        body["template"] = template_in(spec["template"])
    body["traffic"] = [target_in(each) for each in spec.get("traffic", [])]
    return body


def _check_header(sent: Body) -> None:
    """Source: `apiVersion` and `kind` in the reference of Service: "It must be …"."""
    for key, wanted in (("apiVersion", API_VERSION), ("kind", "Service")):
        if sent.get(key) != wanted:
            raise errors.invalid(f"{key}: Expected value {wanted}, but was '{sent.get(key, '')}'.")  # no source: words


def own(labels: dict[str, str]) -> dict[str, str]:
    """Labels without those that Cloud Run adds."""
    return {key: value for key, value in labels.items() if key.partition("/")[0] not in RESERVED}


def target_in(sent: Body) -> Body:
    refuse_fields(sent)
    target = {key: sent[key] for key in ("percent", "tag") if sent.get(key)}
    if sent.get("revisionName"):
        return target | {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": sent["revisionName"]}
    return target | {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"}


def template_in(sent: Body) -> Body:
    metadata, spec = sent.get("metadata", {}), sent.get("spec", {})
    refuse_fields(spec)
    annotations = metadata.get("annotations", {})
    body = read(annotations, TEMPLATE, OF_CONTAINERS)
    body["labels"] = own(metadata.get("labels", {}))
    if metadata.get("name"):
        body["revision"] = metadata["name"]
    for key, name in (
        ("containerConcurrency", "maxInstanceRequestConcurrency"),
        ("serviceAccountName", "serviceAccount"),
    ):
        if spec.get(key):
            body[name] = spec[key]
    if spec.get("timeoutSeconds"):
        body["timeout"] = f"{spec['timeoutSeconds']}s"
    body["containers"] = [container_in(each, annotations) for each in spec.get("containers", [])]
    body["volumes"] = [volume_in(each) for each in spec.get("volumes", [])]
    return body


def container_in(sent: Body, annotations: dict[str, str]) -> Body:
    """With what the template's annotations say of its containers."""
    refuse_fields(sent)
    plain = ("name", "image", "command", "args", "workingDir", "volumeMounts")
    body: Body = {key: copy.deepcopy(sent[key]) for key in plain if key in sent}
    body["env"] = [variable_in(each) for each in sent.get("env", [])]
    body["ports"] = [
        {key: each[key] for key in ("name", "containerPort") if key in each} for each in sent.get("ports", [])
    ]
    if sent.get("resources", {}).get("requests"):
        raise errors.not_emulated("resources.requests of a container")
    resources = {"limits": dict(sent.get("resources", {}).get("limits", {}))}
    idle = annotations.get("run.googleapis.com/cpu-throttling", "true").lower() == "true"
    boost = annotations.get("run.googleapis.com/startup-cpu-boost", "false").lower() == "true"
    body["resources"] = resources | ({"cpuIdle": True} if idle else {}) | ({"startupCpuBoost": True} if boost else {})
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in sent:
            body[name] = probe_in(sent[name])
    needed = json.loads(annotations.get("run.googleapis.com/container-dependencies", "{}"))
    if sent.get("name") in needed:
        body["dependsOn"] = needed[sent["name"]]
    return {key: value for key, value in body.items() if value != []}


def variable_in(sent: Body) -> Body:
    source = sent.get("valueFrom")
    if not source:
        return {key: sent[key] for key in ("name", "value") if sent.get(key)}
    refuse_fields(source)
    reference = source.get("secretKeyRef", {})
    refuse_fields(reference)
    secret = {"secret": reference.get("name", ""), "version": reference.get("key", "")}
    return {"name": sent.get("name", ""), "valueSource": {"secretKeyRef": secret}}


def probe_in(sent: Body) -> Body:
    refuse_fields(sent)
    if sent.get("successThreshold", 1) != 1:
        raise errors.invalid("successThreshold: must be 1 if set.")  # the reference of Probe; no source: words
    return {key: copy.deepcopy(value) for key, value in sent.items() if key != "successThreshold"}


def volume_in(sent: Body) -> Body:
    refuse_fields(sent)
    body = {"name": sent.get("name", "")}
    if "emptyDir" in sent:
        given = sent["emptyDir"]
        medium = {"medium": "MEMORY"} if given.get("medium") == "Memory" else {}
        body["emptyDir"] = medium | {key: given[key] for key in ("sizeLimit",) if key in given}
    if "secret" in sent:
        given = sent["secret"]
        refuse_fields(given)
        items = [{"path": each.get("path", ""), "version": each.get("key", "")}
                 | ({"mode": each["mode"]} if "mode" in each else {}) for each in given.get("items", [])]  # fmt: skip
        body["secret"] = {"secret": given.get("secretName", "")} | ({"items": items} if items else {})
        body["secret"] |= {"defaultMode": given["defaultMode"]} if "defaultMode" in given else {}
    return body


def refuse_fields(sent: dict[str, Any]) -> None:
    """400 for what Cloud Run does not take, 501 for what the emulator does not."""
    for name in UNSUPPORTED:
        if sent.get(name):
            raise errors.invalid(f"{name} is not supported by Cloud Run.")
    for name in NOT_EMULATED:
        if sent.get(name):
            raise errors.not_emulated(f"{name} in a service of Cloud Run v1")
