"""A service account of the stack's, and what it may do in the project.

Everybody at Google knows of a new account or role only after a while: until then it is "not there", or still refused.

Source: https://cloud.google.com/iam/docs/reference/rest/v1/projects.serviceAccounts,
https://cloud.google.com/iam/docs/access-change-propagation (2 minutes as a rule, 7 or more at times),
https://cloud.google.com/resource-manager/reference/rest/v3/projects/setIamPolicy (read, change, write with its etag).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from google.api_core import exceptions

from blocks.errors import Blocked, Conflict, NotReady
from blocks.gcp.google import Google
from blocks.gcp.marks import description
from blocks.resource import Attributes, Change, Resource

KNOWN_SECONDS = 600.0
"""Time a new account gets until the project's policy may name it."""
POLICY_VERSION = 3
"""Else conditions which somebody has put in the policy would be lost by writing it."""


class ServiceAccount(Resource):
    """An account without keys: only what runs as it, on Google's own machines, has its rights.

    Args:
        part: Whose it is, such as `host`; the account is `STACK-PART`.
    """

    def __init__(self, google: Google, stack: str, part: str) -> None:
        self.name = f"service account of the {part}"
        self._google, self._stack, self._id = google, stack, f"{stack}-{part}"
        self.email = f"{self._id}@{google.project}.iam.gserviceaccount.com"
        self._path = f"v1/projects/{google.project}/serviceAccounts"

    def find(self) -> Attributes | None:
        try:
            found = self._google.rest(self._doing("reading"), "GET", "iam", f"{self._path}/{self.email}")
        except exceptions.NotFound:
            return None
        return {"description": found.get("description", ""), "disabled": bool(found.get("disabled"))}

    def want(self) -> Attributes:
        return {"description": description(self._stack), "disabled": False}

    def require_ours(self, actual: Attributes) -> None:
        if actual["description"] != description(self._stack):
            what = f"the service account {self.email} is there, and not this stack's: {actual['description']!r}"
            raise Blocked(what, "another stack name gives another account")

    def apply(self, actual: Attributes | None, change: Change) -> None:
        if actual is None:
            described = {"displayName": f"{self._stack}: {self.name}", "description": description(self._stack)}
            body = {"accountId": self._id, "serviceAccount": described}
            with suppress(exceptions.Conflict):  # the answer was lost: it is there
                self._google.rest(self._doing("making"), "POST", "iam", self._path, body)
            self._google.wait(self._is_known, f"{self.email} being known", seconds=KNOWN_SECONDS)
        else:
            self._google.rest(self._doing("enabling"), "POST", "iam", f"{self._path}/{self.email}:enable", {})

    def delete(self) -> None:
        with suppress(exceptions.NotFound):
            self._google.rest(self._doing("removing"), "DELETE", "iam", f"{self._path}/{self.email}")

    def _is_known(self) -> bool:
        try:
            found = self.find()
        except Blocked as error:  # a new one is refused at first, as if we might not read it
            raise NotReady(error.what) from error
        if found is not None:
            self.require_ours(found)
        return found is not None

    def _doing(self, doing: str) -> str:
        return f"{doing} the service account {self.email}"


class ProjectRoles(Resource):
    """Roles which an account of the stack's has in the whole project; what others have there is left as it is.

    Args:
        account: Whose roles they are.
        roles: Such as `roles/logging.logWriter`.
    """

    def __init__(self, google: Google, account: ServiceAccount, roles: tuple[str, ...]) -> None:
        self.name = f"roles: {account.name}"
        self.needs = (account.name,)
        self._google, self._roles = google, sorted(roles)
        self._member = f"serviceAccount:{account.email}"
        self._path = f"v3/projects/{google.project}"

    def find(self) -> Attributes | None:
        try:
            found = _roles_of(self._policy(), self._member)
        except exceptions.NotFound:  # what they are for is not there
            return None
        return {"roles": found} if found else None

    def want(self) -> Attributes:
        return {"roles": self._roles}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._write(self._roles)

    def delete(self) -> None:
        self._write([])

    def _policy(self) -> dict[str, Any]:
        options = {"options": {"requestedPolicyVersion": POLICY_VERSION}}
        policy: dict[str, Any] = self._google.rest(
            "reading the project's policy", "POST", "cloudresourcemanager", f"{self._path}:getIamPolicy", options
        )
        return policy

    def _write(self, roles: list[str]) -> None:
        """Give the account these roles and no others, and see that it is so: a read may be of a moment ago."""
        what = f"the roles of {self._member}"
        try:
            self._google.wait(lambda: self._try_to_write(roles), what, seconds=KNOWN_SECONDS, every=5.0)
            self._google.wait(lambda: _roles_of(self._policy(), self._member) == roles, what, seconds=KNOWN_SECONDS)
        except NotReady as error:
            raise Conflict(error.what, "run the same command again") from error

    def _try_to_write(self, roles: list[str]) -> bool:
        """Write a policy that nobody has changed since it was read.

        Raises:
            NotReady: somebody has, or the account is not known everywhere.
        """
        try:
            self._store(_with_roles(self._policy(), self._member, roles))
        except (exceptions.Conflict, exceptions.PreconditionFailed, exceptions.BadRequest) as error:
            raise NotReady(str(error.message)) from error
        return True

    def _store(self, policy: dict[str, Any]) -> None:
        path = f"{self._path}:setIamPolicy"
        self._google.rest("changing the project's policy", "POST", "cloudresourcemanager", path, {"policy": policy})


def _roles_of(policy: dict[str, Any], member: str) -> list[str]:
    """Roles that somebody has without any condition, sorted."""
    plain = (each for each in policy.get("bindings", []) if "condition" not in each)
    return sorted(each["role"] for each in plain if member in each["members"])


def _with_roles(policy: dict[str, Any], member: str, roles: list[str]) -> dict[str, Any]:
    """The policy with exactly these roles of a member, and all else as it was."""
    bindings = []
    for each in policy.get("bindings", []):
        others = each["members"] if "condition" in each else [one for one in each["members"] if one != member]
        bindings += [{**each, "members": others}] if others else []
    bindings += [{"role": role, "members": [member]} for role in roles]
    return {**policy, "version": POLICY_VERSION, "bindings": bindings}
