"""Who gets how much: from what a service asks for to what it does.

Source: https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator

from tests.emulator.kind import Body
from tests.emulator.services.run.base import Violation
from tests.emulator.services.run.conditions import Failure
from tests.emulator.world import Project

LATEST = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
REVISION = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
LONGEST_TAGGED = 46
"""Characters of tag and service together. Source: the rollouts page, "must be 46 or fewer"."""
REGION_CODES = {
    "us-central1": "uc",
    "us-east1": "ue",
    "europe-west1": "ew",
    "europe-west4": "ez",
    "europe-north1": "lz",
}
"""What older addresses call a region. No source found but addresses of services in public places."""


def traffic_rules(targets: list[Body], service: str) -> Iterator[Violation]:
    """No source for the words; the rules are those of the reference of TrafficTarget."""
    total = 0
    for number, target in enumerate(targets):
        at, percent = f"traffic[{number}]", target.get("percent", 0)
        total += percent
        by_revision = target.get("type") == REVISION
        if not 0 <= percent <= 100:
            yield Violation(f"{at}.percent", "must be between 0 and 100.")
        if target.get("type") not in (LATEST, REVISION):
            yield Violation(f"{at}.type", "must be specified.")
        elif by_revision != bool(target.get("revision")):
            yield Violation(f"{at}.revision", "must be set if and only if the type is REVISION.")
        tag = target.get("tag", "")
        if tag and (len(tag) + len(service) > LONGEST_TAGGED or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", tag)):
            yield Violation(f"{at}.tag", f"'{tag}' is not a valid tag.")
    tags = [target["tag"] for target in targets if target.get("tag")]
    if len(set(tags)) < len(tags):
        yield Violation("traffic", "tags must be unique.")
    if total != 100:
        yield Violation("traffic", f"percentages must sum up to 100, they are {total}.")


def resolved(body: Body, project: Project, ready: Collection[str], latest: str) -> list[Body]:
    """`trafficStatuses` of a service whose newest ready revision is `latest`; what leads nowhere is left out."""
    statuses = []
    for target in body["traffic"]:
        revision = target.get("revision") or latest
        if revision not in ready:
            continue
        status = {key: target[key] for key in ("type", "percent", "tag") if key in target} | {"revision": revision}
        if "tag" in target and not body.get("defaultUriDisabled"):
            status["uri"] = uri(body, project, f"{target['tag']}---")
        statuses.append(status)
    return statuses


def misrouted(body: Body, known: Collection[str]) -> Failure | None:
    """Traffic to a revision that is not there. Source: terraform-google-modules/terraform-docs-samples#269."""
    for target in body["traffic"]:
        if target.get("revision") and target["revision"] not in known:
            return Failure(
                f"Revision '{target['revision']}' does not exist or is deleted. Update all traffic to route to "
                "currently available revisions.",
                "REVISION_FAILED",
            )
    return None


def uri(body: Body, project: Project, tag: str = "") -> str:
    """`https://SERVICE-HASH-REGION.a.run.app`. Source: https://cloud.google.com/run/docs/triggering/https-request"""
    _, _, _, location, _, service = body["name"].split("/")
    seed = hashlib.sha256(f"{project.number}".encode()).digest()
    letters = "".join("abcdefghijklmnopqrstuvwxyz234567"[byte % 32] for byte in seed[:10])
    return f"https://{tag}{service}-{letters}-{REGION_CODES[location]}.a.run.app"


def urls(body: Body, project: Project) -> list[str]:
    """All addresses: `https://SERVICE-NUMBER.REGION.run.app`, where that is a DNS label, and the older one.

    Source: https://cloud.google.com/run/docs/triggering/https-request#deterministic
    """
    _, _, _, location, _, service = body["name"].split("/")
    label = f"{service}-{project.number}"
    newer = [f"https://{label}.{location}.run.app"] if len(label) <= 63 else []
    return [*newer, uri(body, project)]
