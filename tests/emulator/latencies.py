"""How long each kind of work takes at Google, in seconds, and who says so.

One scale factor multiplies all of them: near zero for tests, a realistic ratio for benches. Where no document or public
issue was found that gives a figure, the source says "no source" and the figure is an estimate, no more.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """Seconds of one kind of work, and where the figure comes from."""

    seconds: float
    source: str
    fixed: bool = False
    """True for what lasts as long at every scale: what comes back at once in no test comes back at once at Google."""


NONE = "no source: estimate"
RELEASE = "https://cloud.google.com/run/docs/configuring/vpc-direct-vpc#delete-subnet"
SQL_TIMES = "hashicorp/terraform-provider-google#14770: 15 to 20 minutes are normal"

IAM_READS = "https://cloud.google.com/iam/docs/reference/rest: each read is eventually consistent; no figure"
NEW_ACCOUNT = "https://cloud.google.com/iam/docs/service-accounts-create: wait for 60 seconds or more before you use it"
ENABLED = "hashicorp/terraform-provider-google#2129: a sleep of 30 s after enabling; the refusal says a few minutes"

LATENCIES: dict[str, Latency] = {
    "settle.grant": Latency(
        120, "https://cloud.google.com/iam/docs/access-change-propagation: typically 2 minutes, 7 or more are possible"
    ),
    "settle.read": Latency(2, IAM_READS),
    "settle.account": Latency(60, NEW_ACCOUNT),
    "settle.service": Latency(60, ENABLED),
    "operation.pending": Latency(0.5, NONE),
    "compute.insert": Latency(8, NONE),
    "compute.delete": Latency(3, "gravitational/workshop#80: disks"),
    "compute.update": Latency(4, NONE),
    "compute.networks.insert": Latency(7, "GoogleCloudPlatform/magic-modules#5031: insertTime to endTime"),
    "compute.networks.delete": Latency(30, NONE),
    "compute.subnetworks.insert": Latency(15, NONE),
    "compute.subnetworks.delete": Latency(15, NONE),
    "compute.routers.insert": Latency(11, "terraform-google-modules/terraform-google-network#365"),
    "compute.instances.insert": Latency(12, NONE),
    "compute.instances.delete": Latency(60, NONE),
    "compute.instances.stop": Latency(
        30, "https://cloud.google.com/compute/docs/instances/stop-start-instance (90 s at most)"
    ),
    "compute.instances.start": Latency(10, NONE),
    "sql.instances.insert": Latency(900, SQL_TIMES),
    "sql.instances.update": Latency(60, NONE),
    "sql.instances.delete": Latency(100, "hashicorp/terraform-provider-google#13887: 1m40s and more"),
    "sql.instances.clone": Latency(600, NONE),
    "sql.instances.restart": Latency(60, NONE),
    "sql.restore": Latency(300, NONE),
    "sql.backup": Latency(90, NONE),
    "sql.export": Latency(60, NONE),
    "sql.import": Latency(60, NONE),
    "sql.databases": Latency(5, "kubernetes/k8s.io#2758"),
    "sql.users": Latency(4, "kubernetes/k8s.io#2758"),
    "run.services": Latency(15, NONE),
    "run.delete": Latency(5, NONE),
    "run.jobs": Latency(5, NONE),
    "run.executions": Latency(30, NONE),
    "run.certificate": Latency(
        900, "https://cloud.google.com/run/docs/mapping-custom-domains: about 15 minutes, up to 24 hours"
    ),
    "rate.buckets": Latency(2, "https://cloud.google.com/storage/quotas#buckets"),
    "rate.object": Latency(1, "https://cloud.google.com/storage/quotas#objects"),
    "artifactregistry.repositories": Latency(8, NONE),
    "serviceusage.enable": Latency(20, NONE),
    "servicenetworking.connections": Latency(22, "ansible-collections/google.cloud#476: gcloud took 21.6 s"),
    "cloudbuild.builds": Latency(60, NONE),
    "cloudresourcemanager.projects": Latency(10, NONE),
    "release.subnetwork": Latency(3600, RELEASE + ": the addresses are kept for 1 to 2 hours"),
    "release.connection": Latency(5400, "hashicorp/terraform-provider-google#16275: producer services still in use"),
    "release.sql.name": Latency(
        604800, "cloudfoundry/bosh#2741: a week or more; the documentation says at once", fixed=True
    ),
}
"""Work by kind. Some keys are no work: those that begin with `release.` are how long something deleted stays in use,
with `settle.` how long a write is not known everywhere (settling.py), with `rate.` how far apart some calls must be."""
