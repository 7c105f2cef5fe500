"""How often buckets may be made and deleted, and one object written.

Sources: https://cloud.google.com/storage/quotas#buckets (about one bucket operation every 2 seconds for a project),
#objects (one write a second for a name; more "might result in throttling"); the words:
GoogleCloudPlatform/python-docs-samples#4033, delta-io/delta-rs#2451, trinodb/trino#19943. That bursts of five pass is
ours: Google says no figure. The times take the scale: at scale 0 nothing is too fast.
"""

from __future__ import annotations

import time

from tests.emulator.cloud import Cloud
from tests.emulator.errors import ApiError

BURST = 5


def count_bucket(cloud: Cloud, project: str) -> None:
    """Count a bucket made or deleted; 429 where it was too fast."""
    if not _counted(cloud, f"buckets of {project}", "rate.buckets"):
        raise ApiError(429, "The project exceeded the rate limit for creating and deleting buckets.")


def count_object(cloud: Cloud, bucket: str, name: str) -> None:
    """Count a write or a delete of one name; 429 where it was too fast."""
    if not _counted(cloud, f"object {bucket}/{name}", "rate.object"):
        raise ApiError(
            429,
            f"The object {bucket}/{name} exceeded the rate limit for object mutation operations (create, update, and "
            "delete). Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.",
        )


def _counted(cloud: Cloud, key: str, kind: str) -> bool:
    """Time is the clock's or, where that stands still, the machine's: who waits as a client does is let through."""
    now, real = cloud.world.clock.now(), time.monotonic()
    window = cloud.operations.latency(kind).total_seconds() * BURST
    recent = [
        (then, moment)
        for then, moment in cloud.world.recent.get(key, ())
        if max((now - then).total_seconds(), real - moment) < window
    ]
    if len(recent) >= BURST and not cloud.unlimited:
        return False
    cloud.world.recent[key] = [*recent, (now, real)]
    return True
