"""From the v2 form, in which services and revisions are kept, to the Knative (v1) form.

Source: https://cloud.google.com/run/docs/reference/rest/v1/namespaces.services and its messages.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.emulator.kind import Body
from tests.emulator.services.run.annotations import SERVICE, TEMPLATE, write
from tests.emulator.services.run.knative_in import API_VERSION
from tests.emulator.world import Project, Record

STATUSES = {"CONDITION_SUCCEEDED": "True", "CONDITION_FAILED": "False"}


def service_out(record: Record, project: Project) -> Body:
    body = record.body
    annotations = write(body, SERVICE) | {
        "run.googleapis.com/ingress-status": SERVICE["run.googleapis.com/ingress"].write(body["ingress"]),
        "run.googleapis.com/operation-id": str(record.hidden.get("operation", "")),
        "run.googleapis.com/urls": json.dumps(body.get("urls", []), separators=(",", ":")),
        "serving.knative.dev/creator": body["creator"],
        "serving.knative.dev/lastModifier": body["lastModifier"],
    }
    metadata = meta("services", record, project) | {
        "annotations": annotations,
        "labels": body.get("labels", {}) | {"cloud.googleapis.com/location": body["name"].split("/")[3]},
        "generation": int(body["generation"]),
    }
    spec = {"template": template_out(body["template"]), "traffic": [target_out(each) for each in body["traffic"]]}
    status = _status(body, ("terminalCondition", "conditions")) | _addresses(body)
    for key in ("latestReadyRevision", "latestCreatedRevision"):
        if body.get(key):
            status[f"{key}Name"] = _short(body[key])
    status["traffic"] = [target_out(each) for each in body.get("trafficStatuses", [])]
    return {"apiVersion": API_VERSION, "kind": "Service", "metadata": metadata, "spec": spec, "status": status}


def _status(body: Body, keys: tuple[str, ...]) -> Body:
    """Conditions, and the generation they are about: while a change is on its way that is the one before.

    Source: `observedGeneration` in the reference of ServiceStatus.
    """
    told = [body[key] if isinstance(body.get(key), list) else [body[key]] for key in keys if key in body]
    seen = int(body["generation"]) - (1 if body["reconciling"] else 0)
    conditions = [condition_out(each) for each in (entry for group in told for entry in group)]
    return {"conditions": conditions} | ({"observedGeneration": seen} if seen else {})


def _addresses(body: Body) -> Body:
    return {"url": body["uri"], "address": {"url": body["uri"]}} if body.get("uri") else {}


def revision_out(record: Record, project: Project) -> Body:
    body = record.body
    service = body["service"]
    labels = body.get("labels", {}) | {
        "cloud.googleapis.com/location": body["name"].split("/")[3],
        "serving.knative.dev/configuration": service,
        "serving.knative.dev/configurationGeneration": str(record.hidden["number"]),
        "serving.knative.dev/service": service,
    }
    template = template_out(body)
    annotations = template["metadata"]["annotations"] | {"serving.knative.dev/creator": body["creator"]}
    metadata = meta("revisions", record, project) | {"annotations": annotations, "labels": labels, "generation": 1}
    status = _status(body, ("conditions",)) | {"logUrl": body["logUri"]}
    if found := body.get("containerStatuses"):
        status["containerStatuses"] = found
        status |= {"imageDigest": found[0]["imageDigest"]} if "imageDigest" in found[0] else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "Revision",
        "metadata": metadata,
        "spec": template["spec"],
        "status": status,
    }


def route_out(record: Record, project: Project) -> Body:
    """The half of a service that is about traffic."""
    service = service_out(record, project)
    conditions = _alone(service, "RoutesReady")
    kept = {key: service["status"][key] for key in ("address", "observedGeneration", "traffic", "url")
            if key in service["status"]}  # fmt: skip
    return {
        "apiVersion": API_VERSION,
        "kind": "Route",
        "metadata": _part_of(service, "routes"),
        "spec": {"traffic": service["spec"]["traffic"]},
        "status": kept | {"conditions": conditions},
    }


def configuration_out(record: Record, project: Project) -> Body:
    """The half of a service that is about revisions."""
    service = service_out(record, project)
    conditions = _alone(service, "ConfigurationsReady")
    kept = {key: service["status"][key] for key in ("latestCreatedRevisionName", "latestReadyRevisionName",
                                                    "observedGeneration") if key in service["status"]}  # fmt: skip
    return {
        "apiVersion": API_VERSION,
        "kind": "Configuration",
        "metadata": _part_of(service, "configurations"),
        "spec": {"template": service["spec"]["template"]},
        "status": kept | {"conditions": conditions},
    }


def _alone(service: Body, kind: str) -> list[Body]:
    """One condition of a service as the `Ready` of its half."""
    return [each | {"type": "Ready"} for each in service["status"]["conditions"] if each["type"] == kind]


def _part_of(service: Body, plural: str) -> Body:
    metadata: Body = copy.deepcopy(service["metadata"])
    metadata["labels"]["serving.knative.dev/service"] = metadata["name"]
    metadata["selfLink"] = metadata["selfLink"].replace("/services/", f"/{plural}/")
    return metadata


def meta(plural: str, record: Record, project: Project) -> Body:
    """What all metadata has. The namespace is the project's number, as gcloud shows it."""
    name = _short(record.body["name"])
    return {
        "name": name,
        "namespace": str(project.number),
        "selfLink": f"/apis/{API_VERSION}/namespaces/{project.number}/{plural}/{name}",
        "uid": record.body["uid"],
        "resourceVersion": record.hidden["version"],
        "creationTimestamp": record.body["createTime"],
    }


def template_out(body: Body) -> Body:
    containers = body["containers"]
    annotations = write(body, TEMPLATE)
    if not all(each["resources"].get("cpuIdle") for each in containers):
        annotations["run.googleapis.com/cpu-throttling"] = "false"
    if any(each["resources"].get("startupCpuBoost") for each in containers):
        annotations["run.googleapis.com/startup-cpu-boost"] = "true"
    if needs := {each["name"]: each["dependsOn"] for each in containers if each.get("dependsOn")}:
        annotations["run.googleapis.com/container-dependencies"] = json.dumps(needs, separators=(",", ":"))
    metadata = {"annotations": annotations, "labels": dict(body.get("labels", {}))}
    spec: Body = {
        "containerConcurrency": body["maxInstanceRequestConcurrency"],
        "timeoutSeconds": int(float(body["timeout"].removesuffix("s"))),
        "serviceAccountName": body["serviceAccount"],
        "containers": [container_out(each) for each in containers],
    }
    if body.get("volumes"):
        spec["volumes"] = [volume_out(each) for each in body["volumes"]]
    return {"metadata": metadata | ({"name": body["revision"]} if body.get("revision") else {}), "spec": spec}


def container_out(body: Body) -> Body:
    shown = {key: copy.deepcopy(value) for key, value in body.items() if key not in ("dependsOn", "env", "resources")}
    shown["resources"] = {"limits": body["resources"]["limits"]}
    if body.get("env"):
        shown["env"] = [variable_out(each) for each in body["env"]]
    return shown


def variable_out(body: Body) -> Body:
    if "valueSource" not in body:
        return dict(body)
    reference = body["valueSource"]["secretKeyRef"]
    secret = {"name": reference["secret"], "key": reference.get("version") or "latest"}
    return {"name": body["name"], "valueFrom": {"secretKeyRef": secret}}


def volume_out(body: Body) -> Body:
    shown: Body = {"name": body["name"]}
    if "emptyDir" in body:
        given = body["emptyDir"]
        shown["emptyDir"] = ({"medium": "Memory"} if given.get("medium") == "MEMORY" else {}) | {
            key: given[key] for key in ("sizeLimit",) if key in given
        }
    if "secret" in body:
        given = body["secret"]
        items = [{"key": each["version"]} | {key: each[key] for key in ("path", "mode") if key in each}
                 for each in given.get("items", [])]  # fmt: skip
        shown["secret"] = {"secretName": given["secret"]} | ({"items": items} if items else {})
        shown["secret"] |= {"defaultMode": given["defaultMode"]} if "defaultMode" in given else {}
    return shown


def target_out(body: Body) -> Body:
    shown: Body = {key: body[key] for key in ("percent", "tag") if key in body}
    if body["type"].endswith("LATEST"):
        shown["latestRevision"] = True
    if body.get("revision"):
        shown["revisionName"] = body["revision"]
    return shown | ({"url": body["uri"]} if "uri" in body else {})


def condition_out(body: Body) -> Body:
    shown = {"type": body["type"], "status": STATUSES.get(body["state"], "Unknown")}
    shown["lastTransitionTime"] = body["lastTransitionTime"]
    reason = body.get("revisionReason") or body.get("reason")
    if reason:
        shown["reason"] = "".join(word.capitalize() for word in reason.split("_"))
    if body.get("severity") == "INFO":
        shown["severity"] = "Info"
    return shown | ({"message": body["message"]} if "message" in body else {})


def _short(name: Any) -> str:
    return str(name).rpartition("/")[2]
