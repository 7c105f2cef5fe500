"""What a stack keeps on its server for its users' flows. Without Prefect, which whoever composes a stack may lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Document:
    """A block of a kind that Prefect's own packages have, for users' flows to load by the stack's name."""

    kind: str
    """Module and class, such as `prefect_gcp:GcsBucket`."""
    slug: str
    data: Mapping[str, object]
    refers: Mapping[str, str] = field(default_factory=dict)
    """Field → slug of the other of the stack's blocks that it holds."""
