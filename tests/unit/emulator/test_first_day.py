"""What went wrong for others on their first day at Google: one test for each issue, named with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from google.api_core.exceptions import BadGateway, GatewayTimeout
from google.auth.exceptions import RefreshError
from google.cloud import compute_v1, storage
from google.oauth2.credentials import Credentials

from tests.unit.emulator.api_clients import account, changed_policy, client, iam, refused
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import Machines
from tests.unit.emulator.run_clients import made

PERSON = "user:person@example.com"


def lay(google: Emulated, kind: str, **rule: Any) -> None:
    google.http().post("/_emulator/faults", json={"kind": kind, **rule}).raise_for_status()


def test_a_project_without_billing_gets_no_service_that_costs(google: Emulated) -> None:
    """kyegomez/zeta#71, from SkyPilot's own check."""
    project = f"{google.project}-poor"
    sent = {"projectId": project, "billing": False}
    http = google.http(google.http().post("/_emulator/projects", json=sent).json()["token"])
    services = f"/serviceusage/v1/projects/{project}/services"
    error = http.post(f"{services}/compute.googleapis.com:enable").json()["error"]
    assert (error["code"], error["status"]) == (400, "FAILED_PRECONDITION")
    assert (
        "Billing must be enabled for activation of service(s) 'compute.googleapis.com' to proceed" in error["message"]
    )
    assert [each.get("reason") for each in error["details"]] == [None, "UREQ_PROJECT_BILLING_NOT_FOUND"]
    assert http.post(f"{services}/iam.googleapis.com:enable").status_code == 200


def test_a_deleted_roles_name_is_taken_for_37_days(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#1681, DataBiosphere/azul#4390."""
    roles, parent = client(google, "iam.v1").projects().roles(), f"projects/{google.project}"
    body = {"roleId": "reader", "role": {"title": "Reader"}}
    roles.create(parent=parent, body=body).execute()
    roles.delete(name=f"{parent}/roles/reader").execute()
    assert "in a deleted state" in refused(roles.create(parent=parent, body=body)).reason
    google.advance(8 * 86400)
    roles = client(google, "iam.v1").projects().roles()
    assert "which has been marked for deletion" in refused(roles.create(parent=parent, body=body)).reason
    google.advance(30 * 86400)
    client(google, "iam.v1").projects().roles().create(parent=parent, body=body).execute()


def test_an_organization_wants_a_new_login(google: Emulated) -> None:
    """openclaw/gogcli#338, anthropics/blobfile#2: "reauth related error (invalid_rapt)"."""
    told = google.http().post("/_emulator/adc", json={"member": PERSON}).json()
    google.http().post("/_emulator/reauth", json={"member": PERSON}).raise_for_status()
    names = ("refresh_token", "client_id", "client_secret")
    held = Credentials(None, token_uri=f"{google.address}/token", **{name: told[name] for name in names})  # type: ignore[no-untyped-call]
    networks = compute_v1.NetworksClient(credentials=held, client_options=google.options("compute"))
    with pytest.raises(RefreshError, match="Reauthentication is needed"):
        list(networks.list(project=google.project))


def test_the_front_end_answers_with_a_page(google: Emulated) -> None:
    """terraform-google-modules/terraform-google-kubernetes-engine#1635, googleapis/google-cloud-rust#4459: no JSON."""
    lay(google, "page", method="compute.networks.get", code=502)
    networks = compute_v1.NetworksClient(credentials=google.credentials, client_options=google.options("compute"))
    with pytest.raises(BadGateway):
        networks.get(project=google.project, network="one", retry=None)
    lay(google, "page", method="iam.projects.serviceAccounts.list", code=502)
    error = refused(iam(google).projects().serviceAccounts().list(name=f"projects/{google.project}"))
    assert (error.status_code, b"That" in error.content) == (502, True)


@pytest.mark.parametrize("reason", ["", "ZONE_RESOURCE_POOL_EXHAUSTED"])
def test_a_zone_has_no_machines_left(google: Emulated, reason: str) -> None:
    """skypilot-org/skypilot#831 (two codes), scylladb/scylla-cluster-tests#12477 (503): nothing is left behind."""
    machines = Machines(google).prepare()
    lay(google, "stockout", method="compute.instances.insert", **({"reason": reason} if reason else {}))
    done = machines.operations.wait(operation=machines.insert("one").name, **machines.zone)
    assert [each.code for each in done.error.errors] == [reason or "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS"]
    assert done.http_error_status_code == 503
    assert list(machines.instances.list(**machines.zone)) == []


def test_the_cpus_of_all_regions_have_a_quota_of_their_own(google: Emulated) -> None:
    """GoogleCloudPlatform/ai-on-gke#849: QUOTA_EXCEEDED of CPUS_ALL_REGIONS where the region has some left."""
    machines = Machines(google).prepare()
    sent = {"project": google.project, "metric": "CPUS_ALL_REGIONS", "limit": 1}
    google.http().post("/_emulator/quotas", json=sent).raise_for_status()
    done = machines.operations.wait(operation=machines.insert("one").name, **machines.zone)
    words = "Quota 'CPUS_ALL_REGIONS' exceeded.  Limit: 1.0 globally."
    assert [(each.code, each.message) for each in done.error.errors] == [("QUOTA_EXCEEDED", words)]


def test_nobody_makes_a_service_public_in_a_new_organization(google: Emulated) -> None:
    """googlemaps/js-route-optimization-app#198: Cloud Run's own words; `invokerIamDisabled` needs no binding."""
    project = f"{google.project}-hard"
    hardened = replace(
        google, project=project, token=google.cloud.add_project(project, ("all",), organization="example.com")
    )
    made(hardened, invoker_iam_disabled=True)
    services = client(hardened, "run.v2").projects().locations().services()
    listed = services.list(parent=f"projects/{project}/locations/us-central1").execute().get("services") or []
    name = listed[0]["name"] if listed else hardened.cloud.world.under(f"run/projects/{project}/")[0].body["name"]
    bindings = [{"role": "roles/run.invoker", "members": ["allUsers"]}]
    error = refused(services.setIamPolicy(resource=name, body={"policy": {"bindings": bindings}}))
    assert (error.status_code, "perhaps due to an organization policy" in error.reason) == (400, True)


def test_a_gateway_gives_up_without_a_word(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#9026: "Error 504: , gatewayTimeout" of a bucket."""
    lay(google, "error", method="storage.buckets.get", code=504, message="")
    options = google.options("storage")
    buckets = storage.Client(google.project, credentials=google.credentials, client_options=options)
    with pytest.raises(GatewayTimeout) as caught:
        buckets.get_bucket(f"{google.project}-none", retry=None)
    assert caught.value.errors[0]["reason"] == "gatewayTimeout"


def test_an_account_enables_nothing_where_its_own_project_has_not_service_usage(google: Emulated) -> None:
    """hashicorp/terraform-provider-google#7660: "bar's project doesn't have serviceusage enabled"."""
    home = f"{google.project}-home"
    google.cloud.add_project(home, ("iam.googleapis.com",))
    google.cloud.world.projects[home].services.discard("serviceusage.googleapis.com")
    member = f"serviceAccount:{account(replace(google, project=home), 'worker-1')['email']}"
    google.grant("roles/serviceusage.serviceUsageAdmin", member)
    path = f"/serviceusage/v1/projects/{google.project}/services/run.googleapis.com:enable"
    token = google.cloud.access.mint(member)
    assert google.http(token).post(path).status_code == 403
    answer = google.http(token).post(path, headers={"X-Goog-User-Project": google.project})
    assert answer.status_code == 200


def test_a_grant_of_a_moment_ago_is_not_enough_for_a_machine(slow_google: Emulated) -> None:
    """googleapis/google-cloud-java#10061 (SERVICE_ACCOUNT_ACCESS_DENIED), for a grant that is on its way."""
    machines, email = Machines(slow_google).prepare(), Machines(slow_google).account()
    slow_google.grant("roles/compute.admin", PERSON)
    with changed_policy(slow_google) as policy:
        policy["bindings"].append({"role": "roles/iam.serviceAccountUser", "members": [PERSON]})
    asked = [compute_v1.ServiceAccount(email=email)]

    def errors(name: str) -> list[str]:
        started = machines.insert(name, PERSON, service_accounts=asked)
        done = machines.operations.wait(operation=started.name, **machines.zone)
        return [each.code for each in done.error.errors]

    assert errors("one") == ["SERVICE_ACCOUNT_ACCESS_DENIED"]
    slow_google.advance(130)
    assert errors("two") == []


def test_cloud_sql_is_unavailable_for_a_moment(google: Emulated) -> None:
    """hashicorp/terraform#5231: "Error 503: Service temporarily unavailable., serverException"."""
    lay(google, "error", service="sqladmin", code=503, message="Service temporarily unavailable.")
    answer = google.http().get(f"/sqladmin/v1/projects/{google.project}/instances")
    assert (answer.status_code, answer.json()["error"]["errors"][0]["reason"]) == (503, "serverException")


def test_a_secret_granted_a_moment_ago_is_not_yet_the_revisions(slow_google: Emulated) -> None:
    """GoogleCloudPlatform/magic-modules#1408 and access-change-propagation: the first revision fails."""
    project, http = slow_google.project, slow_google.http()
    email = Machines(slow_google).account()
    secrets = f"/secretmanager/v1/projects/{project}/secrets"
    http.post(f"{secrets}?secretId=one", json={"replication": {"automatic": {}}}).raise_for_status()
    http.post(f"{secrets}/one:addVersion", json={"payload": {"data": "eA=="}}).raise_for_status()
    bindings = [{"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{email}"]}]
    http.post(f"{secrets}/one:setIamPolicy", json={"policy": {"bindings": bindings}}).raise_for_status()
    reference = {"secretKeyRef": {"secret": "one", "version": "1"}}
    container = {"image": "us-docker.pkg.dev/cloudrun/container/hello"}
    container |= {"env": [{"name": "ONE", "valueSource": reference}]}
    parent = f"/run/v2/projects/{project}/locations/us-central1"
    body = {"template": {"serviceAccount": email, "containers": [container]}}
    http.post(f"{parent}/services?serviceId=one", json=body).raise_for_status()
    slow_google.advance(30)
    ready = slow_google.http().get(f"{parent}/services/one").json()["terminalCondition"]
    assert (ready["state"], "Permission denied on secret" in ready["message"]) == ("CONDITION_FAILED", True)
    slow_google.advance(100)
    body["template"]["labels"] = {"try": "again"}
    slow_google.http().patch(f"{parent}/services/one", json=body).raise_for_status()
    slow_google.advance(30)
    ready = slow_google.http().get(f"{parent}/services/one").json()["terminalCondition"]
    assert ready["state"] == "CONDITION_SUCCEEDED"
