"""JSON web tokens that service accounts sign: in place of an access token, and for one at the token endpoint.

Sources: https://google.aip.dev/auth/4111 (self-signed JWT),
https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth and #error-codes there. The times in
a JWT are the signer's real ones, which a virtual clock knows nothing of: they are held against the machine's clock.
"""

from __future__ import annotations

import base64
import binascii
import time
from typing import Any

from google.auth import crypt, jwt

from tests.emulator import accounts
from tests.emulator.world import World

LONGEST = 3600
"""Seconds a JWT may last. Source: "Token must be a short-lived token (60 minutes)"."""
SKEW = 300
"""Seconds the signer's clock may be wrong. No source but reports of failures beyond 5 minutes."""
TIMES = (
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
    "Check your iat and exp values in the JWT claim."
)


class BadAssertion(Exception):
    """A JWT that is not believed; the text is the token endpoint's `error_description`."""


def verified(world: World, token: str) -> dict[str, Any]:
    """The claims of a JWT that a usable account signed with one of its keys."""
    try:
        header = jwt.decode_header(token)  # type: ignore[no-untyped-call]
        claims: dict[str, Any] = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call]
    except (ValueError, binascii.Error):
        raise BadAssertion("Invalid JWT Signature.") from None
    email = str(claims.get("iss", ""))
    if accounts.account(world, email) is None or not accounts.usable(world, email):
        raise BadAssertion("Invalid grant: account not found")
    keys = accounts.public_keys(world, email)
    wanted = keys.get(header.get("kid", ""))
    if header.get("alg") != "RS256" or not _signed(token, [wanted] if wanted else list(keys.values())):
        raise BadAssertion("Invalid JWT Signature.")
    if not _in_time(claims.get("iat"), claims.get("exp")):
        raise BadAssertion(TIMES)
    return claims


def _signed(token: str, keys: list[str]) -> bool:
    signed, _, signature = token.encode().rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4))
    return any(crypt.verify_signature(signed, raw, key) for key in keys)  # type: ignore[no-untyped-call]


def _in_time(issued: object, expires: object) -> bool:
    if not isinstance(issued, int) or not isinstance(expires, int):
        return False
    now = time.time()
    return 0 < expires - issued <= LONGEST and issued <= now + SKEW and expires >= now - SKEW


def self_signed(world: World, token: str) -> tuple[str, frozenset[str] | None]:
    """Who signed a JWT that stands in for an access token, and its scopes; None where it names a service instead."""
    claims = verified(world, token)
    if claims.get("sub") != claims["iss"]:
        raise BadAssertion("Invalid JWT: sub must be the account itself.")
    if scope := claims.get("scope"):
        return claims["iss"], frozenset(str(scope).split())
    host = str(claims.get("aud", "")).removeprefix("https://").partition("/")[0]
    if not host.endswith(".googleapis.com"):
        raise BadAssertion("Invalid JWT: neither a scope nor a service as its audience.")
    return claims["iss"], None
