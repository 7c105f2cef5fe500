"""What a caller may set on a secret. Source: https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from tests.emulator import errors
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body
from tests.emulator.services.secretmanager.base import duration, moment

CHANGEABLE = ("annotations", "labels", "versionAliases", "versionDestroyTtl", "expireTime", "ttl")
"""What an updateMask may name of what is emulated; replication cannot be changed."""
NOT_EMULATED = ("customerManagedEncryption", "rotation", "tags", "topics")
LABEL_KEY = re.compile(r"[^\W\d_A-Z][\w-]{0,62}")
LABEL_VALUE = re.compile(r"[\w-]{0,63}")
ANNOTATION_KEY = re.compile(r"[a-zA-Z0-9]([\w.-]{0,61}[a-zA-Z0-9])?")
ALIAS = re.compile(r"[a-zA-Z][\w-]{0,62}")
MOST_ANNOTATIONS = 16 * 1024
DESTROY_DELAY = (timedelta(days=1), timedelta(days=1000))
"""Source: https://cloud.google.com/secret-manager/docs/delay-destruction-of-secret-versions"""
SECRET_ID = re.compile(r"[a-zA-Z_0-9-]{1,255}")


def check_id(secret_id: str) -> None:
    """Source: googleapis/google-cloud-rust, whose tests have an answer "received from production"."""
    if not SECRET_ID.fullmatch(secret_id):
        raise errors.invalid(f"The provided Secret ID [{secret_id}] does not match the expected format [[a-zA-Z_0-9]+]")


def check_replication(body: Body, regions: list[str]) -> None:
    """Required; automatic or in named places. No source for the words."""
    replication = body.get("replication", {})
    if ("automatic" in replication) == ("userManaged" in replication):
        raise errors.invalid("Field [secret.replication] is required: either automatic or userManaged.")
    places = [each.get("location") for each in replication.get("userManaged", {}).get("replicas", [])]
    unknown = [each for each in places if f"regions/{each}" not in regions]
    if "userManaged" in replication and (unknown or not places or len(set(places)) != len(places)):
        raise errors.invalid("Field [secret.replication.user_managed.replicas] needs regions that exist, each once.")
    parts = (replication.get("automatic", {}), *replication.get("userManaged", {}).get("replicas", []))
    if any(part.get("customerManagedEncryption") for part in parts):
        raise errors.not_emulated("customerManagedEncryption of a secret")


def settled(wanted: Body, now: datetime) -> Body:
    """The settings that are stored: `ttl` has become `expireTime`. No source for the words of refusals."""
    for name in NOT_EMULATED:
        if wanted.get(name):
            raise errors.not_emulated(f"{name} of a secret")
    if wanted.get("secretType", "SECRET_TYPE_UNSPECIFIED") != "SECRET_TYPE_UNSPECIFIED":
        raise errors.not_emulated("secretType of a secret")
    _check_labels(wanted.get("labels") or {}, wanted.get("annotations") or {})
    _check_aliases(wanted.get("versionAliases") or {})
    _check_delay(wanted.get("versionDestroyTtl"))
    kept = {name: wanted[name] for name in CHANGEABLE if wanted.get(name) not in (None, {}, "")}
    ttl = kept.pop("ttl", None)
    if ttl and "expireTime" in kept:
        raise errors.invalid("Only one of expireTime and ttl may be set.")
    if ttl:
        kept["expireTime"] = rfc3339(now + duration(ttl))
    if "expireTime" in kept and moment(kept["expireTime"]) <= now:
        raise errors.invalid("The expiration of a secret must be in the future.")
    return kept


def _check_labels(labels: dict[str, str], annotations: dict[str, str]) -> None:
    for key, value in labels.items():
        if not LABEL_KEY.fullmatch(key) or not LABEL_VALUE.fullmatch(value) or (key + value).lower() != key + value:
            raise errors.invalid(f"Invalid label: {key}={value}")
    for key in annotations:
        if not ANNOTATION_KEY.fullmatch(key):
            raise errors.invalid(f"Invalid annotation key: {key}")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if len(labels) > 64 or size >= MOST_ANNOTATIONS:
        raise errors.invalid("A secret has at most 64 labels, and less than 16 KiB of annotations.")


def _check_aliases(aliases: dict[str, str]) -> None:
    for alias in aliases:
        if not ALIAS.fullmatch(alias) or alias in ("latest", "NEW"):
            raise errors.invalid(f"Invalid version alias: {alias}")
    if len(aliases) > 50:
        raise errors.invalid("A secret has at most 50 version aliases.")


def _check_delay(ttl: str | None) -> None:
    low, high = DESTROY_DELAY
    if ttl and not low <= duration(ttl) <= high:
        raise errors.invalid("versionDestroyTtl must be between 24 hours and 1000 days.")
