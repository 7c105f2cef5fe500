"""The service account of an instance, and who may put one there.

Sources: https://cloud.google.com/compute/docs/access/service-accounts,
https://cloud.google.com/iam/docs/service-accounts-actas
"""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.accounts import account, put_account
from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute.projects import compute_project
from tests.emulator.world import Project

DEFAULT_SUFFIX = "-compute@developer.gserviceaccount.com"


def account_of(cloud: Cloud, project: Project, given: Body) -> Body:
    """`{email, scopes}` as the API shows it; `default` stands for the project's default account."""
    email = given.get("email", "default")
    if email in ("default", default_email(project)):
        email = default_email(project)
        ensure_default(cloud, project)
    return {"email": email, "scopes": list(given.get("scopes", []))}


def default_email(project: Project) -> str:
    return f"{project.number}{DEFAULT_SUFFIX}"


def ensure_default(cloud: Cloud, project: Project) -> None:
    """Make the default account, once: Google does so when the API is enabled, here when somebody first uses it.

    It gets no role of itself, as where the organisation's policy iam.automaticIamGrantsForDefaultServiceAccounts says.
    """
    kept, email = compute_project(cloud, project), default_email(project)
    if not kept.hidden.get("default account made") and account(cloud.world, email) is None:
        put_account(cloud.world, project, email, displayName="Compute Engine default service account")
    kept.hidden["default account made"] = True


def refused(cloud: Cloud, caller: str, accounts: list[Body]) -> errors.ApiError | None:
    """Why an operation that puts these accounts on an instance will end in an error; None if it will not.

    Source of the words: googleapis/google-cloud-java#10061 (SERVICE_ACCOUNT_ACCESS_DENIED),
    GoogleCloudPlatform/terraform-google-managed-instance-group#40 ("of type 'serviceAccount' was not found"), with the
    code EXTERNAL_RESOURCE_NOT_FOUND as a test of ubicloud/ubicloud shows it.
    """
    for email in (each["email"] for each in accounts):
        found = account(cloud.world, email)
        if found is None:
            words = f"The resource '{email}' of type 'serviceAccount' was not found."
            return errors.ApiError(404, words, reason="EXTERNAL_RESOURCE_NOT_FOUND")
        name = found.body["name"]
        project = "/".join(name.split("/")[:2])
        if not cloud.access.may(caller, "iam.serviceAccounts.actAs", (name, project)):
            words = (
                f"The user does not have access to service account '{email}'.  User: '{caller.partition(':')[2]}'.  "
                "Ask a project owner to grant you the iam.serviceAccountUser role on the service account"
            )
            return errors.invalid(words, reason="SERVICE_ACCOUNT_ACCESS_DENIED")
    return None
