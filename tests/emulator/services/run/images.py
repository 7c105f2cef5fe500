"""Which container images Cloud Run may deploy, and whether they are there.

Source: https://cloud.google.com/run/docs/deploying#images
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.emulator.services.artifactregistry.images import REFERENCE, digest_of, repository_of

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud
    from tests.emulator.world import Project

HOST = re.compile(r"(?P<host>[\w-]+(\.[\w-]+)+(:\d+)?|localhost(:\d+)?)/(?P<rest>.+)")
TAKEN = re.compile(r"([a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev|(index\.)?docker\.io")
PATH = re.compile(r"[a-z0-9]+([._/-]+[a-z0-9]+)*(:[\w][\w.-]{0,127})?(@sha256:[0-9a-f]{64})?")
GOOGLE_OWN = frozenset({"cloudrun", "google-samples", "google-containers", "cloud-builders", "distroless"})
"""Projects whose images Google publishes, for instance us-docker.pkg.dev/cloudrun/container/hello."""


def malformed(image: str) -> str:
    """Google's refusal of a reference; "" for one that it takes. Source: ko-build/terraform-provider-ko#205."""
    found = HOST.fullmatch(image)
    host, path = (found["host"], found["rest"]) if found else ("docker.io", image)
    if TAKEN.fullmatch(host) and PATH.fullmatch(path):
        return ""
    return (
        "Expected an image path like [host/]repo-path[:tag and/or @digest], where host is one of [region.]gcr.io, "
        f"[region-]docker.pkg.dev or docker.io but obtained {image}"
    )


def resolved(cloud: Cloud, image: str) -> tuple[bool, str]:
    """Whether an image is there, and its digest where it is known: of public ones it is not.

    Docker Hub counts as holding everything, Google's own projects too; what is left of gcr.io lies in a repository
    called gcr.io (https://cloud.google.com/artifact-registry/docs/transition/transition-from-gcr).
    """
    found = HOST.fullmatch(image)
    if found is None or found["host"].endswith("docker.io"):
        return True, ""
    if found["rest"].split("/")[0] in GOOGLE_OWN:
        return True, ""
    digest = digest_of(cloud, as_registry(image))
    return digest is not None, digest or ""


def readable(cloud: Cloud, image: str, project: Project) -> bool:
    """Whether Cloud Run's own agent may read it: always in the project itself, elsewhere where a policy says so.

    Source: https://cloud.google.com/run/docs/deploying#other-projects
    """
    found = REFERENCE.fullmatch(as_registry(image))
    if found is None or found["project"] in (project.id, *GOOGLE_OWN):
        return True
    member, repository = f"serviceAccount:{agent(project)}", repository_of(found)
    resources = (repository, f"projects/{found['project']}")
    return cloud.access.may(member, "artifactregistry.repositories.downloadArtifacts", resources)


def agent(project: Project) -> str:
    """Source: https://cloud.google.com/iam/docs/service-agents#google-cloud-run-service-agent"""
    return f"service-{project.number}@serverless-robot-prod.iam.gserviceaccount.com"


def as_registry(image: str) -> str:
    """A gcr.io reference as the one of the repository that serves it."""
    found = re.fullmatch(r"((?P<place>us|eu|asia)\.)?gcr\.io/(?P<project>[^/]+)/(?P<name>.+)", image)
    if found is None:
        return image
    place = {"eu": "europe", None: "us"}.get(found["place"], found["place"])
    domain = f"{found['place']}.gcr.io" if found["place"] else "gcr.io"
    return f"{place}-docker.pkg.dev/{found['project']}/{domain}/{found['name']}"
