"""A git credential helper: what git asks for is read from a block on the stack's server, and never lies on a disk.

Git runs `python -m blocks.git_credentials TYPE/NAME[@HOST[:PORT]] get` where a repository wants a login, and reads the
answer from our output. The server is the one which the run that called git belongs to.

Git asks for whatever host wants a login: a submodule's, or where a repository sends it by a redirect. So a login is
for one host, which the reference, the block, or the provider of its type says; no other is told it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PASSWORD_FIELDS = ("token", "access_token", "password", "value")
"""Fields which a block may keep its secret in, the first that is there counts: credentials of GitHub, GitLab and
Bitbucket have `token`, a secret has `value`."""
USERNAMES = {"gitlab-credentials": "oauth2", "bitbucket-credentials": "x-token-auth"}
"""What the providers want as the name of somebody who shows a token; elsewhere it may be anything."""
ANY_USERNAME = "x-access-token"
PROVIDERS = {
    "github-credentials": "github.com",
    "gitlab-credentials": "gitlab.com",
    "bitbucket-credentials": "bitbucket.org",
}
"""Where a login of that type is for, where its block says nothing else."""
API_HOSTS = {"api.bitbucket.org": "bitbucket.org", "api.github.com": "github.com"}
"""Hosts of an API which a block may have as its `url` (Bitbucket's does by default), and where git is served."""
PORTS = {"https": "443", "http": "80"}
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def login(slug: str, data: Mapping[str, Any]) -> tuple[str, str] | None:
    """User name and password in a block's data; None where it has none. A secret may hold an object with both. Pure."""
    value = data.get("value")
    if isinstance(value, Mapping):
        return login(slug, value)
    password = next((str(data[each]) for each in PASSWORD_FIELDS if data.get(each)), None)
    if password is None:
        return None
    return str(data.get("username") or USERNAMES.get(slug, ANY_USERNAME)), password


def split(reference: str) -> tuple[str, str, str]:
    """Type, name and host of a reference; the host is empty where it has none. Pure."""
    block, _, host = reference.partition("@")
    slug, _, name = block.partition("/")
    return slug, name, host


def host_of(reference: str, data: Mapping[str, Any]) -> str:
    """The host, or host:port, which a login is for; empty where nothing says it. Pure."""
    slug, _, host = split(reference)
    value = data.get("value")
    fields = value if isinstance(value, Mapping) else data
    found = host or _host_in(fields.get("host")) or _host_in(fields.get("url")) or PROVIDERS.get(slug, "")
    return API_HOSTS.get(found.lower(), found.lower())


def _host_in(url: object) -> str:
    """Host and port in a URL, or in one without its beginning; empty where there is none."""
    return str(url or "").rpartition("://")[2].partition("/")[0].rpartition("@")[2]


def fault(reference: str, data: Mapping[str, Any] | None) -> tuple[str, str]:
    """Why a block cannot be used for git, and what mends it; both empty where it can. Pure."""
    slug, name, _ = split(reference)
    if data is None:
        return f"there is no block {slug}/{name} on the server", "make it in the UI, below Blocks"
    if login(slug, data) is None:
        fields = ", ".join(PASSWORD_FIELDS)
        return f"the block {slug}/{name} has none of the fields {fields}", "name a block with a token"
    if not host_of(reference, data):
        hint = f"give the worker git_credentials with it, such as {slug}/{name}@git.example.org"
        return f"nothing says which host the login in {slug}/{name} is for", hint
    return "", ""


def refusal(asked: Mapping[str, str], host: str) -> str:
    """Why this caller does not get a login for this host; empty where it does. Pure."""
    asking = asked.get("host", "").rpartition("@")[2].lower()
    protocol = asked.get("protocol", "")
    name, port = _parts(asking)
    wanted, wanted_port = _parts(host)
    if protocol != "https" and (protocol != "http" or name not in LOOPBACK):
        return f"the login is not sent to {protocol}://{asking}, which others can read along; use https"
    if not name or name != wanted or wanted_port not in ("", port or PORTS[protocol]):
        return f"the login is for {host}, it is not sent to {asking}"
    return ""


def _parts(host: str) -> tuple[str, str]:
    """Name and port of a host; the port is empty where it has none."""
    name, colon, port = host.rpartition(":")
    return (name, port) if colon and not host.endswith("]") else (host, "")


def answer(reference: str, asked: Mapping[str, str]) -> tuple[str, str]:
    """The login as git reads it, and why there is none: one of them is empty."""
    slug, name, _ = split(reference)
    data = read(slug, name)
    why = "; ".join(filter(None, fault(reference, data)))
    if why or data is None:
        return "", why
    why = refusal(asked, host_of(reference, data))
    pair = login(slug, data) or ("", "")
    if not why and any("\n" in each or "\0" in each for each in pair):
        why = f"the block {slug}/{name} holds more than one line; a token has one"
    return ("", why) if why else ("username={}\npassword={}\n".format(*pair), "")


def read(slug: str, name: str) -> Mapping[str, Any] | None:
    """A block's data with its secrets; its type need not be installed here. None where there is no such block."""
    from prefect.client.orchestration import get_client  # a second, which the other operations need not wait

    with get_client(sync_client=True) as client:
        return found(slug, name, client)


def found(slug: str, name: str, client: SyncPrefectClient) -> Mapping[str, Any] | None:
    """The same by a client that is there already."""
    from prefect.exceptions import ObjectNotFound

    try:
        return dict(client.read_block_document_by_name(name, slug, include_secrets=True).data)
    except ObjectNotFound:
        return None


def main(argv: Sequence[str], asked: TextIO) -> int:
    """Git's `get`; it is told of logins to store or to erase as well, and these we leave."""
    reference, operation = argv
    if operation != "get":
        return 0
    lines = (line.rstrip("\n").partition("=") for line in asked)
    printed, why = answer(reference, {key: value for key, _, value in lines})
    if why:
        sys.stderr.write(f"selfhost: {why}\n")
        return 1
    sys.stdout.write(printed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin))
