"""Tokens and signatures in an account's name.

Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts
"""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import timedelta
from typing import Any

from google.auth import crypt, jwt

from tests.emulator import accounts, errors
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.services.iam.base import denied
from tests.emulator.world import Record

NAME = re.compile(r"projects/-/serviceAccounts/([^/]+)")
"""Source: the reference: "The `-` wildcard character is required; replacing it with a project ID is invalid."""
LONGEST = 3600.0
"""Seconds. Source: the reference, `lifetime` (12 hours only with an organization policy)."""


class ServiceAccounts(Kind):
    """What an account's holder of iam.serviceAccounts.getAccessToken and its siblings may do in its name.

    The permission is asked for at the end of the chain of `delegates`, so the methods check it themselves.
    """

    apis = ("iamcredentials.v1",)
    collection = "iamcredentials.projects.serviceAccounts"
    owns_records = False

    @on("generateAccessToken", "")
    def generate_access_token(self, call: Call) -> Body:
        target = self.target(call, "iam.serviceAccounts.getAccessToken")
        scopes, lifetime = call.body.get("scope", []), float(call.body.get("lifetime", "3600s").rstrip("s"))
        if not scopes:
            raise errors.invalid("scope is required.")  # words: no source
        if not 0 < lifetime <= LONGEST:
            raise errors.invalid("The lifetime must be between 1 and 3600 seconds.")  # words: no source
        life = timedelta(seconds=lifetime)
        token = self.cloud.access.mint(f"serviceAccount:{target.body['email']}", life, scopes)
        ends = (self.cloud.world.clock.now() + life).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {"accessToken": token, "expireTime": ends}

    @on("generateIdToken", "")
    def generate_id_token(self, call: Call) -> Body:
        """Signed here by the account's own key, at Google by Google's; the claims are the same.

        Source: https://cloud.google.com/docs/authentication/token-types#id
        """
        target = self.target(call, "iam.serviceAccounts.getOpenIdToken")
        if not call.body.get("audience"):
            raise errors.invalid("audience is required.")  # words: no source
        now, unique = int(time.time()), target.body["uniqueId"]
        claims = {"iss": "https://accounts.google.com", "aud": call.body["audience"], "azp": unique, "sub": unique}
        claims |= {"iat": now, "exp": now + 3600}
        if call.body.get("includeEmail"):
            claims |= {"email": target.body["email"], "email_verified": True}
        return {"token": self.signed(target, claims)}

    @on("signJwt", "")
    def sign_jwt(self, call: Call) -> Body:
        """Source of the limit of 12 hours: the reference, `payload`."""
        target = self.target(call, "iam.serviceAccounts.signJwt")
        claims = _claims(call.body.get("payload", ""))
        if not isinstance(expires := claims.get("exp", time.time() + 3600), int | float):
            raise errors.invalid("exp must be a number.")  # words: no source
        if expires > time.time() + 12 * 3600:
            raise errors.invalid("exp must be no more than 12 hours in the future.")  # words: no source
        key_id, _ = accounts.google_key(self.cloud.world, target)
        return {"keyId": key_id, "signedJwt": self.signed(target, claims | {"exp": int(expires)})}

    @on("signBlob", "")
    def sign_blob(self, call: Call) -> Body:
        target = self.target(call, "iam.serviceAccounts.signBlob")
        key_id, pem = accounts.google_key(self.cloud.world, target)
        content = base64.b64decode(call.body.get("payload", ""))
        signature = crypt.RSASigner.from_string(pem, key_id).sign(content)  # type: ignore[no-untyped-call]
        return {"keyId": key_id, "signedBlob": base64.b64encode(signature).decode()}

    def signed(self, account: Record, claims: dict[str, Any]) -> str:
        key_id, pem = accounts.google_key(self.cloud.world, account)
        signer = crypt.RSASigner.from_string(pem, key_id)  # type: ignore[no-untyped-call]
        return str(jwt.encode(signer, claims).decode())  # type: ignore[no-untyped-call]

    # -- who may -----------------------------------------------------------------------------------------------------

    def guards(self, call: Call) -> tuple[str, ...]:
        """The account alone: it is of whatever project it says."""
        return (call["name"],)

    def target(self, call: Call, permission: str) -> Record:
        """The account of a call, whose caller may use it: directly, or through one account after the other.

        Sources: https://cloud.google.com/iam/docs/create-short-lived-credentials-delegated (implicitDelegation along
        the chain). A disabled account: no source for the words.
        """
        caller = call.caller
        for name in call.body.get("delegates", ()):
            delegate = self.account(name)
            self.need(caller, "iam.serviceAccounts.implicitDelegation", delegate)
            caller = f"serviceAccount:{delegate.body['email']}"
        found = self.account(call["name"])
        self.need(caller, permission, found)
        if found.body.get("disabled"):
            raise errors.failed_precondition(f"Service account {found.body['email']} is disabled.")
        return found

    def account(self, name: str) -> Record:
        """Source of the words: GoogleCloudPlatform/python-docs-samples#10759."""
        found = NAME.fullmatch(name)
        if found is None:
            raise errors.invalid("Request contains an invalid argument.")
        record = accounts.account(self.cloud.world, found[1])
        if record is None:
            raise errors.not_found(f"Not found; Gaia id not found for email {found[1]}")
        return record

    def need(self, caller: str, permission: str, account: Record) -> None:
        guards = (account.body["name"], f"projects/{account.body['projectId']}")
        if caller == "allUsers":
            raise errors.unauthenticated("CREDENTIALS_MISSING")
        if not self.cloud.access.may(caller, permission, guards):
            raise denied(permission)


def _claims(payload: str) -> dict[str, Any]:
    try:
        claims = json.loads(payload)
    except ValueError:
        claims = None
    if not isinstance(claims, dict):
        raise errors.invalid("payload must be a JSON object.")  # words: no source
    return claims


KINDS = (ServiceAccounts,)
