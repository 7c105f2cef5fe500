"""Annotations of the Knative form that are fields in the v2 form, and back.

Source: the annotations listed in https://cloud.google.com/run/docs/reference/rest/v1/ObjectMeta.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body

RESERVED = ("run.googleapis.com", "cloud.googleapis.com", "serving.knative.dev", "autoscaling.knative.dev")


@dataclass(frozen=True)
class Twin:
    """The v2 field (dotted path) behind an annotation, and how a value is read and written."""

    path: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _choice(**words: str) -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """One of some words, `a_b` for `a-b`, and its v2 name."""
    names = {word.replace("_", "-"): name for word, name in words.items()}

    def read(text: str) -> str:
        if text not in names:
            raise errors.invalid(f"Invalid value '{text}', expected one of {', '.join(names)}.")  # no source: words
        return names[text]

    back = {name: word for word, name in reversed(names.items())}
    return read, lambda name: back[name]


TEXT = (str, str)
FLAG = (lambda text: text.lower() == "true", lambda value: "true" if value else "false")
NUMBER = (int, str)
JSON = (json.loads, lambda value: json.dumps(value, separators=(",", ":")))
INGRESS = _choice(
    all="INGRESS_TRAFFIC_ALL",
    internal="INGRESS_TRAFFIC_INTERNAL_ONLY",
    internal_and_cloud_load_balancing="INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER",
    none="INGRESS_TRAFFIC_NONE",
)
EGRESS = _choice(all_traffic="ALL_TRAFFIC", private_ranges_only="PRIVATE_RANGES_ONLY", all="ALL_TRAFFIC")
ENVIRONMENT = _choice(gen1="EXECUTION_ENVIRONMENT_GEN1", gen2="EXECUTION_ENVIRONMENT_GEN2")
MODE = _choice(automatic="AUTOMATIC", manual="MANUAL")

SERVICE: dict[str, Twin] = {
    "run.googleapis.com/client-name": Twin("client", *TEXT),
    "run.googleapis.com/client-version": Twin("clientVersion", *TEXT),
    "run.googleapis.com/description": Twin("description", *TEXT),
    "run.googleapis.com/ingress": Twin("ingress", *INGRESS),
    "run.googleapis.com/launch-stage": Twin("launchStage", *TEXT),
    "run.googleapis.com/invoker-iam-disabled": Twin("invokerIamDisabled", *FLAG),
    "run.googleapis.com/default-url-disabled": Twin("defaultUriDisabled", *FLAG),
    "run.googleapis.com/custom-audiences": Twin("customAudiences", *JSON),
    "run.googleapis.com/minScale": Twin("scaling.minInstanceCount", *NUMBER),
    "run.googleapis.com/maxScale": Twin("scaling.maxInstanceCount", *NUMBER),
    "run.googleapis.com/scalingMode": Twin("scaling.scalingMode", *MODE),
    "run.googleapis.com/manualInstanceCount": Twin("scaling.manualInstanceCount", *NUMBER),
}
TEMPLATE: dict[str, Twin] = {
    "run.googleapis.com/client-name": Twin("client", *TEXT),
    "run.googleapis.com/client-version": Twin("clientVersion", *TEXT),
    "autoscaling.knative.dev/minScale": Twin("scaling.minInstanceCount", *NUMBER),
    "autoscaling.knative.dev/maxScale": Twin("scaling.maxInstanceCount", *NUMBER),
    "run.googleapis.com/execution-environment": Twin("executionEnvironment", *ENVIRONMENT),
    "run.googleapis.com/sessionAffinity": Twin("sessionAffinity", *FLAG),
    "run.googleapis.com/network-interfaces": Twin("vpcAccess.networkInterfaces", *JSON),
    "run.googleapis.com/vpc-access-egress": Twin("vpcAccess.egress", *EGRESS),
    "run.googleapis.com/vpc-access-connector": Twin("vpcAccess.connector", *TEXT),
}
OUTPUT_ONLY = frozenset(
    {
        "run.googleapis.com/operation-id",
        "run.googleapis.com/ingress-status",
        "run.googleapis.com/urls",
        "serving.knative.dev/creator",
        "serving.knative.dev/lastModifier",
    }
)
OF_CONTAINERS = frozenset(
    {
        "run.googleapis.com/cpu-throttling",
        "run.googleapis.com/startup-cpu-boost",
        "run.googleapis.com/container-dependencies",
    }
)
"""Annotations of a template that are fields of its containers."""


def read(annotations: Mapping[str, str], twins: Mapping[str, Twin], apart: frozenset[str] = frozenset()) -> Body:
    """The v2 fields that annotations stand for, the user's own under `annotations`; 501 for what is not emulated."""
    body: Body = {}
    for key, text in annotations.items():
        if key in twins:
            twin = twins[key]
            try:
                _put(body, twin.path, twin.read(text))
            except ValueError:
                raise errors.invalid(f"metadata.annotations: '{text}' is no value of {key}.") from None
        elif key not in OUTPUT_ONLY | apart and key.partition("/")[0] in RESERVED:
            raise errors.not_emulated(f"the annotation {key}")
        elif key not in OUTPUT_ONLY | apart:
            body.setdefault("annotations", {})[key] = text
    return body


def write(body: Body, twins: Mapping[str, Twin]) -> dict[str, str]:
    """The annotations of a v2 body."""
    told = ((key, twin, _take(body, twin.path)) for key, twin in twins.items())
    return dict(body.get("annotations", {})) | {
        key: twin.write(value) for key, twin, value in told if value not in (None, False, "")
    }


def _put(body: Body, path: str, value: Any) -> None:
    *folders, last = path.split(".")
    for key in folders:
        body = body.setdefault(key, {})
    body[last] = value


def _take(body: Any, path: str) -> Any:
    for key in path.split("."):
        body = body.get(key) if isinstance(body, dict) else None
    return body
