"""What is in the way of a stack in a project, told all at once; on the emulator, a hardened project among them."""

from __future__ import annotations

from typing import Any

import pytest
from google.cloud import compute_v1

from blocks.gcp import permissions, preflight
from blocks.gcp.google import Google
from blocks.gcp_spec import Gcp
from blocks.resource import Apply, Resource, visit
from tests import google
from tests.contract.test_permissions import DEPLOYER, grant, parts
from tests.emulator.quotas import set_limit

OF_DOMAIN = "prefect.example.com"


@pytest.fixture
def project() -> google.Project:
    return google.project()


def told(seen: Google, resources: list[Resource] | None = None, **section: Any) -> list[str]:
    gcp = Gcp(project=seen.project, region=section.pop("region", google.REGION), **section)
    return preflight.faults(seen, gcp, parts(seen) if resources is None else resources)


def test_nothing_is_in_the_way_in_a_new_project_of_a_hardened_organization(project: google.Project) -> None:
    project.cloud.world.projects[project.id].organization = "example.com"
    assert told(project.seen_by()) == []


def test_nor_where_a_part_of_it_is_there_already(project: google.Project) -> None:
    seen = project.seen_by()
    for each in parts(seen)[:3]:
        visit(each, Apply())
    assert told(seen) == []


@pytest.mark.parametrize(
    "lacking", [("run.services.setIamPolicy",), ("compute.instances.create", "storage.buckets.get")]
)
def test_what_the_account_may_not_do_is_named_with_where_to_get_it(
    project: google.Project, lacking: tuple[str, ...]
) -> None:
    granted = tuple(each for each in permissions.DEPLOYER if each not in lacking)
    grant(project.seen_by(), DEPLOYER, granted)
    (fault,) = told(project.seen_by(DEPLOYER))
    assert fault.startswith(f"this account lacks {', '.join(lacking)} in {project.id}")
    assert f"selfhost permissions --project {project.id}" in fault


def test_each_permission_that_is_taken_away_is_named(project: google.Project) -> None:
    """By the same question as Google is asked, of one who lacks all of them."""
    (fault,) = told(project.seen_by("user:nobody@example.com"), [])
    assert [each for each in permissions.DEPLOYER if each not in fault] == []


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"region": "mars-west1"}, "there is no region 'mars-west1'"),
        ({"zone": f"{google.REGION}-x"}, f"{google.REGION} has no zone {google.REGION}-x"),
        ({"host": {"machine_type": "e9-huge"}}, f"{google.REGION}-b has no machines of type e9-huge"),
    ],
)
def test_a_place_that_has_not_what_is_wanted(project: google.Project, section: dict[str, Any], words: str) -> None:
    (fault,) = told(project.seen_by(), **section)
    assert fault.startswith(words)


def test_all_faults_are_told_together(project: google.Project) -> None:
    seen = project.seen_by()
    for metric, region in (("NETWORKS", ""), ("CPUS", google.REGION), ("SSD_TOTAL_GB", google.REGION)):
        set_limit(project.cloud, {"project": project.id, "metric": metric, "limit": 0, "region": region})
    theirs = compute_v1.Address(name="trial-services")
    seen.compute("GlobalAddresses").insert_unary(project=project.id, address_resource=theirs)
    faults = told(seen, domain="data.example.org")
    assert [each for each in faults if "quota" in each] == [
        f"the quota {what}; {wanted:g} more are needed (ask for more below IAM & Admin, Quotas)"
        for what, wanted in (
            (f"NETWORKS of {project.id} is 0, 0 in use", 1),
            (f"CPUS of {google.REGION} is 0, 0 in use", 2),
            (f"SSD_TOTAL_GB of {google.REGION} is 0, 0 in use", 10),
        )
    ]
    assert any("data.example.org" in each for each in faults)
    assert any("trial-services is there, and not this stack's" in each for each in faults)
    assert len(faults) == 5


def test_what_is_there_already_needs_no_quota(project: google.Project) -> None:
    seen = project.seen_by()
    (network,) = (each for each in parts(seen) if each.name == "network")
    visit(network, Apply())
    set_limit(project.cloud, {"project": project.id, "metric": "NETWORKS", "limit": 1})
    assert told(seen) == []
