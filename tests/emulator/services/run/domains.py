"""Domain mappings, and the domains whose ownership is verified.

At Google a caller verifies a domain in the Search Console and points its DNS records at Google; here `verify` stands
for both, by `POST /_emulator/domains`. Until the records point the certificate is pending, as at Google.

Source: https://cloud.google.com/run/docs/mapping-custom-domains and the reference of v1.namespaces.domainmappings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.run.base import missing, unique
from tests.emulator.services.run.knative import SUCCESS, KnativeKind
from tests.emulator.world import Project, Record

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud

API_VERSION = "domains.cloudrun.com/v1"
MAPPINGS = "run.namespaces.domainmappings"
DOMAINS = "run.namespaces.authorizeddomains"
DOMAIN = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,}"
CNAME = ({"type": "CNAME", "rrdata": "ghs.googlehosted.com."},)
APEX = (
    *({"type": "A", "rrdata": f"216.239.{number}.21"} for number in (32, 34, 36, 38)),
    *({"type": "AAAA", "rrdata": f"2001:4860:4802:{number}::15"} for number in (32, 34, 36, 38)),
)
"""Source: is-a-dev/register#33960 and public `gcloud` output; the documents say that the records are shown."""


UNAUTHORIZED = (
    "Caller is not authorized to administer the domain '{domain}'. If you own '{domain}', you can obtain authorization "
    "by verifying ownership of the domain, or any of its parent domains, via the Webmaster Central portal: "
    "https://www.google.com/webmasters/verification/verification?domain={domain}. We recommend verifying ownership of "
    "the largest scope you wish to use with subdomains (eg. verify 'example.com' if you wish to map "
    "'subdomain.example.com')."
)
PENDING = "Waiting for certificate provisioning. You must configure your DNS records for certificate issuance to begin."


def failed(record: Record, reason: str, message: str) -> Body:
    since = record.body["createTime"]
    return {"type": "Ready", "status": "False", "reason": reason, "message": message, "lastTransitionTime": since}


def verify(cloud: Cloud, project: str, domain: str, pointed: bool) -> Record:
    """A domain that callers in a project may map; KeyError where there is no such project."""
    name = f"run/projects/{cloud.world.projects[project].id}/authorizeddomains/{domain}"
    record = cloud.world.find(name) or Record(name, DOMAINS, {"id": domain, "name": name.removeprefix("run/")})
    if pointed and "pointed" not in record.hidden:
        record.hidden["pointed"] = cloud.world.clock.now()
    return cloud.world.put(record)


class AuthorizedDomains(KnativeKind):
    """Domains of a project whose ownership is verified; at Google they are the caller's."""

    collection = DOMAINS
    owns_records = True

    def guards(self, call: Call) -> tuple[str, ...]:
        return (f"projects/{self.project_of(call).id}",)

    @on("list", "run.domainmappings.list")
    def listed(self, call: Call) -> Body:
        folder = f"run/projects/{self.project_of(call).id}/authorizeddomains/"
        return self.paged(call, "domains", [each.body for each in self.cloud.world.under(folder)])


class ProjectsDomains(AuthorizedDomains):
    collection = "run.projects.authorizeddomains"
    owns_records = False


class LocatedDomains(AuthorizedDomains):
    collection = "run.projects.locations.authorizeddomains"
    owns_records = False


class DomainMappings(KnativeKind):
    """Mappings of a namespace. Permissions: no page lists them; public custom roles name `run.domainmappings.*`."""

    collection = MAPPINGS
    owns_records = True
    shows = MAPPINGS
    word = "DOMAINMAPPING"

    def guards(self, call: Call) -> tuple[str, ...]:
        return (f"projects/{self.project_of(call).id}",)

    @on("get", "run.domainmappings.get")
    def get(self, call: Call) -> Body:
        return self.shown(self.existing(call), self.project_of(call))

    @on("list", "run.domainmappings.list")
    def listed(self, call: Call) -> Body:
        return self.listing(call, "DomainMappingList", self.shown) | {"apiVersion": API_VERSION}

    @on("create", "run.domainmappings.create")
    def create(self, call: Call) -> Body:
        domain, spec = str(call.body.get("metadata", {}).get("name", "")), call.body.get("spec", {})
        if not re.fullmatch(DOMAIN, domain) or not spec.get("routeName"):
            raise errors.invalid("metadata.name must be a domain and spec.routeName a service.")  # no source: words
        if spec.get("forceOverride") or spec.get("certificateMode") == "NONE":
            raise errors.not_emulated("a domain mapping with forceOverride or without a certificate")
        project, full = self.project_of(call), f"{self.full(call)}/domainmappings/{domain}"
        if self.cloud.world.find(f"run/{full}"):
            raise errors.already_exists(f"Resource '{domain}' already exists.")
        body = {"name": full, "uid": unique(project, f"{full}/{self.cloud.world.number()}"), "createTime": self.now}
        metadata = call.body["metadata"]
        body |= {"spec": {"certificateMode": "AUTOMATIC"} | spec, "creator": call.email}
        body |= {key: metadata[key] for key in ("labels", "annotations") if key in metadata}
        record = Record(f"run/{full}", MAPPINGS, body, {"version": self.next_version()})
        if call.get("dryRun") != "all":
            self.cloud.world.put(record)
        return self.shown(record, project)

    @on("delete", "run.domainmappings.delete")
    def delete(self, call: Call) -> Body:
        record = self.existing(call)
        if call.get("dryRun") != "all":
            self.cloud.world.drop(record.name)
        return SUCCESS

    def shown(self, record: Record, project: Project) -> Body:
        """With conditions as they are now: of its service, its domain, its certificate."""
        body, domain = record.body, record.name.rpartition("/")[2]
        link = f"/apis/{API_VERSION}/namespaces/{project.number}/domainmappings/{domain}"
        metadata = {
            "name": domain,
            "namespace": str(project.number),
            "selfLink": link,
            "uid": body["uid"],
            "resourceVersion": record.hidden["version"],
            "generation": 1,
            "creationTimestamp": body["createTime"],
            "labels": body.get("labels", {}) | {"cloud.googleapis.com/location": body["name"].split("/")[3]},
            "annotations": body.get("annotations", {}) | {"serving.knative.dev/creator": body["creator"]},
        }
        owned = self.verified(project, domain)
        status: Body = {"observedGeneration": 1, "conditions": self.conditions(record, owned, domain)}
        if owned is not None and self.service(record) is not None:
            status |= {"mappedRouteName": body["spec"]["routeName"], "resourceRecords": records(owned, domain)}
        return {"apiVersion": API_VERSION, "kind": "DomainMapping", "metadata": metadata, "spec": body["spec"],
                "status": status}  # fmt: skip

    def service(self, record: Record) -> Record | None:
        folder = record.name.rsplit("/domainmappings/", 1)[0]
        return self.cloud.world.find(f"{folder}/services/{record.body['spec']['routeName']}")

    def verified(self, project: Project, domain: str) -> Record | None:
        """The verified domain that a name is, or is below."""
        labels = domain.split(".")
        parents = (".".join(labels[number:]) for number in range(len(labels) - 1))
        found = (self.cloud.world.find(f"run/projects/{project.id}/authorizeddomains/{each}") for each in parents)
        return next((each for each in found if each is not None), None)

    def conditions(self, record: Record, owned: Record | None, domain: str) -> list[Body]:
        """Source: hashicorp/terraform-provider-google#19053 (ownership), #5173 (RouteMissing; its message is not
        printed there), and public `gcloud` output (CertificatePending)."""
        if owned is None:
            return [failed(record, "PermissionDenied", UNAUTHORIZED.replace("{domain}", domain))]
        if self.service(record) is None:
            name = f"{record.body['name'].rsplit('/domainmappings/', 1)[0]}/routes/{record.body['spec']['routeName']}"
            return [failed(record, "RouteMissing", missing("ROUTE", name).message)]
        return self.certified(record, owned)

    def certified(self, record: Record, owned: Record) -> list[Body]:
        """The conditions of a mapping that has its domain and its service."""
        since = {"lastTransitionTime": record.body["createTime"]}
        routable = {"type": "DomainRoutable", "status": "True", **since}
        state = {"status": "Unknown", "reason": "CertificatePending", "message": PENDING, **since}
        if pointed := owned.hidden.get("pointed"):
            issued = pointed + self.cloud.operations.latency("run.certificate")
            if issued <= self.cloud.world.clock.now():
                state = {"status": "True", "lastTransitionTime": rfc3339(issued)}
        return [{"type": "Ready", **state}, {"type": "CertificateProvisioned", **state}, routable]


class LocatedMappings(DomainMappings):
    collection = "run.projects.locations.domainmappings"
    owns_records = False


def records(owned: Record, domain: str) -> list[Body]:
    """What the domain's DNS must have: addresses for the apex, an alias below it.

    Which name is an apex Google reads from the public suffix list; here it is the verified domain, or one of two
    labels.
    """
    apex = owned.body["id"] if domain != owned.body["id"] else ".".join(domain.split(".")[-2:])
    if domain == apex:
        return [dict(each) for each in APEX]
    return [{"name": domain.removesuffix(f".{apex}"), **each} for each in CNAME]


KINDS = (DomainMappings, LocatedMappings, AuthorizedDomains, ProjectsDomains, LocatedDomains)
