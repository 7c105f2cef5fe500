"""What builds an image: the Docker engine of this machine where one answers, else Cloud Build.

Source: https://cloud.google.com/artifact-registry/docs/docker/authentication#token,
https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds,
https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker
import requests
from docker.errors import APIError, BuildError, DockerException
from google.api_core import exceptions

from blocks.errors import Blocked, NotReady
from blocks.gcp.account import KNOWN_SECONDS, ServiceAccount
from blocks.gcp.google import Google, explained
from blocks.gcp.image import Context

if TYPE_CHECKING:
    from prefect_docker.host import DockerHost

logger = logging.getLogger(__name__)
PLATFORM = "linux/amd64"
"""Cloud Run runs nothing else."""
SOCKET_SECONDS = 5
"""Time a Docker engine gets to say that it is there."""
SECONDS = 1200.0
"""Time a build gets; ours take a minute."""
ROLES = ("roles/cloudbuild.builds.builder",)
"""What the account of builds may do: read its source, write its log, push."""
FOLDER = "builds"
"""Where sources and logs of builds lie in the stack's bucket."""
STEP = "gcr.io/cloud-builders/docker"
"""Google's own image for a step that calls docker."""
LOG_LINES = 10
GRANTS_PENDING = ("FETCH_SOURCE_FAILED", "PUSH_NOT_AUTHORIZED")
"""How a build fails whose account has not got its roles everywhere yet."""


@dataclass(frozen=True)
class EitherBuilder:
    """The Docker engine of this machine where one answers, else Cloud Build."""

    here: EngineBuilder
    there: CloudBuilder

    def __call__(self, name: str, context: Context) -> None:
        builder = self.here if self.here.answers() else self.there
        builder(name, context)


@dataclass(frozen=True)
class EngineBuilder:
    """The Docker engine of this machine, reached by prefect-docker as the environment says."""

    google: Google

    def answers(self) -> bool:
        """Whether there is one."""
        try:
            with _host(timeout=SOCKET_SECONDS).get_client() as client:
                return bool(client.ping())
        except (DockerException, requests.RequestException):
            return False

    def __call__(self, name: str, context: Context) -> None:
        with _engine(name) as client:
            _build(client, name, context)
            self._push(client, name)

    def _push(self, client: docker.DockerClient, name: str) -> None:
        """Push it with an access token, which lives for an hour and is written nowhere."""
        login = {"username": "oauth2accesstoken", "password": self.google.token()}
        repository, _, tag = name.rpartition(":")
        for event in client.images.push(repository, tag, auth_config=login, stream=True, decode=True):
            if "error" in event:
                hint = "is it reached from here, and by a Writer of Artifact Registry?"
                raise Blocked(f"pushing {name}: {event['error']}", hint)


def _host(**options: int) -> DockerHost:
    """prefect-docker's; imported here, as Prefect takes its settings when it is imported, and nobody has made them yet
    who only composes a stack."""
    from prefect_docker.host import DockerHost

    return DockerHost(**options)


@contextmanager
def _engine(name: str) -> Iterator[docker.DockerClient]:
    """A client of the engine; what it refuses is told in one line."""
    try:
        with _host().get_client() as client:
            yield client
    except (BuildError, APIError) as error:
        told = _last_lines(str(each.get("stream", "")) for each in getattr(error, "build_log", ()))
        hint = "with build = 'cloud-build' below [gcp.proxy] Google builds it"
        raise Blocked(f"building {name}: {error}{told}", hint) from error
    except (DockerException, requests.RequestException) as error:
        raise NotReady(f"building {name}: the Docker engine does not answer: {error}", "try again") from error


def _build(client: docker.DockerClient, name: str, context: Context) -> None:
    _pull(client, context)
    _, lines = client.images.build(
        fileobj=io.BytesIO(context.archive()),
        custom_context=True,
        encoding="gzip",
        tag=name,
        platform=PLATFORM,
        rm=True,
        forcerm=True,
    )
    for each in lines:
        if text := str(each.get("stream", "")).strip():
            logger.info("%s", text)


def _pull(client: docker.DockerClient, context: Context) -> None:
    """Get the newest of what it is built on; what is here already does where that cannot be had."""
    for base in re.findall(r"^FROM (\S+)", context.files["Dockerfile"].decode(), re.MULTILINE):
        try:
            client.images.pull(base, platform=PLATFORM)
        except APIError as error:
            logger.info("building on the %s of this machine, if it has one: %s", base, error)


@dataclass(frozen=True)
class CloudBuilder:
    """Cloud Build, in the stack's region, from the stack's bucket, as an account of its own."""

    google: Google
    region: str
    bucket: str
    account: ServiceAccount

    def __call__(self, name: str, context: Context) -> None:
        """Have it built; again while Google does not yet know everywhere what the account may do."""
        source = f"{FOLDER}/{context.digest}.tar.gz"
        with explained(f"uploading what {name} is built from"):
            self.google.storage.bucket(self.bucket).blob(source).upload_from_string(context.archive())
        body = self._body(name, source)
        self.google.wait(lambda: self._attempt(name, body), f"building {name}", seconds=KNOWN_SECONDS, every=10.0)

    def _body(self, name: str, source: str) -> dict[str, Any]:
        return {
            "source": {"storageSource": {"bucket": self.bucket, "object": source}},
            "steps": [{"name": STEP, "args": ["build", "--tag", name, "."]}],
            "images": [name],
            "serviceAccount": f"projects/{self.google.project}/serviceAccounts/{self.account.email}",
            "logsBucket": f"gs://{self.bucket}/{FOLDER}",
            "options": {"logging": "GCS_ONLY"},
            "timeout": f"{SECONDS:.0f}s",
        }

    def _attempt(self, name: str, body: dict[str, Any]) -> bool:
        doing, path = f"building {name}", f"v1/projects/{self.google.project}/locations/{self.region}/builds"
        try:
            begun = self.google.rest(doing, "POST", "cloudbuild", path, body)
        except exceptions.NotFound as error:  # the account, which was made a moment ago
            raise NotReady(str(error.message)) from error
        build = f"{path}/{begun['metadata']['build']['id']}"
        self._require_success(doing, self.google.wait(lambda: self._ended(doing, build), doing, seconds=SECONDS))
        return True

    def _ended(self, doing: str, build: str) -> dict[str, Any]:
        found: dict[str, Any] = self.google.rest(doing, "GET", "cloudbuild", build)
        if found["status"] in ("PENDING", "QUEUED", "WORKING"):
            raise NotReady(f"the build is {found['status']}")
        return found

    def _require_success(self, doing: str, build: dict[str, Any]) -> None:
        if build["status"] == "SUCCESS":
            return
        why = f"{doing}: {build['status']}: {build.get('statusDetail', '')}"
        if build.get("failureInfo", {}).get("type") in GRANTS_PENDING:
            raise NotReady(why)
        raise Blocked(f"{why}{_last_lines(self._log(build['id']))}", f"its log: {build.get('logUrl', '')}")

    def _log(self, build: str) -> list[str]:
        """Lines of a build's log; none where it was over before it had one."""
        try:
            with explained("reading the log of the build"):
                text = self.google.storage.bucket(self.bucket).blob(f"{FOLDER}/log-{build}.txt").download_as_text()
        except exceptions.NotFound:
            return []
        return str(text).splitlines()


def _last_lines(lines: Iterable[str]) -> str:
    """The end of a log as the end of an error; empty where there is none."""
    told = [line.strip() for line in lines if line.strip()][-LOG_LINES:]
    return "\n" + "\n".join(told) if told else ""
