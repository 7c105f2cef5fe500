"""Versions of secrets.

Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access
"""

from __future__ import annotations

import base64
import json

from .client import Client

ADDRESS = "https://secretmanager.googleapis.com"


class SecretManager:
    """The secrets of a project; one of a stack is called `STACK-NAME`."""

    def __init__(self, client: Client, project: str, address: str = "") -> None:
        self._client, self._project, self._address = client, project, address or ADDRESS

    def read(self, stack: str, reference: str) -> bytes:
        """The value that a spec refers to as `NAME@VERSION`; by its name alone, the first version.

        Raises:
            GoogleFailed: it cannot be read.
        """
        name, _, version = reference.partition("@")
        place = f"v1/projects/{self._project}/secrets/{stack}-{name}/versions/{version or 1}:access"
        answer = self._client.call(f"reading the secret {reference}", "GET", f"{self._address}/{place}")
        return base64.b64decode(json.loads(answer.content)["payload"]["data"])
