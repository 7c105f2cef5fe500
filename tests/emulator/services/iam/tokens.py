"""The token endpoint, `https://oauth2.googleapis.com/token`: an assertion or a refresh token in, an access token out.

Sources: https://developers.google.com/identity/protocols/oauth2/service-account#authorizingrequests, its table of
errors, https://developers.google.com/identity/protocols/oauth2/web-server#offline, and RFC 6749 for their shape.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from starlette.responses import JSONResponse, Response

from tests.emulator.access import ADC_CLIENT, TOKEN_LIFE
from tests.emulator.assertions import BadAssertion, verified
from tests.emulator.kind import Call, Kind, raw

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
AUDIENCES = ("https://oauth2.googleapis.com/token", "https://www.googleapis.com/oauth2/v4/token")
"""Source: the document names the first; the second is in key files of old."""


class Tokens(Kind):
    """By Host header, or at `/token` of this address."""

    collection = "oauth2.tokens"
    owns_records = False

    @raw("token", "POST", r"/(?:token)?")
    def token(self, call: Call) -> Response:
        sent = dict(parse_qsl(call.content.decode(errors="replace")))
        if sent.get("grant_type") == "refresh_token":
            return self._refreshed(sent)
        if sent.get("grant_type") != JWT_BEARER:
            return _refused("unsupported_grant_type", f"Invalid grant_type: {sent.get('grant_type', '')}")
        try:
            claims = verified(self.cloud.world, sent.get("assertion", ""))
        except BadAssertion as bad:
            return _refused("invalid_grant", str(bad))
        return self._answer(call, claims)

    def _refreshed(self, sent: dict[str, str]) -> Response:
        """Source of the words: googleworkspace/python-samples#1644, googleapis/python-bigquery-pandas#78."""
        member = self.cloud.access.refreshes.get(sent.get("refresh_token", ""))
        if sent.get("client_id") != ADC_CLIENT:
            return _refused("invalid_client", "The OAuth client was not found.", 401)
        if member is None:
            return _refused("invalid_grant", "Token has been expired or revoked.")
        if member in self.cloud.access.stale_logins:  # openclaw/gogcli#338, anthropics/blobfile#2
            why = {"error_subtype": "invalid_rapt", "error_uri": "https://support.google.com/a/answer/9368756"}
            told = {"error": "invalid_grant", "error_description": "reauth related error (invalid_rapt)"}
            return JSONResponse(told | why, 400)
        token = self.cloud.access.mint(member, TOKEN_LIFE, client=ADC_CLIENT)
        return JSONResponse({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})

    def _answer(self, call: Call, claims: dict[str, Any]) -> Response:
        """Source of the refusals: the table of errors; another's `sub` needs domain-wide delegation, which none has."""
        member, audience = f"serviceAccount:{claims['iss']}", str(claims.get("aud", ""))
        if audience not in (*AUDIENCES, call.base):
            return _refused("invalid_grant", f"Invalid JWT: Failed audience check. The right audience is {call.base}")
        if claims.get("sub") not in (None, claims["iss"]):
            return _refused(
                "unauthorized_client",
                "Client is unauthorized to retrieve access tokens using this method, or client not authorized for "
                "any of the scopes requested.",
                401,
            )
        scopes = str(claims.get("scope", "")).split()
        if not scopes:
            return _refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        token = self.cloud.access.mint(member, TOKEN_LIFE, scopes)
        return JSONResponse({"access_token": token, "expires_in": 3599, "token_type": "Bearer"})


def _refused(error: str, description: str, code: int = 400) -> Response:
    return JSONResponse({"error": error, "error_description": description}, code)


KINDS = (Tokens,)
