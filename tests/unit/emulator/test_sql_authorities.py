"""Server CA certificates: added, rotated in, rolled back, told apart as gcloud does.

Source: https://cloud.google.com/sql/docs/postgres/manage-ssl-instance, the reference of `instances.listServerCas`.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.sql import Grpc, beta


@pytest.fixture
def sql(google: Emulated) -> Grpc:
    made = Grpc(google)
    made.made()
    return made


def of(sql: Grpc, **more: Any) -> dict[str, Any]:
    return {"project": sql.google.project, "instance": "db", **more}


def listed(sql: Grpc) -> tuple[list[str], str]:
    """Fingerprints of all, the oldest first, and that of the one in use."""
    told = sql.instances.list_server_cas(request=of(sql))
    certs = sorted(told.certs, key=lambda each: str(each.create_time))
    return [each.sha1_fingerprint for each in certs], told.active_version


def add(sql: Grpc) -> str:
    sql.instances.add_server_ca(request=of(sql))
    return listed(sql)[0][-1]


def rotate(sql: Grpc, fingerprint: str = "") -> None:
    context = {"next_version": fingerprint}
    sql.instances.rotate_server_ca(request=of(sql, body={"rotate_server_ca_context": context}))


def test_an_instance_begins_with_one(sql: Grpc) -> None:
    first = sql.read().server_ca_cert.sha1_fingerprint
    assert listed(sql) == ([first], first)
    with pytest.raises(InvalidArgument, match="no server CA certificate to rotate to"):
        rotate(sql)


def test_one_that_is_added_is_used_once_it_is_rotated_in(sql: Grpc) -> None:
    first = sql.read().server_ca_cert.sha1_fingerprint
    dropped = add(sql)
    second = add(sql)
    assert listed(sql) == ([first, second], first) and dropped != second
    rotate(sql)
    assert listed(sql) == ([first, second], second)
    assert sql.read().server_ca_cert.sha1_fingerprint == second
    with pytest.raises(InvalidArgument, match="no server CA certificate to rotate to"):
        rotate(sql)


def test_it_is_rolled_back_to_the_one_before(sql: Grpc) -> None:
    first, second = listed(sql)[1], add(sql)
    rotate(sql, second)
    third = add(sql)
    assert listed(sql) == ([first, second, third], second)
    rotate(sql, first)
    assert listed(sql) == ([first, second], first)


def test_v1beta4_lists_the_same(sql: Grpc) -> None:
    told = beta(sql.google).instances().listServerCas(project=sql.google.project, instance="db").execute()
    assert [each["sha1Fingerprint"] for each in told["certs"]] == listed(sql)[0]
    assert told["kind"] == "sql#instancesListServerCas"
