"""Service accounts and their keys as records: what each is called, who exists, and which key is whose.

Sources: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts and its `keys`;
https://cloud.google.com/iam/docs/service-account-types (names of default accounts and of service agents).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.emulator.clock import rfc3339
from tests.emulator.world import Project, Record, World

ACCOUNTS = "iam.projects.serviceAccounts"
KEYS = "iam.projects.serviceAccounts.keys"
FOREVER = "9999-12-31T23:59:59Z"
"""Source: `validBeforeTime` of user-managed keys, as `gcloud iam service-accounts keys list` shows it."""


def email_of(project: Project, account_id: str) -> str:
    return f"{account_id}@{project.id}.iam.gserviceaccount.com"


def put_account(world: World, project: Project, email: str, **told: str) -> Record:
    """A new account; `told` is what its maker says of it (displayName, description)."""
    unique = f"1{world.number():020d}"
    name = f"projects/{project.id}/serviceAccounts/{email}"
    body = {
        "name": name,
        "projectId": project.id,
        "uniqueId": unique,
        "email": email,
        "etag": "MDEwMjE5MjA=",
        "oauth2ClientId": unique,
    }
    record = world.put(Record(f"iam/{name}", ACCOUNTS, body | told, {}))
    put_key(world, record, {"keyType": "SYSTEM_MANAGED", "keyOrigin": "GOOGLE_PROVIDED"}, "")
    return record


def put_key(world: World, account: Record, told: dict[str, Any], public: str) -> Record:
    """A key of an account by its public half (PEM)."""
    key_id = f"{world.number():040x}"
    body = {
        "name": f"{account.body['name']}/keys/{key_id}",
        "validAfterTime": rfc3339(world.clock.now()),
        "validBeforeTime": FOREVER,
        "keyAlgorithm": "KEY_ALG_RSA_2048",
    }
    return world.put(Record(f"iam/{body['name']}", KEYS, body | told, {"public": public}))


def account(world: World, who: str) -> Record | None:
    """The account with this email or unique id, in whatever project; None, too, for one made a moment ago."""
    if who.isdigit():
        return next((each for each in existing(world) if each.body["uniqueId"] == who), None)
    found = of_email(world, who)
    return found if found and known(world, found) else None


def of_email(world: World, email: str) -> Record | None:
    """The account with this email, known everywhere or not."""
    project = home(world, email)
    return world.find(f"iam/projects/{project.id}/serviceAccounts/{email}") if project else None


def known(world: World, account: Record) -> bool:
    """Whether an account is there for everyone: a new one is not, for a while.

    Sources: https://cloud.google.com/iam/docs/service-accounts-create, hashicorp/terraform-provider-google#18087.
    """
    now = world.clock.now()
    return bool(account.hidden.get("known", now) <= now)


def existing(world: World) -> Iterator[Record]:
    """All accounts but the deleted ones, which are kept under other names, and those made a moment ago."""
    return (each for each in world.of(ACCOUNTS) if each.name.startswith("iam/projects/") and known(world, each))


def home(world: World, email: str) -> Project | None:
    """The project an email says it is of; None for one that is not ours."""
    name, _, domain = email.partition("@")
    if domain == "developer.gserviceaccount.com":
        return world.project(name.removesuffix("-compute"))
    return world.projects.get(domain.removesuffix(".iam.gserviceaccount.com"))


def exists(world: World, email: str) -> bool:
    """Whether a policy may name it: an account of ours must be there, an agent of ours too; others are believed.

    Source: GoogleCloudPlatform/genai-for-marketing#139
    """
    if home(world, email):
        return account(world, email) is not None
    agent = re.fullmatch(r"(?:service-)?(\d+)@.+\.gserviceaccount\.com", email)
    project = world.project(agent[1]) if agent else None
    return project is None or email in project.agents


def usable(world: World, email: str) -> bool:
    """Whether it can authenticate: not deleted, not disabled."""
    found = account(world, email)
    return exists(world, email) if found is None else not found.body.get("disabled", False)


def public_keys(world: World, email: str) -> dict[str, str]:
    """PEM by key id of an account's keys that are not disabled."""
    found = account(world, email)
    keys = world.under(f"{found.name}/keys/") if found else []
    enabled = (each for each in keys if each.hidden["public"] and not each.body.get("disabled"))
    return {each.name.rpartition("/")[2]: each.hidden["public"] for each in enabled}


def google_key(world: World, account: Record) -> tuple[str, str]:
    """Id and private half (PEM) of the key that Google holds for an account."""
    record = next(each for each in world.under(f"{account.name}/keys/") if each.body["keyType"] == "SYSTEM_MANAGED")
    if not record.hidden["public"]:
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        record.hidden |= {"private": private_pem(private), "public": public_pem(private)}
    return record.name.rpartition("/")[2], record.hidden["private"]


def public_pem(private: rsa.RSAPrivateKey) -> str:
    pem, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(pem, form).decode()


def private_pem(private: rsa.RSAPrivateKey) -> str:
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return private.private_bytes(pem, form, serialization.NoEncryption()).decode()


def key_file(world: World, account: Record, token_uri: str, bits: int = 2048) -> tuple[Record, dict[str, Any]]:
    """A new key of an account, and the file for its holder, who gets tokens at `token_uri`.

    Source: https://cloud.google.com/iam/docs/keys-create-delete ("The key file has the following format")
    """
    private = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    told = {
        "keyType": "USER_MANAGED",
        "keyOrigin": "GOOGLE_PROVIDED",
        "keyAlgorithm": f"KEY_ALG_RSA_{bits}",
        "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE",
    }
    record = put_key(world, account, told, public_pem(private))
    email = account.body["email"]
    quoted = email.replace("@", "%40")
    file = {
        "type": "service_account",
        "project_id": account.body["projectId"],
        "private_key_id": record.name.rpartition("/")[2],
        "private_key": private_pem(private),
        "client_email": email,
        "client_id": account.body["oauth2ClientId"],
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": token_uri,
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": f"https://www.googleapis.com/robot/v1/metadata/x509/{quoted}",
        "universe_domain": "googleapis.com",
    }
    return record, file
