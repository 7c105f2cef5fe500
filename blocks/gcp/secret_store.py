"""Secrets in Google's Secret Manager.

What a person finds by the secret's name is the version under the alias `published`.

Source: https://cloud.google.com/secret-manager/docs/reference/rest. A version read by its number is consistent,
`latest` and lists may be of a moment ago: https://cloud.google.com/secret-manager/docs/access-secret-version
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import google_crc32c
from google.api_core.exceptions import BadRequest, NotFound
from google.api_core.exceptions import Conflict as Taken
from google.cloud.secretmanager_v1 import Secret, SecretPayload, SecretVersion

from blocks.errors import Blocked
from blocks.gcp.google import Google, explained
from blocks.gcp.marks import LABEL
from blocks.secret_store import SecretStore

PUBLISHED = "published"


@dataclass(frozen=True)
class GcpSecretStore(SecretStore):
    """A secret `STACK-NAME` of the project for each name, replicated to the stack's region alone."""

    google: Google
    stack: str
    region: str
    is_outside = True

    def ensure(self, name: str, make: Callable[[], str]) -> int:
        self._make(name)
        there = self.versions(name)
        if not there:
            own = self.add_version(name, make())
            there = self.versions(name)  # of those who race the first counts, and the others take theirs back
            if own != there[0]:
                self.destroy_version(name, own)
        published = self.published(name)
        if published is None:
            published = there[0]
            self.publish(name, published)
        return published

    def versions(self, name: str) -> tuple[int, ...]:
        try:
            with self._explained("listing", name):
                found = list(self.google.secrets.list_secret_versions(parent=self._path(name)))
        except NotFound:
            return ()
        return tuple(sorted(_number(each) for each in found if each.state == SecretVersion.State.ENABLED))

    def read(self, name: str, version: int) -> str:
        try:
            with self._explained("reading", name):
                found = self.google.secrets.access_secret_version(name=self._version(name, version))
        except (NotFound, BadRequest) as error:  # none of that number; destroyed or disabled
            raise self._no_version(name, version) from error
        if google_crc32c.value(found.payload.data) != found.payload.data_crc32c:
            raise Blocked(f"the secret {self.location(name)} was damaged on its way", "run the same command again")
        return found.payload.data.decode()

    def add_version(self, name: str, value: str) -> int:
        data = value.encode()
        payload = SecretPayload(data=data, data_crc32c=google_crc32c.value(data))
        with self._explained("adding to", name):
            return _number(self.google.secrets.add_secret_version(parent=self._path(name), payload=payload))

    def published(self, name: str) -> int | None:
        secret = self._secret(name)
        version = secret.version_aliases.get(PUBLISHED) if secret else None
        return version if version in self.versions(name) else None

    def publish(self, name: str, version: int) -> None:
        if version not in self.versions(name):
            raise self._no_version(name, version)
        if self.published(name) != version:
            secret = Secret(name=self._path(name), version_aliases={PUBLISHED: version})
            with self._explained("changing", name):
                self.google.secrets.update_secret(secret=secret, update_mask={"paths": ["version_aliases"]})

    def location(self, name: str) -> str:
        return f"Secret Manager of {self.google.project}: {self.id(name)}"

    def destroy_version(self, name: str, version: int) -> None:
        try:
            with self._explained("changing", name):
                self.google.secrets.destroy_secret_version(name=self._version(name, version))
        except NotFound:
            return
        except BadRequest:
            if version in self.versions(name):  # else it was destroyed before
                raise

    def remove(self, name: str) -> None:
        try:
            with self._explained("removing", name):
                self.google.secrets.delete_secret(name=self._path(name))
        except NotFound:
            return

    def _make(self, name: str) -> None:
        if self._is_there(name):
            return
        replication = {"user_managed": {"replicas": [{"location": self.region}]}}
        secret = Secret(replication=replication, labels={LABEL: self.stack})
        try:
            with self._explained("making", name):
                parent = f"projects/{self.google.project}"
                self.google.secrets.create_secret(parent=parent, secret_id=self.id(name), secret=secret)
        except Taken:
            self._is_there(name)

    def _is_there(self, name: str) -> bool:
        """Whether the secret is there, and then it is ours."""
        secret = self._secret(name)
        if secret is not None and secret.labels.get(LABEL) != self.stack:
            what = f"there is a secret {self.location(name)}, and it is not this stack's"
            raise Blocked(what, "remove it, or give the stack another name")
        return secret is not None

    def _secret(self, name: str) -> Secret | None:
        try:
            with self._explained("reading", name):
                return self.google.secrets.get_secret(name=self._path(name))
        except NotFound:
            return None

    def _no_version(self, name: str, version: int) -> Blocked:
        return Blocked(f"there is no version {version} of the secret {self.location(name)}")

    def id(self, name: str) -> str:
        """Its name at Google."""
        return f"{self.stack}-{name}"

    def _path(self, name: str) -> str:
        return f"projects/{self.google.project}/secrets/{self.id(name)}"

    def _version(self, name: str, version: int) -> str:
        return f"{self._path(name)}/versions/{version}"

    def _explained(self, doing: str, name: str) -> AbstractContextManager[None]:
        return explained(f"{doing} the secret {self.id(name)}")


def _number(version: SecretVersion) -> int:
    return int(version.name.rpartition("/")[2])
