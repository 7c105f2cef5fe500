"""A host name of the user's for the front door: mapped, its records told, its certificate seen; on the emulator."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import Blocked
from blocks.gcp.domain import DomainMapping, Record, unverified
from blocks.resource import Apply, plan, visit, visit_to_delete
from tests import google
from tests.emulator.services.run.domains import verify

DOMAIN = "prefect.example.com"


@pytest.fixture(scope="module")
def project() -> google.Project:
    """A project with the service that a domain leads to, and another one."""
    made = google.project()
    for name in ("trial", "other"):
        body = {"template": {"containers": [{"image": "us-docker.pkg.dev/cloudrun/container/hello"}]}}
        path = f"v2/projects/{made.id}/locations/{google.REGION}/services"
        made.seen_by().rest("making", "POST", "run", path, body, serviceId=name)
    google.pass_seconds(60)
    return made


def mapping(project: google.Project, domain: str = DOMAIN, service: str = "trial") -> DomainMapping:
    return DomainMapping(project.seen_by(), service, google.REGION, domain, ())


def test_whoever_does_not_own_the_domain_is_told_where_to_say_so(project: google.Project) -> None:
    domain = "prefect.stranger.org"
    assert unverified(project.seen_by(), domain).endswith(f"?domain={domain}")
    with pytest.raises(Blocked, match="not authorized to administer the domain"):
        visit(mapping(project, domain), Apply())
    verify(project.cloud, project.id, "stranger.org", pointed=False)
    assert unverified(project.seen_by(), domain) == ""
    assert plan([mapping(project, domain)]) == []


def test_mapped_with_its_records_and_nothing_waits_for_them(project: google.Project) -> None:
    verify(project.cloud, project.id, "example.com", pointed=False)
    mapped = mapping(project)
    assert mapped.condition().reason == "Missing"
    assert [each.action for each in plan([mapped])] == ["create"]
    visit(mapped, Apply())
    assert plan([mapped]) == []
    assert mapped.records() == [Record("CNAME", "ghs.googlehosted.com.")]
    seen = mapped.condition()
    assert (seen.status, seen.reason) == (False, "CertificatePending")
    assert seen.message.endswith("(DNS records: CNAME ghs.googlehosted.com.)")
    visit_to_delete(mapped, Apply())
    assert mapped.find() is None


def test_it_serves_once_the_records_lead_to_google_and_the_certificate_is_there(project: google.Project) -> None:
    verify(project.cloud, project.id, "example.net", pointed=True)
    mapped = mapping(project, "example.net")
    visit(mapped, Apply())
    assert {each.type for each in mapped.records()} == {"A", "AAAA"}
    google.pass_seconds(3600)
    assert (mapped.condition().status, mapped.condition().message) == (True, "https://example.net has its certificate")


def test_a_domain_that_leads_elsewhere_stands_in_the_way(project: google.Project) -> None:
    verify(project.cloud, project.id, "taken.org", pointed=False)
    visit(mapping(project, "taken.org", "other"), Apply())
    with pytest.raises(Blocked, match="is mapped already, and not by this stack"):
        plan([mapping(project, "taken.org")])
    assert visit_to_delete(mapping(project, "taken.org"), Apply()).action == "leave"


@pytest.mark.parametrize("method", ["create", "delete"])
@pytest.mark.parametrize("fault", [{"kind": "error", "code": 429}, {"kind": "error"}, {"kind": "reset-after"}])
def test_a_lost_answer_ends_in_the_same_mapping(project: google.Project, fault: dict[str, Any], method: str) -> None:
    verify(project.cloud, project.id, "example.com", pointed=False)
    mapped = mapping(project)
    with project.fault(**fault, method=f"run.projects.locations.domainmappings.{method}"):
        visit(mapped, Apply())
        assert plan([mapped]) == []
        visit_to_delete(mapped, Apply())
    assert mapped.find() is None
