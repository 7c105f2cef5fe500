"""The target `gcp` in a spec: what is refused before Google is asked, and what stays out of a spec of `local`."""

from __future__ import annotations

from typing import Any

import pytest

from blocks.errors import WrongCall
from blocks.spec import StackSpec, build_spec, read_spec

PLACE = {"project": "acme-data-42", "region": "europe-west1"}


def spec(name: str = "prefect", prefect_version: str = "3.8.8", **gcp: Any) -> StackSpec:
    data = {"name": name, "target": "gcp", "prefect_version": prefect_version, "gcp": PLACE | gcp}
    return build_spec(data, "stack.toml")


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(WrongCall) as caught:
        build_spec(data, "stack.toml")
    return caught.value.what


def test_project_and_region_are_enough() -> None:
    made = read_spec(None, {"target": "gcp", "gcp.project": "acme-data-42", "gcp.region": "europe-west1"})
    assert made == spec()
    assert (made.gcp.of_zone, made.gcp.network.host_address) == ("europe-west1-b", "10.60.0.10")
    assert build_spec(made.model_dump(mode="json"), "JSON") == made


@pytest.mark.parametrize(
    ("gcp", "text"),
    [
        ({"projekt": "x"}, "gcp.projekt: unknown key"),
        ({"project": "Acme"}, "gcp.project: String should match"),
        ({"project": "short"}, "gcp.project: String should match"),
        ({"region": "europe"}, "gcp.region: String should match"),
        ({"zone": "us-east1-b"}, "the zone us-east1-b is not in the region 'europe-west1'"),
        ({"domain": "prefect"}, "gcp.domain: String should match"),
        ({"region": "europe-west3", "domain": "p.example.com"}, "alone, not in europe-west3"),
        ({"network": {"host": "10.60.0.0"}}, "host = 10.60.0.0/32 is too small"),
        ({"network": {"host": "10.60.0.1/24"}}, "gcp.network.host: '10.60.0.1/24' is no range of addresses"),
        ({"network": {"host": "8.8.8.0/24"}}, "8.8.8.0/24 must be of private addresses"),
        ({"network": {"host": "172.17.4.0/24"}}, "outside 172.17.0.0/16, which Docker and Cloud SQL use"),
        ({"network": {"host": "10.60.0.0/16"}}, "the ranges of host and proxy overlap"),
        ({"network": {"proxy": "10.60.1.0/27"}}, "proxy = 10.60.1.0/27 is too small for Cloud Run"),
        ({"network": {"services_prefix": 28}}, "gcp.network.services_prefix: Input should be less than"),
        ({"proxy": {"max_instances": 17}}, "proxy.max_instances 17: 10.60.1.0/26 is enough for 16"),
        ({"proxy": {"min_instances": 4}}, "min_instances 4 is above max_instances 3"),
        ({"proxy": {"memory": "512"}}, "gcp.proxy.memory: String should match"),
        ({"database": {"tier": "db-perf-optimized-N-2"}}, "is no type of the edition ENTERPRISE"),
        ({"database": {"tier": "db-custom-3-7680"}}, "processors must be 1, or even"),
        ({"database": {"tier": "db-custom-2-7681"}}, "memory must be a multiple of 256"),
        ({"database": {"tier": "db-custom-2-14336"}}, "0.9 to 6.5 GiB a processor"),
        ({"database": {"log_days": 8}}, "gcp.database.log_days"),
        ({"host": {"machine_type": "t2a-standard-2"}}, "has an Arm processor"),
        ({"host": {"disk_gb": 5}}, "gcp.host.disk_gb: Input should be greater"),
    ],
)
def test_refuses_what_google_would(gcp: dict[str, Any], text: str) -> None:
    assert text in refused({"target": "gcp", "gcp": PLACE | gcp})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"gcp": {}}, "gcp.project must be given for this target; gcp.region must be given"),
        ({"name": "n" * 25}, "too long for Google's service accounts"),
        ({"name": "my-google-thing"}, "Google refuses buckets with its own name"),
        ({"prefect_version": "3.8.3"}, "prefect-gcp wants 3.8.4 or newer"),
        ({"public_url": "https://p.example.com"}, "on `gcp` it is gcp.domain"),
        ({"local": {"listen": "0.0.0.0"}}, "[local] is for the target `local`"),
        ({"local": {"ports": {"public": 5000}}}, "[local] is for the target `local`"),
        ({"database": {"url": "postgresql://u@h:1/d", "password_file": "/p"}}, "on `gcp` it is [gcp.database]"),
    ],
)
def test_refuses_what_this_target_cannot_have(data: dict[str, Any], text: str) -> None:
    assert text in refused({"target": "gcp", "gcp": PLACE} | data)


def test_refuses_a_section_for_another_target() -> None:
    assert 'the target is "local"' in refused({"gcp": PLACE})


def test_a_spec_of_this_machine_is_saved_as_before() -> None:
    """A release from before there was a target `gcp` reads it, too."""
    assert "gcp" not in read_spec(None).model_dump(mode="json")


def test_the_launchers_folder_is_not_kept_for_others() -> None:
    data = {"target": "gcp", "gcp": PLACE, "local": {"home": "/home/me/trial"}}
    kept = build_spec(data, "test").as_wanted()
    assert build_spec(kept, "kept") == spec()
    assert read_spec(None, {"local.home": "/srv/x"}).as_wanted()["local"]["home"] == "/srv/x"
