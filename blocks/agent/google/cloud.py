"""What the host agent of a VM at Google has beside its home."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import AgentConfig, Layout
from ..releases import Tools
from .artifacts import Artifacts
from .client import Client
from .guard import Guard
from .objects import Objects
from .secret_manager import SecretManager


@dataclass(frozen=True)
class Cloud:
    """The stack's bucket, what is fetched from it, and the stack's secrets."""

    objects: Objects
    artifacts: Artifacts
    secrets: SecretManager
    guard: Guard | None = None
    """None where another metadata server stands in for the VM's."""


def cloud_of(config: AgentConfig, layout: Layout) -> Cloud:
    """The one which a config names. Nothing is called."""
    client = Client(config.metadata)
    objects = Objects(client, config.bucket, config.storage)
    artifacts = Artifacts(objects, Path(config.store), Tools.of_agent(layout.uv))
    guard = None if config.metadata else Guard()
    return Cloud(objects, artifacts, SecretManager(client, config.project, config.secret_manager), guard)
