"""A project in Compute Engine. Source: https://cloud.google.com/compute/docs/reference/rest/v1/projects"""

from __future__ import annotations

import pytest
from google.api_core.exceptions import Forbidden, GoogleAPICallError, PreconditionFailed
from google.cloud import compute_v1

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import metadata


def projects(google: Emulated, member: str = "") -> compute_v1.ProjectsClient:
    credentials = google.credentials_of(member) if member else google.credentials
    return compute_v1.ProjectsClient(credentials=credentials, client_options=google.options("compute"))


def changed(google: Emulated, mark: str, member: str = "", **items: str) -> None:
    new = metadata(**items)
    new.fingerprint = mark
    projects(google, member).set_common_instance_metadata_unary(project=google.project, metadata_resource=new)


def test_a_project_tells_its_number_and_default_account(google: Emulated) -> None:
    told = projects(google).get(project=google.project)
    number = google.cloud.world.projects[google.project].number
    assert (told.name, told.id) == (google.project, number)
    assert told.default_service_account == f"{number}-compute@developer.gserviceaccount.com"
    assert list(told.common_instance_metadata.items) == []


def test_a_project_tells_what_it_may_have_in_all_regions(google: Emulated) -> None:
    """Source: `quotas` in the reference; "gcloud compute project-info describe" prints them."""
    sent = {"project": google.project, "metric": "NETWORKS", "limit": 7}
    google.http().post("/_emulator/quotas", json=sent).raise_for_status()
    told = {each.metric: (each.limit, each.usage) for each in projects(google).get(project=google.project).quotas}
    assert told["NETWORKS"] == (7, 0)
    assert "CPUS_ALL_REGIONS" in told and "CPUS" not in told


def test_metadata_of_all_instances_changes_with_a_fresh_fingerprint_alone(google: Emulated) -> None:
    mark = projects(google).get(project=google.project).common_instance_metadata.fingerprint
    changed(google, mark, enable_oslogin="TRUE")
    kept = projects(google).get(project=google.project).common_instance_metadata
    assert [(each.key, each.value) for each in kept.items] == [("enable-oslogin", "TRUE")]
    for stale in (mark, ""):
        with pytest.raises(PreconditionFailed, match="Supplied fingerprint does not match"):
            changed(google, stale, enable_oslogin="FALSE")


def test_it_has_the_limits_of_metadata(google: Emulated) -> None:
    mark = projects(google).get(project=google.project).common_instance_metadata.fingerprint
    with pytest.raises(GoogleAPICallError, match="maximum size 262144 character") as refused:
        changed(google, mark, a="x" * 262_145)
    assert refused.value.code == 413


def test_who_sets_it_acts_as_the_accounts_of_all_instances(google: Emulated) -> None:
    member = "user:admin@example.com"
    google.grant("roles/compute.admin", member)
    mark = projects(google).get(project=google.project).common_instance_metadata.fingerprint
    words = rf"Required 'iam\.serviceAccounts\.actAs' permission for 'projects/{google.project}'"
    with pytest.raises(Forbidden, match=words):
        changed(google, mark, member, a="1")
    google.grant("roles/iam.serviceAccountUser", member)
    changed(google, mark, member, a="1")
