"""Service accounts. Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts"""

from __future__ import annotations

import re
from datetime import timedelta

from tests.emulator import accounts, errors, quotas
from tests.emulator.accounts import ACCOUNTS
from tests.emulator.kind import Body, Call, on
from tests.emulator.pages import page
from tests.emulator.policy_kind import PolicyKind
from tests.emulator.services.iam.base import OfAccount
from tests.emulator.world import Record

LIMITS = {"displayName": 100, "description": 256}
"""Bytes at most. Source: the reference, ServiceAccount."""
KEPT = timedelta(days=30)
"""Source: the reference, undelete: "IAM permanently removes the service account 30 days later"."""
PATHS = {"display_name": "displayName", "displayName": "displayName", "description": "description"}
"""What an update mask may name. Source: the reference, patch: "only the display_name and description"."""


class ServiceAccounts(OfAccount, PolicyKind):
    """Accounts of a project, by email or by unique id."""

    collection = ACCOUNTS

    @on("create", "iam.serviceAccounts.create")
    def create(self, call: Call) -> Body:
        project = self.project_of(call)
        account_id = call.body.get("accountId", "")
        if not re.fullmatch(r"(?=.{6,30}$)[a-z]([-a-z0-9]*[a-z0-9])", account_id):
            raise errors.invalid(f"Invalid accountId '{account_id}': 6 to 30 characters.")  # words: no source
        email = accounts.email_of(project, account_id)
        if accounts.of_email(self.cloud.world, email):
            raise _taken(account_id, project.id, email)
        quotas.check_accounts(self.cloud, project)
        record = accounts.put_account(self.cloud.world, project, email, **_told(call.body.get("serviceAccount", {})))
        record.hidden["known"] = self.cloud.world.settling.until("settle.account")
        return record.body

    @on("get", "iam.serviceAccounts.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "iam.serviceAccounts.list")
    def listed(self, call: Call) -> Body:
        found = self.cloud.world.under(f"iam/projects/{self.project_of(call).id}/serviceAccounts/", ACCOUNTS)
        known = [each.body for each in found if accounts.known(self.cloud.world, each)]
        return page("accounts", known, call, 20, 100)

    @on("patch", "iam.serviceAccounts.update")
    def patch(self, call: Call) -> Body:
        record = self.existing(call)
        mask = call.body.get("updateMask", "").split(",")
        if unknown := [path for path in mask if path not in PATHS]:
            raise errors.invalid(f"Invalid update mask path '{unknown[0]}'.")  # words: no source
        told = _told(call.body.get("serviceAccount", {}))
        record.body |= {PATHS[path]: told.get(PATHS[path], "") for path in mask}
        return record.body

    @on("update", "iam.serviceAccounts.update")
    def update(self, call: Call) -> Body:
        """Source: the reference, update: "updates only the display_name"."""
        record = self.existing(call)
        record.body["displayName"] = _told(call.body).get("displayName", "")
        return record.body

    @on("disable", "iam.serviceAccounts.disable")
    def disable(self, call: Call) -> Body:
        self.existing(call).body["disabled"] = True
        return {}

    @on("enable", "iam.serviceAccounts.enable")
    def enable(self, call: Call) -> Body:
        self.existing(call).body.pop("disabled", None)
        return {}

    def policy_name(self, call: Call) -> str:
        return str(self.existing(call).body["name"])

    # -- deleting and undeleting -------------------------------------------------------------------------------------

    @on("delete", "iam.serviceAccounts.delete")
    def delete(self, call: Call) -> Body:
        """Gone from lists, policies and tokens, yet kept with its keys and its policy for a while."""
        record = self.existing(call)
        world, access = self.cloud.world, self.cloud.access
        keys = world.under(f"{record.name}/keys/")
        for each in (record, *keys):
            world.drop(each.name)
        kept = {"keys": keys, "policy": access.drop_policy(record.body["name"]), "gone": world.clock.now()}
        world.put(Record(_grave(record.body["uniqueId"]), ACCOUNTS, record.body, kept))
        access.rename(*_members(record.body))
        access.forget(f"serviceAccount:{record.body['email']}")
        return {}

    @on("undelete", "iam.serviceAccounts.undelete")
    def undelete(self, call: Call) -> Body:
        """By unique id, for 30 days, as long as no other account has taken the name.

        Source: https://cloud.google.com/iam/docs/service-accounts-delete-undelete#undeleting
        """
        record = self._buried(call)
        world, access = self.cloud.world, self.cloud.access
        email, project = record.body["email"], record.body["projectId"]
        if accounts.account(world, email):
            raise _taken(email.partition("@")[0], project, email)
        world.drop(record.name)
        for each in (Record(f"iam/{record.body['name']}", ACCOUNTS, record.body), *record.hidden["keys"]):
            world.put(each)
        access.policies |= {record.body["name"]: record.hidden["policy"]} if record.hidden["policy"] else {}
        access.rename(*reversed(_members(record.body)))
        return {"restoredAccount": record.body}

    def account(self, call: Call) -> Record | None:
        """The account of a call; to undelete, a deleted one."""
        undeletes = call.method is not None and call.method.verb == "undelete"
        return self.cloud.world.find(_grave(self.named(call)[3])) if undeletes else super().account(call)

    def _buried(self, call: Call) -> Record:
        record = self.existing(call)
        if record.hidden["gone"] + KEPT <= self.cloud.world.clock.now():
            raise errors.not_found("Unknown service account")
        return record


def _told(sent: Body) -> dict[str, str]:
    """What a caller may say of an account, held against its limits."""
    told = {key: sent[key] for key in LIMITS if sent.get(key)}
    for key, value in told.items():
        if len(value.encode()) > LIMITS[key]:
            raise errors.invalid(f"Invalid {key}: at most {LIMITS[key]} bytes.")  # words: no source
    return told


def _taken(account_id: str, project: str, email: str) -> errors.ApiError:
    """Source of the words: no issue found; notes in public repositories print them with their details."""
    error = errors.already_exists(f"Service account {account_id} already exists within project projects/{project}.")
    info = "type.googleapis.com/google.rpc.ResourceInfo"
    error.details = [{"@type": info, "resourceName": f"projects/{project}/serviceAccounts/{email}"}]
    return error


def _grave(unique: str) -> str:
    return f"iam/deleted/{unique}"


def _members(body: Body) -> tuple[str, str]:
    """As a policy names an account, and as it names a deleted one."""
    email = body["email"]
    return f"serviceAccount:{email}", f"deleted:serviceAccount:{email}?uid={body['uniqueId']}"


KINDS = (ServiceAccounts,)
