"""gRPC in front of Cloud SQL: every method of the client finds its rule and its messages, and errors keep their words.

Source: https://cloud.google.com/endpoints/docs/grpc/transcoding (one method, two protocols) and
https://cloud.google.com/apis/design/errors#http_mapping.
"""

from __future__ import annotations

import json
from pathlib import Path

import google.cloud.sqladmin_v1
import grpc
import pytest
from google.api_core.exceptions import MethodNotImplemented, PermissionDenied, ServiceUnavailable, Unauthenticated
from google.cloud import sqladmin_v1
from google.cloud.sqladmin_v1.services.sql_instances_service.transports import SqlInstancesServiceGrpcTransport

from tests.emulator.app import App
from tests.emulator.sqladmin_grpc import SqlAdminGrpc, messages_of
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import ENTERPRISE, Grpc
from tests.unit.emulator.test_command import started

METADATA = json.loads((Path(google.cloud.sqladmin_v1.__file__).parent / "gapic_metadata.json").read_text())
NOT_IN_THE_DOCUMENT = {
    "SqlAvailableDatabaseVersionsService",
    "SqlEventsService",
    "SqlFeatureEligibilityService",
    "SqlIamPoliciesService",
    "SqlInstanceNamesService",
    "SqlRegionsService",
    "BlueGreenDeploymentsService",
}
"""Services of the client that the discovery document has no methods of, or under other names; none is emulated."""
RPCS = [
    (service, rpc)
    for service, told in METADATA["services"].items()
    if service not in NOT_IN_THE_DOCUMENT
    for rpc in told["clients"]["grpc"]["rpcs"]
]


def test_every_method_of_the_client_has_a_rule_and_messages(google: Emulated) -> None:
    front = SqlAdminGrpc(App(google.cloud))
    assert len(RPCS) > 70
    for service, rpc in RPCS:
        details = Details(f"/google.cloud.sql.v1.{service}/{rpc}")
        assert front.service(details) is not None, (service, rpc)
        assert messages_of(service, rpc).request.__name__.endswith("Request"), (service, rpc)


class Details(grpc.HandlerCallDetails):
    def __init__(self, method: str) -> None:
        self.method = method
        self.invocation_metadata = ()


def test_what_is_not_emulated_is_unimplemented_by_name(google: Emulated) -> None:
    with pytest.raises(MethodNotImplemented, match=r"sqladmin.v1:sql.instances.failover is not emulated"):
        Grpc(google).instances.failover(request={"project": google.project, "instance": "db"})


def test_a_service_nobody_has(google: Emulated) -> None:
    channel = grpc.insecure_channel(google.sqladmin_grpc)
    call = channel.unary_unary("/google.cloud.sql.v1.SqlDreamsService/List")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"")
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_a_caller_without_a_token(google: Emulated) -> None:
    transport = SqlInstancesServiceGrpcTransport(channel=grpc.insecure_channel(google.sqladmin_grpc))
    client = sqladmin_v1.SqlInstancesServiceClient(transport=transport)
    with pytest.raises(Unauthenticated):
        client.list(request={"project": google.project})


def test_an_api_that_is_disabled_says_so_for_programs_too(google: Emulated) -> None:
    google.cloud.add_project("disabled-42", ("serviceusage.googleapis.com",))
    with pytest.raises(PermissionDenied) as caught:
        Grpc(google).instances.list(request={"project": "disabled-42"})
    assert caught.value.reason == "SERVICE_DISABLED" and caught.value.domain == "googleapis.com"


def test_the_command_tells_where_it_listens() -> None:
    with started("--project", "mine") as (_, _, exports):
        channel = grpc.insecure_channel(exports["EMULATOR_SQLADMIN_GRPC"])
        client = sqladmin_v1.SqlInstancesServiceClient(transport=SqlInstancesServiceGrpcTransport(channel=channel))
        token = Path(exports["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"]).read_text()
        metadata = [("authorization", f"Bearer {token}")]
        body = {"name": "db", "database_version": "POSTGRES_18", "settings": ENTERPRISE}
        client.insert(request={"project": "mine", "body": body}, metadata=metadata)
        assert [each.name for each in client.list(request={"project": "mine"}, metadata=metadata).items] == ["db"]


def test_calls_are_remembered_as_those_over_http_are(google: Emulated) -> None:
    Grpc(google).instances.list(request={"project": google.project})
    (received,) = [each for each in google.cloud.received if f"/{google.project}/" in each.resource]
    assert (received.method, received.caller, received.status) == ("sql.instances.list", "user:owner@example.com", 200)


@pytest.mark.parametrize("fault", [{"kind": "error", "code": 503}, {"kind": "reset-before"}])
def test_faults_strike_here_too(google: Emulated, fault: dict[str, object]) -> None:
    google.cloud.faults.add({"service": "sqladmin", "method": "sql.instances.get", **fault})
    with pytest.raises(ServiceUnavailable):
        Grpc(google).instances.get(request={"project": google.project, "instance": "db"}, retry=None)
