"""Keys of service accounts. Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts.keys"""

from __future__ import annotations

import base64
import json

from tests.emulator import accounts, errors, organization
from tests.emulator.accounts import KEYS
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.iam.base import OfAccount
from tests.emulator.world import Record

MOST = 10
"""User-managed keys of an account. Source: https://cloud.google.com/iam/quotas#limits"""


class Keys(OfAccount):
    """Keys that Google made for a holder, and the one it keeps to itself."""

    collection = KEYS

    @on("create", "iam.serviceAccountKeys.create")
    def create(self, call: Call) -> Body:
        """Source on the limit: googleapis/google-api-dotnet-client#2027 (400 since 2022, 429 before)."""
        account = self.existing(call)
        organization.check_key(call.project(account.body["projectId"]), account.body["email"])
        if call.body.get("privateKeyType") == "TYPE_PKCS12_FILE":
            raise errors.not_emulated("privateKeyType TYPE_PKCS12_FILE")
        if len(self._of(account, "USER_MANAGED")) >= MOST:
            raise errors.failed_precondition("Precondition check failed.")
        bits = 1024 if call.body.get("keyAlgorithm") == "KEY_ALG_RSA_1024" else 2048
        record, file = accounts.key_file(self.cloud.world, account, _token_uri(call), bits)
        secret = base64.b64encode(json.dumps(file, indent=2).encode()).decode()
        return record.body | {"privateKeyData": secret, "privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"}

    @on("get", "iam.serviceAccountKeys.get")
    def get(self, call: Call) -> Body:
        record = self.key(call)
        form = call.get("publicKeyType", "TYPE_NONE")
        if form == "TYPE_X509_PEM_FILE":
            raise errors.not_emulated(f"publicKeyType {form}")
        if form != "TYPE_RAW_PUBLIC_KEY":
            return record.body
        if not record.hidden["public"]:
            accounts.google_key(self.cloud.world, self.existing(call))
        return record.body | {"publicKeyData": base64.b64encode(record.hidden["public"].encode()).decode()}

    @on("list", "iam.serviceAccountKeys.list")
    def listed(self, call: Call) -> Body:
        found = self._of(self.existing(call), *call.get("keyTypes", ()))
        return {"keys": [each.body for each in found]} if found else {}

    @on("delete", "iam.serviceAccountKeys.delete")
    def delete(self, call: Call) -> Body:
        self.cloud.world.drop(self.user_managed(call).name)
        return {}

    @on("disable", "iam.serviceAccountKeys.disable")
    def disable(self, call: Call) -> Body:
        self.user_managed(call).body |= {
            "disabled": True,
            "disableReason": "SERVICE_ACCOUNT_KEY_DISABLE_REASON_USER_INITIATED",
        }
        return {}

    @on("enable", "iam.serviceAccountKeys.enable")
    def enable(self, call: Call) -> Body:
        for field in ("disabled", "disableReason"):
            self.user_managed(call).body.pop(field, None)
        return {}

    def key(self, call: Call) -> Record:
        """The key of a call; the words of the 404 have no source."""
        record = self.cloud.world.find(f"{self.existing(call).name}/keys/{self.named(call)[5]}")
        if record is None:
            raise errors.not_found(f"Service account key {self.named(call)[5]} does not exist.")
        return record

    def user_managed(self, call: Call) -> Record:
        """Source: https://cloud.google.com/iam/docs/keys-create-delete (system-managed keys cannot be); words: none."""
        record = self.key(call)
        if record.body["keyType"] != "USER_MANAGED":
            raise errors.failed_precondition("A system-managed key cannot be changed.")
        return record

    def _of(self, account: Record, *types: str) -> list[Record]:
        keys = self.cloud.world.under(f"{account.name}/keys/", KEYS)
        return [each for each in keys if not types or each.body["keyType"] in types]


def _token_uri(call: Call) -> str:
    """Where the holder of a new key gets tokens: here as the caller addressed us, or at Google's own name."""
    here = call.base.startswith("http://") and "googleapis.com" not in call.base
    return f"{call.base.removesuffix('/iam')}/token" if here else "https://oauth2.googleapis.com/token"


KINDS = (Keys,)
