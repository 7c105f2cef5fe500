"""google-cloud-run's clients at the emulator, and a service to begin with."""

from __future__ import annotations

from typing import Any

from google.cloud import run_v2

from tests.unit.emulator.conftest import Emulated

IMAGE = "us-docker.pkg.dev/cloudrun/container/hello"
"""Google's own sample image, which is there."""
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
SUCCEEDED = run_v2.Condition.State.CONDITION_SUCCEEDED
FAILED = run_v2.Condition.State.CONDITION_FAILED


def services_of(google: Emulated, member: str = "") -> run_v2.ServicesClient:
    credentials = google.credentials_of(member) if member else google.credentials
    return run_v2.ServicesClient(credentials=credentials, client_options=google.options("run"), transport="rest")


def revisions_of(google: Emulated) -> run_v2.RevisionsClient:
    return run_v2.RevisionsClient(
        credentials=google.credentials, client_options=google.options("run"), transport="rest"
    )


def parent_of(google: Emulated) -> str:
    return f"projects/{google.project}/locations/us-central1"


def container(image: str = IMAGE, **more: Any) -> run_v2.Container:
    return run_v2.Container(image=image, **more)


def template(image: str = IMAGE, **more: Any) -> run_v2.RevisionTemplate:
    return run_v2.RevisionTemplate(**{"containers": [container(image)], **more})


def created(google: Emulated, **more: Any) -> Any:
    """The operation of making a service called `hello`."""
    body = run_v2.Service(**{"template": template(), **more})
    return services_of(google).create_service(parent=parent_of(google), service=body, service_id="hello")


def made(google: Emulated, **more: Any) -> run_v2.Service:
    service: run_v2.Service = created(google, **more).result(timeout=10)
    return service


def seen(google: Emulated) -> run_v2.Service:
    service: run_v2.Service = services_of(google).get_service(name=f"{parent_of(google)}/services/hello")
    return service


def updated(google: Emulated, service: run_v2.Service, **more: Any) -> run_v2.Service:
    after: run_v2.Service = services_of(google).update_service(service=service, **more).result(timeout=10)
    return after


def short(name: str) -> str:
    return name.rpartition("/")[2]
