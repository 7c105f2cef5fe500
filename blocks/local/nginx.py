"""What nginx needs on the local target, rendered from the template the Cloud Run image uses.

Pure functions from text to text; nothing is written or started here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from blocks import nginx_files

WORKERS = 1
"""Worker processes. One is enough by far for one Prefect server, and has one pool of kept connections."""

CONNECTIONS = 4096
"""Connections of each worker process; a websocket or a request in flight takes two."""

SHUTDOWN_TIMEOUT = "5s"
"""How long an old worker may keep websockets open after a reload or a graceful stop (SIGQUIT). Well below the
service's stop timeout: a master that is killed leaves its workers, and the port, behind."""

_VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|([A-Za-z_][A-Za-z0-9_]*))")
_ENV = re.compile(r"^ENV ((?:.*\\\n)*.*)$", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^\s*([A-Z_]+)=(\S+)", re.MULTILINE)


def template_text() -> str:
    """The front door's template, as the image has it."""
    return nginx_files.read(nginx_files.TEMPLATE)


def defaults() -> dict[str, str]:
    """Every variable of the template with its default, as `nginx/Dockerfile` states them (reasons there)."""
    return dockerfile_env(nginx_files.read(nginx_files.DOCKERFILE))


def dockerfile_env(text: str) -> dict[str, str]:
    """The assignments of a Dockerfile's first ENV instruction; values without blanks."""
    first = _ENV.search(text)
    if first is None:
        raise ValueError("nginx/Dockerfile has no ENV instruction")
    return dict(_ASSIGNMENT.findall(first.group(1)))


def variables(host: str, port: int, server_host: str, server_port: int) -> dict[str, str]:
    """The defaults, listening on `host:port`, in front of the server at `server_host:server_port`."""
    return defaults() | {
        "LISTEN_ADDRESS": host,
        "PORT": str(port),
        "SERVER_HOST": server_host,
        "SERVER_PORT": str(server_port),
    }


def render(template_text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}` and `$NAME` for the names in `variables`, as envsubst does; leave all others alone."""

    def value(match: re.Match[str]) -> str:
        name = match.group(1) or match.group(2)
        return variables.get(name, match.group(0))

    return _VARIABLE.sub(value, template_text)


def main_conf(run_folder: Path, site_conf: Path, user: str = "", workers: int = WORKERS) -> str:
    """A complete nginx.conf around the rendered template.

    Args:
        run_folder: absolute; holds the pid file and what nginx insists on making at its start.
        site_conf: absolute path of the rendered template.
        user: Name of a user, and its group where that has another name, for the worker processes where nginx starts
            as root; or empty.
        workers: number of worker processes.
    """
    temp_paths = "\n".join(
        f'    {kind}_temp_path "{run_folder}/{kind}_temp";'
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""\
{f"user {user};" if user else "# Started unprivileged: no user to change to."}
daemon off;
master_process on;
worker_processes {workers};
worker_rlimit_nofile {2 * CONNECTIONS};
worker_shutdown_timeout {SHUTDOWN_TIMEOUT};
pid "{run_folder}/nginx.pid";
error_log stderr warn;

events {{
    worker_connections {CONNECTIONS};
}}

http {{
    access_log off;
{temp_paths}
    include "{site_conf}";
}}
"""
