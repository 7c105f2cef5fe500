from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from blocks.server.sockets import SlotSocket, SocketMissing, inherited_descriptors


def test_descriptors_start_at_three() -> None:
    assert list(inherited_descriptors({"LISTEN_FDS": "2", "LISTEN_PID": "7"}, 7)) == [3, 4]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "no listening socket"),
        ({"LISTEN_FDS": "0", "LISTEN_PID": "7"}, "no listening socket"),
        ({"LISTEN_FDS": "-1", "LISTEN_PID": "7"}, "no listening socket"),
        ({"LISTEN_FDS": "one", "LISTEN_PID": "7"}, "no listening socket"),
        ({"LISTEN_FDS": "1"}, "meant for process ''"),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "8"}, "meant for process '8'"),
    ],
)
def test_what_was_not_handed_to_us_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SocketMissing, match=message):
        inherited_descriptors(environment, 7)


def test_a_slot_socket_is_private_and_refuses_until_listened_on(tmp_path: Path) -> None:
    slot = SlotSocket.bind(tmp_path / "run" / "server-blue.sock")
    assert stat.S_IMODE(slot.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(slot.path.parent.stat().st_mode) == 0o700
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(slot.path))
    slot.bound.listen()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(slot.path))
    slot.remove()
    assert list(slot.path.parent.iterdir()) == []


def test_a_stale_socket_is_replaced_and_the_successors_left_alone(tmp_path: Path) -> None:
    first = SlotSocket.bind(tmp_path / "server-blue.sock")
    second = SlotSocket.bind(tmp_path / "server-blue.sock")
    first.remove()
    assert second.path.exists()
    second.remove()
    second.remove()
    assert not second.path.exists()


def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SocketMissing, match="longer than 103 bytes"):
        SlotSocket.bind(tmp_path / ("x" * 110))


def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SocketMissing, match="cannot make the slot's socket"):
        SlotSocket.bind(tmp_path / "file" / "server-blue.sock")
