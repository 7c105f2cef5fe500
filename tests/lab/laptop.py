"""A machine from which a stack is made at Google: it knows the lab's names, believes its authority, and has a key."""

from __future__ import annotations

import json

from tests.emulator.server import ADMIN, key_of
from tests.lab.authority import CERTIFICATES, believing
from tests.lab.cloud import Lab
from tests.lab.engine import docker
from tests.lab.machine import Machine

KEY = "/root/key.json"


class Laptop(Machine):
    """A person's machine, logged in as the owner of a project."""

    def __init__(self, lab: Lab, project: str) -> None:
        super().__init__(f"{lab.name}-laptop")
        self._lab, self._project = lab, project

    def create(self) -> None:
        self.boot("--dns", self._lab.names.address, *self._lab.labels)
        docker("cp", str(self._lab.authority.bundle), f"{self.name}:{CERTIFICATES}")
        key = key_of(self._lab.cloud, self._project, ADMIN, "https://oauth2.googleapis.com")
        self._lab.cloud.access.grant(
            f"projects/{self._project}", "roles/owner", f"serviceAccount:{key['client_email']}"
        )
        docker("exec", "--interactive", self.name, "tee", KEY, stdin=json.dumps(key).encode())

    def environment(self) -> dict[str, str]:
        return {**super().environment(), **believing(), "GOOGLE_APPLICATION_CREDENTIALS": KEY}
