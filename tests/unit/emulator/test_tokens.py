"""Tokens: at the token endpoint, self-signed, in another account's name; and callers that are not believed.

Sources: https://developers.google.com/identity/protocols/oauth2/service-account, https://google.aip.dev/auth/4111,
https://cloud.google.com/iam/docs/create-short-lived-credentials-direct
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from google.api_core.exceptions import Forbidden
from google.auth import crypt, impersonated_credentials, jwt
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud import compute_v1
from google.oauth2 import service_account

from tests.unit.emulator.api_clients import account, client, iam, refused
from tests.unit.emulator.conftest import Emulated

EVERYTHING = "https://www.googleapis.com/auth/cloud-platform"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def key(google: Emulated) -> dict[str, Any]:
    """The key file of an account that may read all of Compute Engine."""
    made = account(google, "worker-1")
    google.grant("roles/compute.viewer", f"serviceAccount:{made['email']}")
    return key_of(google, made)


def key_of(google: Emulated, made: Mapping[str, Any]) -> dict[str, Any]:
    small = {"keyAlgorithm": "KEY_ALG_RSA_1024"}  # made in a tenth of the time
    created = iam(google).projects().serviceAccounts().keys().create(name=made["name"], body=small).execute()
    file: dict[str, Any] = json.loads(base64.b64decode(created["privateKeyData"]))
    return file


def credentials(key: Mapping[str, Any], **options: Any) -> Any:
    return service_account.Credentials.from_service_account_info(key, scopes=[EVERYTHING], **options)  # type: ignore[no-untyped-call]


def networks(google: Emulated, held: Any) -> list[str]:
    found = compute_v1.NetworksClient(credentials=held, client_options=google.options("compute"))
    return [each.name for each in found.list(project=google.project)]


def caller(google: Emulated) -> str:
    return google.cloud.received[-1].caller


def assertion(key: Mapping[str, Any], **claims: Any) -> str:
    now = int(time.time())
    told = {"iss": key["client_email"], "aud": key["token_uri"], "scope": EVERYTHING, "iat": now, "exp": now + 3600}
    signer = crypt.RSASigner.from_string(key["private_key"], key["private_key_id"])  # type: ignore[no-untyped-call]
    token: bytes = jwt.encode(signer, {k: v for k, v in (told | claims).items() if v is not None})  # type: ignore[no-untyped-call]
    return token.decode()


def asked(google: Emulated, text: str) -> tuple[int, dict[str, Any]]:
    answer = httpx.post(f"{google.address}/token", data={"grant_type": JWT_BEARER, "assertion": text})
    return answer.status_code, answer.json()


# -- the token endpoint --------------------------------------------------------------------------------------------


def test_a_key_gives_an_access_token(google: Emulated, key: dict[str, Any]) -> None:
    code, answer = asked(google, assertion(key))
    assert (code, answer["expires_in"], answer["token_type"]) == (200, 3599, "Bearer")
    assert networks(google, credentials(key)) == []
    assert caller(google) == f"serviceAccount:{key['client_email']}"


def test_googles_own_name_leads_to_the_token_endpoint_too(google: Emulated, key: dict[str, Any]) -> None:
    text = assertion(key, aud="https://oauth2.googleapis.com/token")
    body = {"grant_type": JWT_BEARER, "assertion": text}
    answer = httpx.post(f"{google.address}/token", data=body, headers={"Host": "oauth2.googleapis.com"})
    assert answer.json()["token_type"] == "Bearer"


@pytest.mark.parametrize(
    ("claims", "error", "words"),
    [
        ({"iss": "nobody@example.com"}, "invalid_grant", "Invalid grant: account not found"),
        ({"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}, "invalid_grant", "short-lived token"),
        ({"exp": int(time.time()) + 7200}, "invalid_grant", "short-lived token"),
        ({"exp": None}, "invalid_grant", "short-lived token"),
        ({"aud": "https://example.com/token"}, "invalid_grant", "audience"),
        ({"scope": None}, "invalid_scope", "Invalid OAuth scope"),
        ({"sub": "user@example.com"}, "unauthorized_client", "Client is unauthorized"),
    ],
)
def test_a_wrong_assertion_is_refused(
    google: Emulated, key: dict[str, Any], claims: dict[str, Any], error: str, words: str
) -> None:
    code, answer = asked(google, assertion(key, **claims))
    assert (code in (400, 401), answer["error"]) == (True, error)
    assert words in answer["error_description"]


def test_what_another_key_signed_is_refused(google: Emulated, key: dict[str, Any]) -> None:
    other = key_of(google, account(google, "worker-2"))
    for wrong in (key | {"private_key": other["private_key"]}, other | {"client_email": key["client_email"]}):
        with pytest.raises(RefreshError, match=r"invalid_grant: Invalid JWT Signature\."):
            credentials(wrong).refresh(Request())
    assert asked(google, "rubbish")[1]["error"] == "invalid_grant"


def test_another_grant_is_refused(google: Emulated) -> None:
    answer = httpx.post(f"{google.address}/token", data={"grant_type": "password", "password": "x"})
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")


def test_a_disabled_and_a_deleted_key_are_refused(google: Emulated, key: dict[str, Any]) -> None:
    keys = iam(google).projects().serviceAccounts().keys()
    name = f"projects/-/serviceAccounts/{key['client_email']}/keys/{key['private_key_id']}"
    keys.disable(name=name, body={}).execute()
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        credentials(key).refresh(Request())
    keys.enable(name=name, body={}).execute()
    credentials(key).refresh(Request())
    keys.delete(name=name).execute()
    with pytest.raises(RefreshError, match="Invalid JWT Signature"):
        credentials(key).refresh(Request())


# -- self-signed ---------------------------------------------------------------------------------------------------


def test_a_self_signed_token_is_believed(google: Emulated, key: dict[str, Any]) -> None:
    """Once for a service (`aud`), as compute's own client does it, once for a scope."""
    before = len(google.cloud.received)
    assert networks(google, credentials(key, always_use_jwt_access=True)) == []
    projects = client(google, "cloudresourcemanager.v3", credentials(key, always_use_jwt_access=True)).projects()
    assert projects.get(name=f"projects/{google.project}").execute()["projectId"] == google.project
    methods = ("compute.networks.list", "cloudresourcemanager.projects.get")
    calls = [(each.method, each.caller) for each in list(google.cloud.received)[before:]]
    assert calls == [(each, f"serviceAccount:{key['client_email']}") for each in methods]


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "other@example.com"},
        {"sub": None},
        {"aud": "https://example.com/", "scope": None},
        {"aud": None, "scope": None},
        {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600},
        {"exp": int(time.time()) + 86400},
        {"exp": "tomorrow"},
    ],
)
def test_a_self_signed_token_that_breaks_a_rule_is_not(
    google: Emulated, key: dict[str, Any], claims: dict[str, Any]
) -> None:
    path = f"/compute/compute/v1/projects/{google.project}/global/networks"
    right = {"sub": key["client_email"], "aud": "https://compute.googleapis.com/", "scope": None}
    assert google.http(assertion(key, **right)).get(path).status_code == 200
    answer = google.http(assertion(key, **(right | claims))).get(path)
    assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_an_unsigned_token_is_not_believed(google: Emulated, key: dict[str, Any]) -> None:
    header, claims, signature = assertion(key, sub=key["client_email"]).split(".")
    forged = json.loads(base64.urlsafe_b64decode(header + "==")) | {"alg": "none"}
    none = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    path = f"/iam/v1/projects/{google.project}/serviceAccounts"
    for text in (f"{none}.{claims}.", f"{none}.{claims}.{signature}", f"{header}.{claims}.", f"{header}.{claims}.AAAA"):
        assert google.http(text).get(path).status_code == 401


# -- who is not believed at all ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/compute/compute/v1/projects/{}/global/networks",
        "/iam/v1/projects/{}/serviceAccounts",
        "/iam/v1/roles/viewer",
        "/cloudresourcemanager/v3/projects/{}",
        "/serviceusage/v1/projects/{}/services",
    ],
)
def test_nobody_rubbish_and_what_is_over_are_unauthenticated(google: Emulated, path: str) -> None:
    """Source of the reasons: google/api/error_reason.proto"""
    expired = google.cloud.access.mint("user:a@example.com")
    del google.cloud.access.tokens[expired]
    url = google.address + path.format(google.project)
    for header in ({}, {"Authorization": "Bearer rubbish"}, {"Authorization": f"Bearer {expired}"}):
        answer = httpx.get(url, headers=header)
        assert (answer.status_code, answer.json()["error"]["status"]) == (401, "UNAUTHENTICATED")
    assert httpx.get(url).json()["error"]["details"][0]["reason"] == "CREDENTIALS_MISSING"


def test_a_token_ends_after_an_hour(google: Emulated) -> None:
    """Source: https://cloud.google.com/docs/authentication/token-types#access-tokens"""
    path, token = "/cloudresourcemanager/v1/projects", google.cloud.access.mint("user:a@example.com")
    google.advance(3599)
    assert google.http(token).get(path).status_code == 200
    google.advance(1)
    answer = google.http(token).get(path)
    assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (401, "ACCESS_TOKEN_EXPIRED")


def test_a_disabled_account_is_refused_whatever_it_holds_until_it_is_enabled(
    google: Emulated, key: dict[str, Any]
) -> None:
    """Source: serviceAccounts.disable in the reference (existing access tokens are rejected, and come back)."""
    accounts = iam(google).projects().serviceAccounts()
    name, old = f"projects/-/serviceAccounts/{key['client_email']}", credentials(key)
    old.refresh(Request())
    path = f"/compute/compute/v1/projects/{google.project}/global/networks"
    signed = assertion(key, sub=key["client_email"])
    accounts.disable(name=name, body={}).execute()
    assert google.http(old.token).get(path).json()["error"]["details"][0]["reason"] == "ACCOUNT_STATE_INVALID"
    assert google.http(signed).get(path).status_code == 401
    with pytest.raises(RefreshError, match="account not found"):
        credentials(key).refresh(Request())
    accounts.enable(name=name, body={}).execute()
    assert [google.http(each).get(path).status_code for each in (old.token, signed)] == [200, 200]


def test_a_token_is_good_for_its_scopes_alone(google: Emulated, key: dict[str, Any]) -> None:
    """Source: fluent/fluent-bit#5410, which prints the refusal."""
    storage_only = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
        key, scopes=["https://www.googleapis.com/auth/devstorage.read_only"]
    )
    storage_only.refresh(Request())
    path = f"/compute/compute/v1/projects/{google.project}/global/networks"
    error = google.http(storage_only.token).get(path).json()["error"]
    assert (error["code"], error["message"]) == (403, "Request had insufficient authentication scopes.")
    assert error["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"


# -- in an account's name ------------------------------------------------------------------------------------------


def impersonated(google: Emulated, source: Any, email: str, **options: Any) -> Any:
    url = f"{google.address}/iamcredentials/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
    return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
        source, email, [EVERYTHING], iam_endpoint_override=url.format(email), **options
    )


def grant_on(google: Emulated, email: str, role: str, member: str) -> None:
    policy = {"bindings": [{"role": role, "members": [member]}]}
    resource = f"projects/-/serviceAccounts/{email}"
    iam(google).projects().serviceAccounts().setIamPolicy(resource=resource, body={"policy": policy}).execute()


def test_only_a_token_creator_acts_in_an_accounts_name_and_not_even_the_owner(
    google: Emulated, key: dict[str, Any]
) -> None:
    """Source of the refusal: google-github-actions/auth#340"""
    person, email = google.credentials_of("user:a@example.com"), key["client_email"]
    for source in (person, google.credentials):
        with pytest.raises(RefreshError, match=r"iam\.serviceAccounts\.getAccessToken.+ denied on resource"):
            impersonated(google, source, email).refresh(Request())
    grant_on(google, email, "roles/iam.serviceAccountTokenCreator", "user:a@example.com")
    assert networks(google, impersonated(google, person, email)) == []
    assert caller(google) == f"serviceAccount:{email}"


def test_a_chain_of_delegates_needs_every_link(google: Emulated, key: dict[str, Any]) -> None:
    """Source: https://cloud.google.com/iam/docs/create-short-lived-credentials-delegated"""
    person, target = google.credentials_of("user:a@example.com"), key["client_email"]
    one, two = (account(google, f"delegate-{number}")["email"] for number in (1, 2))
    role, chain = "roles/iam.serviceAccountTokenCreator", [f"projects/-/serviceAccounts/{each}" for each in (one, two)]
    grant_on(google, one, role, "user:a@example.com")
    grant_on(google, target, role, f"serviceAccount:{two}")
    through = impersonated(google, person, target, delegates=chain)
    with pytest.raises(RefreshError, match=r"iam\.serviceAccounts\.implicitDelegation"):
        through.refresh(Request())
    grant_on(google, two, role, f"serviceAccount:{one}")
    assert networks(google, through) == []


def test_limits_of_a_token_in_an_accounts_name(google: Emulated, key: dict[str, Any]) -> None:
    """Sources: generateAccessToken in the reference; GoogleCloudPlatform/python-docs-samples#10759."""
    google.grant("roles/iam.serviceAccountTokenCreator", "user:a@example.com")
    accounts = client(google, "iamcredentials.v1", google.credentials_of("user:a@example.com")).projects()
    name, generate = f"projects/-/serviceAccounts/{key['client_email']}", accounts.serviceAccounts().generateAccessToken
    assert generate(name=name, body={"scope": [EVERYTHING], "lifetime": "3600s"}).execute()["expireTime"]
    for body in ({"scope": [EVERYTHING], "lifetime": "3601s"}, {"lifetime": "60s"}, {"scope": [EVERYTHING], "x": 1}):
        assert refused(generate(name=name, body=body)).status_code == 400
    unknown = refused(generate(name="projects/-/serviceAccounts/none@example.com", body={"scope": [EVERYTHING]}))
    assert (unknown.status_code, unknown.reason) == (404, "Not found; Gaia id not found for email none@example.com")
    named = name.replace("/-/", f"/{google.project}/")
    assert refused(generate(name=named, body={"scope": [EVERYTHING]})).status_code == 400


def test_a_signature_in_an_accounts_name_is_by_its_own_key(google: Emulated, key: dict[str, Any]) -> None:
    google.grant("roles/iam.serviceAccountTokenCreator", "user:a@example.com")
    signer = (
        client(google, "iamcredentials.v1", google.credentials_of("user:a@example.com")).projects().serviceAccounts()
    )
    name = f"projects/-/serviceAccounts/{key['client_email']}"
    payload = base64.b64encode(b"text").decode()
    signed = signer.signBlob(name=name, body={"payload": payload}).execute()
    public = iam(google).projects().serviceAccounts().keys()
    read = public.get(name=f"{name}/keys/{signed['keyId']}", publicKeyType="TYPE_RAW_PUBLIC_KEY").execute()
    pem = base64.b64decode(read["publicKeyData"])
    assert crypt.verify_signature(b"text", base64.b64decode(signed["signedBlob"]), pem)  # type: ignore[no-untyped-call]
    told = {"iss": key["client_email"], "aud": "x", "iat": int(time.time())}
    body = {"payload": json.dumps(told)}
    token = signer.signJwt(name=name, body=body).execute()["signedJwt"]
    assert jwt.decode(token, certs=pem, verify=True, audience="x")["iss"] == key["client_email"]  # type: ignore[no-untyped-call]
    identity = signer.generateIdToken(name=name, body={"audience": "https://x", "includeEmail": True}).execute()
    claims = jwt.decode(identity["token"], verify=False)  # type: ignore[no-untyped-call]
    assert (claims["aud"], claims["email"], claims["sub"]) == ("https://x", key["client_email"], key["client_id"])


def test_a_key_without_a_role_may_nothing(google: Emulated) -> None:
    key = key_of(google, account(google, "worker-3"))
    with pytest.raises(Forbidden, match=r"Required 'compute.networks.list' permission"):
        networks(google, credentials(key))
    session = AuthorizedSession(credentials(key))  # type: ignore[no-untyped-call]
    answer = session.get(f"{google.address}/cloudresourcemanager/v3/projects/{google.project}")
    assert (answer.status_code, "resourcemanager.projects.get" in answer.text) == (403, True)
