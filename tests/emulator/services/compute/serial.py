"""Serial ports: what a machine wrote to them, the last megabyte of it.

Source: https://cloud.google.com/compute/docs/reference/rest/v1/instances/getSerialPortOutput (`start`, `next`, 1 MB).
What a machine writes there of itself has no source: here one line a boot. A real part adds its own with `write`.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.emulator.world import Record

MOST = 2**20
"""Bytes that are kept of a port."""


@dataclass
class Port:
    """What is kept, and how many bytes before that are gone."""

    content: bytes = b""
    lost: int = 0

    def write(self, text: bytes) -> None:
        whole = self.content + text
        self.lost += max(0, len(whole) - MOST)
        self.content = whole[-MOST:]

    def read(self, start: int) -> tuple[int, bytes]:
        """Where the answer begins, and the answer; a negative start counts from the end."""
        end = self.lost + len(self.content)
        wanted = end + start if start < 0 else start
        begin = min(max(wanted, self.lost), end)
        return begin, self.content[begin - self.lost :]


def port_of(record: Record, number: int) -> Port:
    ports: dict[int, Port] = record.hidden.setdefault("serial ports", {})
    return ports.setdefault(number, Port())


def write(record: Record, text: str, number: int = 1) -> None:
    """Add to a port what the machine wrote."""
    port_of(record, number).write(text.encode())


def booted(record: Record) -> None:
    """The line that says so."""
    boot = next(each for each in record.body["disks"] if each["boot"])
    write(record, f"{record.body['name']}: booted from {boot['deviceName']}\n")
