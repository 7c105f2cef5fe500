"""The authority of the lab: what it signs is believed with its bundle, and for the names it signed alone."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from tests.lab.authority import LabAuthority


def shake_hands(authority: LabAuthority, folder: Path, name: str) -> None:
    """A client that believes the bundle calls a server by a name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.signing.write(folder / "server.pem", "*.googleapis.com", "run.lab", "127.0.0.9"))
    client = ssl.create_default_context(cafile=str(authority.bundle))
    here, there = socket.socketpair()
    with here, there:
        thread = threading.Thread(target=answer, args=(server, there))
        thread.start()
        try:
            client.wrap_socket(here, server_hostname=name).close()
        finally:
            here.close()
            thread.join()


def answer(context: ssl.SSLContext, call: socket.socket) -> None:
    try:
        context.wrap_socket(call, server_side=True).close()
    except OSError:  # the client has hung up; what it says of it is what counts
        call.close()


@pytest.mark.parametrize("name", ["storage.googleapis.com", "run.lab", "127.0.0.9"])
def test_what_it_signs_is_believed_with_its_bundle(tmp_path: Path, name: str) -> None:
    shake_hands(LabAuthority(tmp_path), tmp_path, name)
    assert (tmp_path / "server.pem").stat().st_mode & 0o077 == 0


def test_a_name_that_it_did_not_sign_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(LabAuthority(tmp_path), tmp_path, "storage.example")
