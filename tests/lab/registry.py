"""Artifact Registry's part: Debian's docker-registry behind `REGION-docker.pkg.dev`, which knows the lab's logins.

nginx ends TLS and asks for each request who calls; what is pushed is told to the emulator before the push is answered,
so that its API shows it from then on. The engine of this machine finds the names by a line in /etc/hosts and believes
the lab's authority by /etc/docker/certs.d, both taken away at the end.
Sources: https://distribution.github.io/distribution/spec/api/,
https://cloud.google.com/artifact-registry/docs/docker/authentication
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import shutil
import socket
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.emulator.access import ANONYMOUS
from tests.emulator.cloud import OWNER, REGIONS
from tests.emulator.errors import ApiError
from tests.emulator.services.artifactregistry.images import register
from tests.lab import hosts, nginx_image
from tests.lab.daemon import Daemon
from tests.lab.debian import program
from tests.lab.engine import PREFIX, docker
from tests.lab.front import Front
from tests.lab.serving import serve

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

HOSTS = tuple(f"{region}-docker.pkg.dev" for region in REGIONS)
TRUST = Path("/etc/docker/certs.d")
USERS = ("oauth2accesstoken", "_dcgcloud_token")
"""Who shows an access token as a password: docker login, and gcloud's credential helper."""
PERMISSIONS = {"GET": "download", "HEAD": "download", "DELETE": "delete"}
"""`artifactregistry.repositories.…Artifacts` by method; all others upload."""
FOUND_SECONDS = 15.0
NAMED = re.compile(r"/v2/(?P<project>[^/]+)/(?P<repository>[^/]+)/.+")
CONFIGURATION = """\
version: 0.1
log: {{level: warn}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http:
  addr: 127.0.0.1:{port}
  relativeurls: true
"""
SITE = """\
map $request_method $registry {{ PUT {checks}; default 127.0.0.1:{port}; }}
map $host $region {{ ~^(?<found>.+)-docker[.]pkg[.]dev$ $found; }}
server {{
    {listening}
    server_name {names};
    client_max_body_size 0;
    proxy_request_buffering off;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Connection "";
    proxy_redirect ~^(?:https?://[^/]+)?/v2/[a-z0-9-]+/(.*)$ https://$host/v2/$1;
    auth_request /.lab/may;
    auth_request_set $why $upstream_http_x_why;
    error_page 401 = @unauthorized;
    error_page 403 = @denied;
    location = /.lab/may {{
        internal;
        auth_request off;
        proxy_pass http://{checks}/may;
        proxy_pass_request_body off;
        proxy_set_header Content-Length "";
        proxy_set_header X-Host $host;
        proxy_set_header X-Path $request_uri;
        proxy_set_header X-Method $request_method;
    }}
    location = /v2/ {{ proxy_pass http://127.0.0.1:{port}; }}
    location ~ ^/v2/(?<rest>.+/manifests/.+)$ {{ proxy_pass http://$registry/v2/$region/$rest$is_args$args; }}
    location ~ ^/v2/(?<rest>.+)$ {{ proxy_pass http://127.0.0.1:{port}/v2/$region/$rest$is_args$args; }}
    location @unauthorized {{
        add_header WWW-Authenticate 'Basic realm="https://$host/v2/"' always;
        default_type application/json;
        return 401 '{{"errors":[{{"code":"UNAUTHORIZED","message":"authentication failed"}}]}}';
    }}
    location @denied {{
        default_type application/json;
        return 403 '{{"errors":[{{"code":"DENIED","message":"$why"}}]}}';
    }}
}}
"""


class Repositories:
    """The part behind `artifactregistry.repositories`; one registry holds them all, each in its own folder."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.storage, self.port = lab.folder / "registry", _free_port()
        self._lock = threading.Lock()
        self._open = False

    def open(self) -> None:
        """Start everything with the first repository: not before the lab has names; idempotent."""
        with self._lock:
            if self._open:
                return
            nginx_image.ensure()  # what our Dockerfile builds upon, by hand and by Cloud Build
            configuration = self.lab.folder / "registry.yml"
            configuration.write_text(CONFIGURATION.format(folder=self.storage, port=self.port))
            argv = [str(program("docker-registry", "usr/bin/docker-registry")), "serve", str(configuration)]
            registry = Daemon(self.lab.folder, "registry", argv, ("127.0.0.1", self.port))
            self.lab.exits.callback(registry.stop)
            registry.start()
            self._open_front()
            self._open = True

    def _open_front(self) -> None:
        routes = [Route("/may", self._may), Route("/v2/{region}/{rest:path}", self._put, methods=["PUT"])]
        checks = serve(self.lab, Starlette(routes=routes))
        front = Front(self.lab, "pkg", *HOSTS)
        text = SITE.format(port=self.port, checks=checks, listening=front.listening, names=" ".join(HOSTS))
        front.put("registry", text)
        self.lab.names.lead("pkg.dev", front.address)
        own(self.lab.name, front.address, self.lab.authority.certificate)
        self._wait_found()

    def _wait_found(self) -> None:
        """Wait until the engine comes here by the name: it looks at /etc/hosts anew after five seconds."""
        limit = time.monotonic() + FOUND_SECONDS
        with tempfile.TemporaryDirectory(dir=self.lab.folder) as folder:
            token = self.lab.cloud.access.mint(OWNER).encode()
            while True:
                try:
                    docker(
                        "--config", folder, "login", "--username", USERS[0], "--password-stdin", HOSTS[0], stdin=token
                    )
                    return
                except AssertionError:
                    if time.monotonic() > limit:
                        raise
                time.sleep(0.2)

    # -- who may what ------------------------------------------------------------------------------------------------

    async def _may(self, request: Request) -> Response:
        """200, 401 for no known login, 403 with the reason for one that may not, or asks for no repository."""
        found = NAMED.match(request.headers["x-path"])
        try:
            member = self._caller(request.headers.get("authorization", ""))
        except (ApiError, binascii.Error, UnicodeDecodeError):
            return Response(status_code=401)
        if found is None:
            return Response(status_code=401 if member == ANONYMOUS else 200)
        region = request.headers["x-host"].removesuffix("-docker.pkg.dev")
        project = f"projects/{found['project']}"
        repository = f"{project}/locations/{region}/repositories/{found['repository']}"
        act = PERMISSIONS.get(request.headers["x-method"], "upload")
        permission = f"artifactregistry.repositories.{act}Artifacts"
        there = self.lab.cloud.world.find(f"artifactregistry/{repository}") is not None
        if there and self.lab.cloud.access.may(member, permission, (repository, project)):
            return Response()
        why = f"Permission {permission} denied on resource {repository} (or it may not exist)"
        return Response(status_code=401 if member == ANONYMOUS else 403, headers={"X-Why": why})

    def _caller(self, authorization: str) -> str:
        scheme, _, told = authorization.partition(" ")
        if scheme.lower() == "basic":
            user, _, token = base64.b64decode(told, validate=True).decode().partition(":")
            authorization = f"Bearer {token}" if user in USERS else "Basic"
        return self.lab.cloud.access.caller(authorization)

    async def _put(self, request: Request) -> Response:
        """Pass a manifest on, and tell the emulator of the image once the registry has it."""
        region, rest = request.path_params["region"], request.path_params["rest"]
        content = await request.body()
        headers = {"Content-Type": request.headers["content-type"]}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}") as client:
            answer = await client.put(f"/v2/{region}/{rest}", content=content, headers=headers)
        name, _, reference = rest.rpartition("/manifests/")
        if answer.status_code == 201:
            tag = f"@{reference}" if reference.startswith("sha256:") else f":{reference}"
            self._tell(f"{region}-docker.pkg.dev/{name}{tag}", answer.headers["docker-content-digest"], content)
        kept = {key: answer.headers[key] for key in ("location", "docker-content-digest") if key in answer.headers}
        return Response(answer.content, answer.status_code, kept)

    def _tell(self, image: str, digest: str, content: bytes) -> None:
        manifest: dict[str, Any] = json.loads(content)
        record = register(self.lab.cloud, image, digest)
        size = sum(each["size"] for each in (manifest.get("config", {"size": 0}), *manifest.get("layers", ())))
        record.body |= {"imageSizeBytes": str(size), "mediaType": manifest.get("mediaType", "")}

    # -- the part ----------------------------------------------------------------------------------------------------

    def start(self, name: str, body: dict[str, Any]) -> None:
        """Its folder comes with its first image."""
        self.open()

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None:
        _, _, project, _, region, _, repository = name.split("/")
        folder = self.storage / "docker/registry/v2/repositories" / region / project / repository
        shutil.rmtree(folder, ignore_errors=True)


def login(lab: Lab, member: str, folder: Path) -> list[str]:
    """What to put behind `docker` to be this principal at all repositories; writes into that new folder."""
    folder.mkdir(mode=0o700)
    told = base64.b64encode(f"oauth2accesstoken:{lab.cloud.access.mint(member)}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": told} for host in HOSTS}}))
    return ["--config", str(folder)]


def own(lab: str, address: str, certificate: Path) -> None:
    """Have this machine's engine find the registry, and believe it."""
    hosts.know(lab, address, HOSTS)
    for host in HOSTS:
        (TRUST / host).mkdir(parents=True, exist_ok=True)
        shutil.copy(certificate, TRUST / host / f"{PREFIX}{lab}.crt")


def disown(lab: str) -> None:
    """Take all of that away again, and all other names of the lab; idempotent."""
    hosts.forget(lab)
    for host in HOSTS:
        (TRUST / host / f"{PREFIX}{lab}.crt").unlink(missing_ok=True)
    for folder in (*(TRUST / host for host in HOSTS), TRUST):
        with suppress(OSError):  # another's is in it, or it is not there
            folder.rmdir()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
