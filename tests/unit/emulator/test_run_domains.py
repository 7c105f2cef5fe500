"""Domain mappings through google-api-python-client.

Source: https://cloud.google.com/run/docs/mapping-custom-domains and what each test names.
"""

from __future__ import annotations

from typing import Any

import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.run_clients import created, made, parent_of, services_of


def namespaces(google: Emulated) -> Any:
    run = discovery.build(
        "run",
        "v1",
        static_discovery=True,
        credentials=google.credentials,
        client_options={"api_endpoint": f"{google.address}/us-central1-run"},
    )
    return run.namespaces()


def verified(google: Emulated, domain: str, pointed: bool = False) -> None:
    body = {"projectId": google.project, "domain": domain, "pointed": pointed}
    google.http().post("/_emulator/domains", json=body).raise_for_status()


def mapped(google: Emulated, domain: str) -> dict[str, Any]:
    body = {
        "apiVersion": "domains.cloudrun.com/v1",
        "kind": "DomainMapping",
        "metadata": {"name": domain, "namespace": google.project},
        "spec": {"routeName": "hello"},
    }
    parent = f"namespaces/{google.project}"
    mapping: dict[str, Any] = namespaces(google).domainmappings().create(parent=parent, body=body).execute()
    return mapping


def shown(google: Emulated, domain: str) -> dict[str, Any]:
    name = f"namespaces/{google.project}/domainmappings/{domain}"
    mapping: dict[str, Any] = namespaces(google).domainmappings().get(name=name).execute()
    return mapping


def states(mapping: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each["status"] for each in mapping["status"]["conditions"]}


def test_a_mapping_from_making_to_deleting(slow_google: Emulated) -> None:
    """A certificate takes about 15 minutes once the records point: the page above."""
    created(slow_google)
    slow_google.advance(60)
    verified(slow_google, "example.com")
    mapping = mapped(slow_google, "app.example.com")
    assert states(mapping) == {"Ready": "Unknown", "CertificateProvisioned": "Unknown", "DomainRoutable": "True"}
    assert mapping["status"]["conditions"][0]["reason"] == "CertificatePending"
    assert mapping["status"]["resourceRecords"] == [{"name": "app", "type": "CNAME", "rrdata": "ghs.googlehosted.com."}]
    slow_google.advance(900)
    assert states(shown(slow_google, "app.example.com"))["Ready"] == "Unknown"
    verified(slow_google, "example.com", pointed=True)
    slow_google.advance(600)
    assert states(shown(slow_google, "app.example.com"))["Ready"] == "Unknown"
    slow_google.advance(600)
    assert set(states(shown(slow_google, "app.example.com")).values()) == {"True"}
    mappings, parent = namespaces(slow_google).domainmappings(), f"namespaces/{slow_google.project}"
    assert [each["metadata"]["name"] for each in mappings.list(parent=parent).execute()["items"]] == ["app.example.com"]
    mappings.delete(name=f"{parent}/domainmappings/app.example.com").execute()
    with pytest.raises(HttpError, match="does not exist"):
        shown(slow_google, "app.example.com")


def test_an_apex_has_addresses(google: Emulated) -> None:
    made(google)
    verified(google, "example.com")
    records = mapped(google, "example.com")["status"]["resourceRecords"]
    assert [each["rrdata"] for each in records if each["type"] == "A"] == [
        "216.239.32.21", "216.239.34.21", "216.239.36.21", "216.239.38.21"
    ]  # fmt: skip
    assert len([each for each in records if each["type"] == "AAAA"]) == 4


def test_a_domain_must_be_verified(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#19053: the mapping is there, and not ready."""
    made(google)
    verified(google, "example.org")
    mapping = mapped(google, "app.example.com")
    assert states(mapping) == {"Ready": "False"}
    message = mapping["status"]["conditions"][0]["message"]
    assert message.startswith("Caller is not authorized to administer the domain 'app.example.com'.")
    assert "resourceRecords" not in mapping["status"]
    parent = f"namespaces/{google.project}"
    found = namespaces(google).authorizeddomains().list(parent=parent).execute()["domains"]
    assert [each["id"] for each in found] == ["example.org"]


def test_the_service_must_be_there(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#5173."""
    verified(google, "example.com", pointed=True)
    mapping = mapped(google, "app.example.com")
    assert mapping["status"]["conditions"][0]["reason"] == "RouteMissing"
    made(google)
    assert states(shown(google, "app.example.com"))["Ready"] == "True"
    services_of(google).delete_service(name=f"{parent_of(google)}/services/hello").result(timeout=10)
    assert states(shown(google, "app.example.com"))["Ready"] == "False"


def test_a_domain_is_mapped_once(google: Emulated) -> None:
    mapped(google, "app.example.com")
    with pytest.raises(HttpError, match="already exists"):
        mapped(google, "app.example.com")


@pytest.mark.parametrize("domain", ["*.example.com", "Example.com", "localhost"])
def test_a_domain_follows_the_rule(google: Emulated, domain: str) -> None:
    """The page above: wildcards are not supported."""
    with pytest.raises(HttpError, match="must be a domain"):
        mapped(google, domain)
