"""The front door with all that stands at Google for it: in the right order, made once, as safe as is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from blocks.gcp.bucket import BucketResource
from blocks.gcp.network import Network
from blocks.gcp.proxy import DOMAIN, CloudRunProxy
from blocks.gcp_spec import GcpProxy
from blocks.resource import Apply, Resource, converge, in_order, plan, visit_to_delete
from tests import google
from tests.contract.test_image import Builder, builder
from tests.contract.test_network import Account
from tests.emulator.services.run.domains import verify

__all__ = ["builder"]  # a fixture


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def proxy(project: google.Project, builder: Builder) -> Iterator[CloudRunProxy]:
    seen = project.seen_by()
    network = Network(seen, "trial", google.REGION, f"trial-host@{project.id}.iam.gserviceaccount.com")
    yield CloudRunProxy(seen, network, f"{project.id}-trial", seen.number, GcpProxy(build="cloud-build"))


def parts(proxy: CloudRunProxy) -> list[Resource]:
    bucket = BucketResource(proxy.google, "trial", proxy.bucket, google.REGION)
    return [Account(), bucket, *proxy.network.resources(), *proxy.outside()]


def test_made_whole_and_then_as_wanted_and_removed(proxy: CloudRunProxy, builder: Builder) -> None:
    wanted = [each.name for each in proxy.outside()]
    assert [each for each in wanted if each not in [change.resource for change in plan(parts(proxy))]] == []
    converge(parts(proxy))
    assert plan(parts(proxy)) == [] and builder.built
    for each in reversed(in_order(parts(proxy))):
        if each.name in wanted:
            visit_to_delete(each, Apply())
    assert [change.resource for change in plan(parts(proxy))] == wanted


def test_only_the_account_of_builds_has_any_role(proxy: CloudRunProxy) -> None:
    converge(parts(proxy))
    asked = {"options": {"requestedPolicyVersion": 3}}
    path = f"v3/projects/{proxy.google.project}:getIamPolicy"
    policy = proxy.google.rest("reading", "POST", "cloudresourcemanager", path, asked)
    accounts = {member for each in policy["bindings"] for member in each["members"] if ":trial-" in member}
    assert accounts == {f"serviceAccount:trial-build@{proxy.google.project}.iam.gserviceaccount.com"}


def test_with_a_docker_engine_alone_nothing_of_cloud_build_is_made(proxy: CloudRunProxy) -> None:
    named = {each.name for each in replace(proxy, wanted=GcpProxy(build="docker")).outside()}
    assert {each.name for each in proxy.outside()} - named == {
        "service account of the build",
        "roles: service account of the build",
    }


def test_its_url_is_cloud_runs_until_the_domain_is_seen_to_serve(project: google.Project, proxy: CloudRunProxy) -> None:
    own = f"https://trial-{proxy.number}.{google.REGION}.run.app"
    verify(project.cloud, project.id, "example.com", pointed=True)
    with_domain = replace(proxy, domain="prefect.example.com")
    assert (proxy.mapping, proxy.learned(), proxy.url(), with_domain.url()) == (None, {}, own, own)
    converge(parts(with_domain))
    assert (plan(parts(with_domain)), with_domain.learned()) == ([], {})
    google.pass_seconds(3600)
    known = with_domain.learned()
    assert known == {DOMAIN: "prefect.example.com"}
    active = replace(with_domain, active_domain=known[DOMAIN])
    assert (active.url(), active.own_url()) == ("https://prefect.example.com", own)
    assert replace(active, domain="other.example.com").url() == own
