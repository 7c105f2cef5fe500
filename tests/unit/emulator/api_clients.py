"""google-api-python-client for the services that have no other Python client here."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError

from tests.unit.emulator.conftest import Emulated

BASES = {"compute": "compute/v1/", "storage": "storage/v1/"}
"""What stands before the paths of the older documents, and is part of an endpoint for this client."""


def client(google: Emulated, api: str, credentials: Any = None) -> Any:
    """A client of `iam.v1` and so on, with the owner's credentials unless others are given."""
    service, _, version = api.partition(".")
    endpoint = "/".join([google.address, service, BASES.get(service, "")])
    return discovery.build(
        service,
        version,
        static_discovery=True,
        client_options={"api_endpoint": endpoint},
        credentials=credentials or google.credentials,
        num_retries=0,
    )


def iam(google: Emulated, credentials: Any = None) -> Any:
    return client(google, "iam.v1", credentials)


def account(google: Emulated, account_id: str) -> dict[str, Any]:
    """A service account made through the API."""
    body = {"accountId": account_id}
    accounts = iam(google).projects().serviceAccounts()
    made: dict[str, Any] = accounts.create(name=f"projects/{google.project}", body=body).execute()
    return made


def refused(request: Any) -> HttpError:
    """The error of a request that must fail."""
    with pytest.raises(HttpError) as caught:
        request.execute()
    return caught.value


def policy_of(google: Emulated) -> dict[str, set[str]]:
    """Members by role of the project's policy."""
    projects = client(google, "cloudresourcemanager.v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{google.project}").execute()
    return {binding["role"]: set(binding["members"]) for binding in policy["bindings"]}


@contextmanager
def changed_policy(google: Emulated) -> Any:
    """The project's policy, read, changed by the caller, written back."""
    projects = client(google, "cloudresourcemanager.v3").projects()
    policy = projects.getIamPolicy(resource=f"projects/{google.project}").execute()
    yield policy
    projects.setIamPolicy(resource=f"projects/{google.project}", body={"policy": policy}).execute()
