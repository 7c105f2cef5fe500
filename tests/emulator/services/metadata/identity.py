"""Identity tokens of an instance.

Source: https://cloud.google.com/compute/docs/instances/verifying-instance-identity (claims of both formats). They are
signed by the account's own key, at Google by Google's.
"""

from __future__ import annotations

import time
from datetime import datetime

from google.auth import crypt, jwt

from tests.emulator import accounts
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.world import Record

LIFE = 3600
"""Seconds."""


def identity_token(cloud: Cloud, instance: Record, account: Record, audience: str, *, full: bool) -> str:
    """A JWT that says which account, and in the full format which instance, stands behind a request.

    The times in it are real ones, as whoever verifies it does so by a real clock.
    """
    now, unique = int(time.time()), account.body["uniqueId"]
    claims: Body = {"iss": "https://accounts.google.com", "aud": audience, "azp": unique, "sub": unique}
    claims |= {"iat": now, "exp": now + LIFE}
    if full:
        claims |= {"email": account.body["email"], "email_verified": True}
        claims["google"] = {"compute_engine": _about(cloud, instance)}
    key_id, pem = accounts.google_key(cloud.world, account)
    signer = crypt.RSASigner.from_string(pem, key_id)  # type: ignore[no-untyped-call]
    return str(jwt.encode(signer, claims).decode())  # type: ignore[no-untyped-call]


def _about(cloud: Cloud, instance: Record) -> Body:
    project = cloud.world.projects[instance.name.split("/")[2]]
    return {
        "project_id": project.id,
        "project_number": project.number,
        "zone": instance.body["zone"].rpartition("/")[2],
        "instance_id": instance.body["id"],
        "instance_name": instance.body["name"],
        "instance_creation_timestamp": int(datetime.fromisoformat(instance.body["creationTimestamp"]).timestamp()),
    }
