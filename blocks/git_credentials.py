"""A git credential helper: what git asks for is read from a block on the stack's server, and never lies on a disk.

Git runs `python -m blocks.git_credentials TYPE/NAME get` where a repository wants a login, and reads the answer from
our output. The server is the one which the run that called git belongs to.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

PASSWORD_FIELDS = ("token", "access_token", "password", "value")
"""Fields which a block may keep its secret in, the first that is there counts: credentials of GitHub, GitLab and
Bitbucket have `token`, a secret has `value`."""
USERNAMES = {"gitlab-credentials": "oauth2", "bitbucket-credentials": "x-token-auth"}
"""What the providers want as the name of somebody who shows a token; elsewhere it may be anything."""
ANY_USERNAME = "x-access-token"
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


def refusal(asked: Mapping[str, str]) -> str:
    """Why a login is not told to this caller; empty where it is. Pure."""
    host = asked.get("host", "").rpartition("@")[2]
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if asked.get("protocol") == "https" or (asked.get("protocol") == "http" and name in LOOPBACK):
        return ""
    return f"the login is not sent to {asked.get('protocol')}://{host}, which others can read along; use https"


def answer(reference: str, asked: Mapping[str, str]) -> tuple[str, str]:
    """What to print for git, and what to tell the person: one of them is empty."""
    told = refusal(asked)
    if told:
        return "", told
    slug, _, name = reference.partition("/")
    data = read(slug, name)
    if data is None:
        return "", f"there is no block {reference} on the server; make it in the UI, below Blocks"
    found = login(slug, data)
    if found is None:
        return "", f"the block {reference} has none of the fields {', '.join(PASSWORD_FIELDS)}"
    if any("\n" in each or "\0" in each for each in found):
        return "", f"the block {reference} holds more than one line; a token has one"
    return "username={}\npassword={}\n".format(*found), ""


def read(slug: str, name: str) -> Mapping[str, Any] | None:
    """A block's data with its secrets; its type need not be installed here. None where there is no such block."""
    from prefect.client.orchestration import get_client  # a second, which the other operations need not wait
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
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
    printed, told = answer(reference, {key: value for key, _, value in lines})
    if told:
        sys.stderr.write(f"selfhost: {told}\n")
        return 1
    sys.stdout.write(printed)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin))
