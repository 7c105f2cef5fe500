"""How a stack's users come in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from prefect.client.orchestration import SyncPrefectClient


@dataclass(frozen=True)
class FrontDoor:
    """The public address of a server and the auth string it asks for."""

    url: str
    """Without a slash at the end."""
    auth_string: str = field(repr=False)

    @property
    def api_url(self) -> str:
        return f"{self.url}/api"

    @contextlib.contextmanager
    def client(self) -> Iterator[SyncPrefectClient]:
        """A client to the server's API; nothing of this process's own Prefect settings matters."""
        with SyncPrefectClient(self.api_url, auth_string=self.auth_string) as client:
            yield client
