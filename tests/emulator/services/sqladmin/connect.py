"""What connectors ask before they connect. Source: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1/connect"""

from __future__ import annotations

from tests.emulator.kind import Body, Call, on
from tests.emulator.services.sqladmin.base import SqlKind

SHOWN = ("region", "databaseVersion", "backendType", "serverCaCert")


class Connect(SqlKind):
    """Addresses and certificate of an instance. Certificates of clients (`generateEphemeral`): 501."""

    collection = "sql.connect"

    @on("get", "cloudsql.instances.get")
    def get(self, call: Call) -> Body:
        body = self.instance(call).body
        told = {key: body[key] for key in SHOWN} | {"ipAddresses": body.get("ipAddresses", [])}
        return {
            "kind": "sql#connectSettings",
            "connectionName": body["connectionName"],
            "pscEnabled": False,
            "serverCaMode": "GOOGLE_MANAGED_INTERNAL_CA",
        } | told


KINDS = (Connect,)
