"""Guest attributes: what a machine says of itself, by way of its metadata server.

Source: https://cloud.google.com/compute/docs/metadata/manage-guest-attributes, which
verily-src/workbench-app-devcontainers#446 cites for 256 KB; 512 KB in all is that of custom metadata, no source found.
"""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.services.compute.metadata_items import LARGEST_TOTAL, LARGEST_VALUE, values
from tests.emulator.services.compute.projects import compute_project
from tests.emulator.world import Record

PATH = re.compile(r"([\w-]{1,128})/([\w-]{1,128})")
"""`namespace/key`. Source: the pattern gcloud holds --query-path against."""
QUERY = re.compile(r"([\w-]+/[\w-]*)?")
Attributes = dict[str, str]
"""Values by `namespace/key`."""


def attributes_of(record: Record) -> Attributes:
    kept: Attributes = record.hidden.setdefault("guest attributes", {})
    return kept


def enabled(cloud: Cloud, record: Record) -> bool:
    """Whether `enable-guest-attributes` is TRUE on the instance, or on the project where the instance says nothing."""
    project = cloud.world.projects[record.name.split("/")[2]]
    common = values(compute_project(cloud, project).body["commonInstanceMetadata"])
    told = (common | values(record.body["metadata"])).get("enable-guest-attributes", "")
    return told.upper() == "TRUE"


def matching(attributes: Attributes, query: str) -> Attributes:
    """Those under a query path: "" is all, `namespace/` one namespace, `namespace/key` one."""
    if query.endswith("/") or not query:
        return {path: value for path, value in sorted(attributes.items()) if path.startswith(query)}
    return {query: attributes[query]} if query in attributes else {}


def put(record: Record, path: str, value: str) -> None:
    """Keep a value; 400 for a path that is none, 413 for what is too large."""
    if not PATH.fullmatch(path):
        raise errors.invalid(f"Invalid guest attribute path '{path}': it must be <namespace>/<key>.")
    kept = attributes_of(record)
    size = len(value.encode())
    total = sum(len(name.encode()) + len(text.encode()) for name, text in kept.items() if name != path)
    if size > LARGEST_VALUE or total + len(path) + size > LARGEST_TOTAL:
        raise errors.ApiError(413, f"Guest attribute '{path}' is too large: {size} bytes.")
    kept[path] = value
