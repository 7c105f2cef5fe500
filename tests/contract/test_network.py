"""The network of a stack at Google: made, read again, mended, removed; on the emulator at Google's own speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from google.cloud import compute_v1

from blocks.errors import Blocked
from blocks.gcp.network import Network
from blocks.gcp_spec import GcpNetwork
from blocks.resource import Apply, Attributes, Change, Resource, converge, in_order, plan, visit_to_delete
from tests import google


class Account(Resource):
    """Stands for the host's service account, which is not part of the network."""

    name = "service account of the host"

    def find(self) -> Attributes | None:
        return {}

    def want(self) -> Attributes:
        return {}

    def apply(self, actual: Attributes | None, change: Change) -> None: ...

    def delete(self) -> None: ...


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def network(project: google.Project) -> Network:
    account = f"trial-host@{project.id}.iam.gserviceaccount.com"
    return Network(project.seen_by(), "trial", google.REGION, account)


def parts(network: Network) -> list[Resource]:
    return [Account(), *network.resources()]


def remove(resources: Iterable[Resource]) -> None:
    for each in reversed(in_order(resources)):
        visit_to_delete(each, Apply())


def test_made_whole_and_then_as_wanted(network: Network) -> None:
    wanted = [each.name for each in network.resources()]
    assert [each.resource for each in plan(parts(network))] == wanted
    converge(parts(network))
    assert plan(parts(network)) == []


def test_only_the_proxy_reaches_the_host_and_only_on_the_servers_port(network: Network) -> None:
    converge(parts(network))
    rules = network.google.compute("Firewalls").list(project=network.google.project)
    told = {
        (each.direction, each.priority, *each.source_ranges, *(p for a in each.allowed for p in a.ports))
        for each in rules
    }
    assert told == {("INGRESS", 1000, "10.60.1.0/26", "4200"), ("INGRESS", 65534, "0.0.0.0/0")}


def test_identity_aware_proxy_reaches_ssh_where_it_is_asked_for(network: Network) -> None:
    opened = replace(network, wanted=GcpNetwork(iap=True, nat=False))
    converge(parts(opened))
    named = {"project": network.google.project, "firewall": "trial-iap-to-ssh"}
    rule = network.google.compute("Firewalls").get(**named)
    assert (list(rule.source_ranges), [list(each.ports) for each in rule.allowed]) == (["35.235.240.0/20"], [["22"]])
    assert list(rule.target_service_accounts) == [network.host_account]


def test_nat_is_for_the_host_alone(network: Network) -> None:
    converge(parts(network))
    client = network.google.compute("Routers")
    router = client.get(project=network.google.project, region=network.region, router="trial")
    (nat,) = router.nats
    assert [each.name.rpartition("/")[2] for each in nat.subnetworks] == ["trial-host"]


def test_a_rule_that_was_opened_by_hand_is_seen_and_closed(network: Network) -> None:
    converge(parts(network))
    client = network.google.compute("Firewalls")
    opened = compute_v1.Firewall(source_ranges=["0.0.0.0/0"])
    named = {"project": network.google.project, "firewall": "trial-proxy-to-server"}
    network.google.compute("GlobalOperations").wait(
        project=network.google.project, operation=client.patch_unary(**named, firewall_resource=opened).name
    )
    (change,) = plan(parts(network))
    assert change.fields == {"source_ranges": (["0.0.0.0/0"], ["10.60.1.0/26"])}
    converge(parts(network))
    assert plan(parts(network)) == [] and client.get(**named).source_ranges == ["10.60.1.0/26"]


def test_what_cannot_be_changed_in_place_is_named(network: Network) -> None:
    converge(parts(network))
    with pytest.raises(Blocked, match="ip_cidr_range of the subnetwork of the host trial-host is"):
        plan(parts(replace(network, wanted=GcpNetwork(host="10.61.0.0/24"))))
    assert [each.action for each in plan(parts(replace(network, host_account="another@example.com")))] == ["update"]


def test_anothers_network_of_that_name_stands_in_the_way(network: Network, project: google.Project) -> None:
    body = compute_v1.Network(name="trial", auto_create_subnetworks=False)
    made = network.google.compute("Networks").insert_unary(project=project.id, network_resource=body)
    network.google.compute("GlobalOperations").wait(project=project.id, operation=made.name)
    with pytest.raises(Blocked, match="the network trial is there, and not this stack's"):
        plan(parts(network))


def test_removed_whole(network: Network) -> None:
    converge(parts(network))
    remove(parts(network))
    assert [each.action for each in plan(parts(network))] == ["create"] * len(network.resources())


@pytest.mark.parametrize("kind", ["error", "reset-before", "reset-after"])
def test_each_part_is_made_once_whatever_happens_to_a_call(
    network: Network, project: google.Project, kind: str
) -> None:
    with project.fault(kind, "compute.networks.insert"):
        converge(parts(network))
    assert plan(parts(network)) == []
