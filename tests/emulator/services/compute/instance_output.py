"""What a machine tells: its serial ports and guest attributes."""

from __future__ import annotations

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.compute import guest_attributes
from tests.emulator.services.compute.instance_kind import InstanceKind
from tests.emulator.services.compute.serial import port_of


class InstanceOutput(InstanceKind):
    """Reading it; the machine writes by other ways."""

    @on("getSerialPortOutput", "compute.instances.getSerialPortOutput")
    def get_serial_port_output(self, call: Call) -> Body:
        record, number = self.existing(call), call.get("port", 1)
        start, content = port_of(record, number).read(int(call.get("start", 0)))
        return {
            "kind": "compute#serialPortOutput",
            "selfLink": f"{record.body['selfLink']}/serialPort",
            "contents": content.decode(errors="replace"),
            "start": str(start),
            "next": str(start + len(content)),
        }

    @on("getGuestAttributes", "compute.instances.getGuestAttributes")
    def get_guest_attributes(self, call: Call) -> Body:
        """404 where there is none under the path. Source of the words: gcloud, which looks for them.

        No source for what is said where guest attributes are not enabled: here the same.
        """
        record, query = self.existing(call), call.get("queryPath", "")
        if call.get("variableKey"):
            raise errors.not_emulated("getGuestAttributes by variableKey")
        if not guest_attributes.QUERY.fullmatch(query):
            raise errors.invalid(f"Invalid value for field 'queryPath': '{query}'. The path is malformed.")
        found = guest_attributes.matching(guest_attributes.attributes_of(record), query)
        if not found or not guest_attributes.enabled(self.cloud, record):
            raise errors.not_found(f"The resource '{query}' of type 'Guest Attribute' was not found.")
        items = [_entry(path, value) for path, value in found.items()]
        link = f"{record.body['selfLink']}/guestAttributes/{query}"
        return {"kind": "compute#guestAttributes", "queryPath": query, "queryValue": {"items": items}, "selfLink": link}


def _entry(path: str, value: str) -> Body:
    namespace, _, key = path.partition("/")
    return {"namespace": namespace, "key": key, "value": value}
