"""The services that can be enabled here: those that are emulated, and some that come with every project.

Sources: https://cloud.google.com/service-usage/docs/enabled-service#default; which service needs which: the refusals
in GoogleCloudPlatform/magic-modules#4200 (Compute Engine needs OS Login).
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.emulator.cloud import Cloud
from tests.emulator.world import DEFAULT_SERVICES

OTHERS = {
    "cloudapis.googleapis.com": "Google Cloud APIs",
    "logging.googleapis.com": "Cloud Logging API",
    "monitoring.googleapis.com": "Cloud Monitoring API",
    "oslogin.googleapis.com": "Cloud OS Login API",
    "servicemanagement.googleapis.com": "Service Management API",
    "storage-api.googleapis.com": "Google Cloud Storage JSON API",
    "storage-component.googleapis.com": "Cloud Storage",
}
"""Titles of services that have no document here. They can be enabled, and do nothing."""
NEEDS = {"compute.googleapis.com": ("oslogin.googleapis.com",)}
"""What is enabled along with a service, and cannot be disabled before it."""


def titles(cloud: Cloud) -> dict[str, str]:
    """Title by name of every service there is."""
    documents = {document.host: document.title for document in cloud.router.documents.values()}
    return dict.fromkeys(DEFAULT_SERVICES, "") | OTHERS | documents


def with_needs(services: Iterable[str]) -> set[str]:
    """Services and what they need."""
    wanted = set(services)
    return wanted.union(*(NEEDS.get(each, ()) for each in wanted))


def dependents(service: str, enabled: set[str]) -> list[str]:
    """Enabled services that need this one."""
    return sorted(each for each in enabled if service in NEEDS.get(each, ()))
