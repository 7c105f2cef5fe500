"""How much of each thing a project may have, and the refusal of more.

`POST /_emulator/quotas {"project", "metric", "limit", "region"?}` sets another limit. Kinds ask at insert:
Compute Engine's by `exceeded`, others by `left`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.emulator.accounts import ACCOUNTS
from tests.emulator.errors import ApiError
from tests.emulator.latencies import NONE
from tests.emulator.world import Project, Record

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud

DESCRIBED = (
    "no list by Google: what `gcloud compute project-info describe` shows of a new project, in public repositories"
)
REGION = "no list by Google: what `gcloud compute regions describe` shows of a new project, in public repositories"


@dataclass(frozen=True)
class Quota:
    """A limit, what it is counted over (`global` or `region`), and who says so."""

    limit: float
    scope: str
    source: str
    at_once: bool = False
    """Whether the call itself is refused (403 quotaExceeded); otherwise its operation ends in QUOTA_EXCEEDED."""


QUOTAS: dict[str, Quota] = {
    "NETWORKS": Quota(5, "global", DESCRIBED),
    "SUBNETWORKS": Quota(100, "global", DESCRIBED),
    "FIREWALLS": Quota(100, "global", DESCRIBED),
    "ROUTERS": Quota(10, "global", DESCRIBED),
    "ROUTES": Quota(200, "global", NONE),
    "SNAPSHOTS": Quota(1000, "global", DESCRIBED),
    "IMAGES": Quota(100, "global", NONE),
    "GLOBAL_INTERNAL_ADDRESSES": Quota(5000, "global", DESCRIBED),
    "CPUS_ALL_REGIONS": Quota(32, "global", "GoogleCloudPlatform/ai-on-gke#849: the quota; its figure: " + NONE),
    "STATIC_ADDRESSES": Quota(8, "region", REGION),
    "CPUS": Quota(24, "region", REGION),
    "DISKS_TOTAL_GB": Quota(4096, "region", REGION, at_once=True),
    "SSD_TOTAL_GB": Quota(500, "region", REGION, at_once=True),
    "iam.serviceAccounts": Quota(100, "global", "https://cloud.google.com/iam/quotas#limits"),
    "sql.instances": Quota(1000, "global", "https://cloud.google.com/sql/docs/mysql/create-instance"),
    "run.services": Quota(1000, "region", "https://cloud.google.com/run/quotas"),
    "run.cpu": Quota(20_000, "region", "googlecodelabs/feedback#1856: CpuAllocPerProjectRegion of a new project"),
    "run.memory": Quota(40 * 2**30, "region", "googlecodelabs/feedback#1856: MemAllocPerProjectRegion"),
}
"""By metric: Compute Engine's own names in capitals, elsewhere the collection counted.

What is refused at once and what by the operation's error: openshift-evangelists/openshifter#15 (a disk, at once),
mesosphere-backup/terraform-dcos#61 and other logs (instances, addresses, networks: "code": "QUOTA_EXCEEDED").
"""
ONE_EACH = {
    "compute.networks": "NETWORKS",
    "compute.subnetworks": "SUBNETWORKS",
    "compute.firewalls": "FIREWALLS",
    "compute.routers": "ROUTERS",
    "compute.routes": "ROUTES",
    "compute.snapshots": "SNAPSHOTS",
    "compute.images": "IMAGES",
    "run.projects.locations.services": "run.services",
    "sql.instances": "sql.instances",
    ACCOUNTS: "iam.serviceAccounts",
}
Demand = dict[str, float]


def limit(cloud: Cloud, project: Project, metric: str, region: str) -> float:
    """The limit in force; region is "" for what is counted over the whole project."""
    return cloud.world.limits.get((project.id, metric, region), QUOTAS[metric].limit)


def set_limit(cloud: Cloud, sent: dict[str, Any]) -> dict[str, Any]:
    """The control path: KeyError for an unknown metric or project."""
    metric, region = sent["metric"], sent.get("region", "")
    if not metric.startswith("calls.") and (QUOTAS[metric].scope == "region") is not bool(region):
        raise ValueError(f"{metric} is counted over each {QUOTAS[metric].scope}")
    cloud.world.limits[cloud.world.projects[sent["project"]].id, metric, region] = float(sent["limit"])
    return {"metric": metric, "limit": float(sent["limit"]), "region": region}


def usage(cloud: Cloud, project: Project, metric: str, region: str) -> float:
    """What there is now: the demand of all records of the project, in the region."""
    mine = (each for each in cloud.world.all() if f"/projects/{project.id}/" in each.name)
    return sum(demand(each).get(metric, 0) for each in mine if not region or _region(each) == region)


def left(cloud: Cloud, project: Project, metric: str, region: str = "") -> float:
    """How much more there may be."""
    return limit(cloud, project, metric, region) - usage(cloud, project, metric, region)


def shown(cloud: Cloud, project: Project, region: str = "") -> list[dict[str, Any]]:
    """`quotas` of compute.projects.get or, with a region, of compute.regions.get."""
    scope = "region" if region else "global"
    metrics = [metric for metric, quota in QUOTAS.items() if quota.scope == scope and metric.isupper()]
    return [
        {
            "metric": metric,
            "limit": limit(cloud, project, metric, region),
            "usage": usage(cloud, project, metric, region),
        }
        for metric in metrics
    ]


def exceeded(cloud: Cloud, project: Project, record: Record) -> ApiError | None:
    """The error that ends the insert of a record of Compute Engine which is not there yet; raised where it is at once.

    Source of the words: mesosphere-backup/terraform-dcos#61, fastai/course-v3#165 ("globally").
    """
    for metric, wanted in demand(record).items():
        quota = QUOTAS[metric]
        region = _region(record) if quota.scope == "region" else ""
        if wanted <= left(cloud, project, metric, region):
            continue
        where = f"in region {region}" if region else "globally"
        most = limit(cloud, project, metric, region)
        message = f"Quota '{metric}' exceeded.  Limit: {most:.1f} {where}."
        if quota.at_once:
            raise ApiError(403, message, reason="quotaExceeded")
        return ApiError(403, message, reason="QUOTA_EXCEEDED")
    return None


def check_accounts(cloud: Cloud, project: Project) -> None:
    """Source of the words: a public script that compares them; no source found for the code."""
    if left(cloud, project, "iam.serviceAccounts") < 1:
        message = "Maximum number of service accounts on project reached."
        raise ApiError(429, message, reason="rateLimitExceeded")


def check_sql_instances(cloud: Cloud, project: Project) -> None:
    """Source: hashicorp/terraform-provider-google#15337."""
    if left(cloud, project, "sql.instances") < 1:
        message = "Failed to create instance because the project has reached the max instance per project limit."
        raise ApiError(403, message, reason="errorMaxInstancePerLabel")


def check_services(cloud: Cloud, project: Project, region: str) -> None:
    """No source for code or words: those of Cloud Run's limits on rates (googleapis/repo-automation-bots#4469)."""
    if left(cloud, project, "run.services", region) < 1:
        raise ApiError(429, f"Quota exceeded for services of Cloud Run in region {region}.")


# -- what a record counts for ------------------------------------------------------------------------------------------


def demand(record: Record) -> Demand:
    """By metric, how much of it a record takes."""
    counted = _COUNTED.get(record.collection)
    if counted is not None:
        return counted(record.body)
    metric = ONE_EACH.get(record.collection)
    return {metric: 1} if metric else {}


def _addresses(body: dict[str, Any]) -> Demand:
    return {} if body.get("addressType") == "INTERNAL" else {"STATIC_ADDRESSES": 1}


def _global_addresses(body: dict[str, Any]) -> Demand:
    """External global addresses have a quota of their own, which is not here."""
    return {"GLOBAL_INTERNAL_ADDRESSES": 1} if body.get("addressType") == "INTERNAL" else {}


def _disks(body: dict[str, Any]) -> Demand:
    """Source: https://cloud.google.com/compute/resource-usage#disk_quota (balanced disks count as SSD)."""
    standard = str(body.get("type", "pd-standard")).endswith("pd-standard")
    return {"DISKS_TOTAL_GB" if standard else "SSD_TOTAL_GB": float(body.get("sizeGb", 0))}


def _instances(body: dict[str, Any]) -> Demand:
    """vCPUs of E2, N1 and shared-core types while it runs; other series have quotas of their own, which are not here.

    Source: https://cloud.google.com/compute/resource-usage#cpu_quota
    """
    machine = str(body.get("machineType", "")).rpartition("/")[2]
    if body.get("status") in ("TERMINATED", "STOPPED", "SUSPENDED"):
        return {}
    found = re.fullmatch(r"(?:(?:e2|n1)-)?(?:custom-(\d+)-\d+|\w+-(\d+))", machine)
    shared = {"f1-micro": 1, "g1-small": 1, "e2-micro": 2, "e2-small": 2, "e2-medium": 2}.get(machine, 0)
    count = float(shared or (found[1] or found[2] if found else 0))
    return {"CPUS": count, "CPUS_ALL_REGIONS": count} if count else {}


_COUNTED: dict[str, Callable[[dict[str, Any]], Demand]] = {
    "compute.addresses": _addresses,
    "compute.globalAddresses": _global_addresses,
    "compute.disks": _disks,
    "compute.instances": _instances,
}


def _region(record: Record) -> str:
    """Region of a record, by its name: `…/zones/us-central1-a/…`, `…/regions/…/…` or `…/locations/…/…`."""
    found = re.search(r"/(zones|regions|locations)/([^/]+)/", record.name)
    return "" if found is None else found[2].rpartition("-")[0] if found[1] == "zones" else found[2]
