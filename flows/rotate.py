"""Another auth string, login to the database, or encryption key, without one failed call.

Each step finds out by itself what is done. The new value is a further version of the secret, which is promoted by what
is wanted of the stack, and older ones are removed at the very end: so a run which was killed anywhere is finished by
another one, and a converge in between leaves all as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal

import httpx
from prefect import flow
from prefect.artifacts import create_markdown_artifact
from pydantic import Field

from blocks import catalog, rollout, rotation, verification
from blocks.agent.spec import HostSpec, Release
from blocks.database import Database
from blocks.encryption import bring_blocks_to, require_readable
from blocks.errors import Blocked, NotReady
from blocks.front_door import FrontDoor
from blocks.host.secret_files import (
    AUTH_GRACE,
    AUTH_STRING,
    DATABASE_LOGIN,
    ENCRYPTION_KEY,
    new_auth_string,
    new_encryption_key,
    reference,
)
from blocks.secret_store import SecretStore
from blocks.server.grace import Further, as_text, read_further
from blocks.services import SLOT_PREFIX, ServerSecrets
from blocks.spec import MAINTENANCE_POOL, SERVER
from blocks.stack import Stack, active_slot, host_spec, next_spec, other_slot, promoted_secrets, server_secrets
from blocks.waiting import wait_until
from flows import change
from flows.backup import as_task
from flows.cli.progress import step
from flows.converge import this_server
from flows.status import require

LONGEST_DRAIN_SECONDS = 1800.0
"""Workers get the grace period to become idle, but at most so long, as their pools are paused meanwhile."""
ACCEPTED_SECONDS = 30.0
"""Time a running server gets to take the new string: it looks every 0.2 s, once the host agent has written its file."""
REFUSED_SECONDS = 30.0
"""Time connections with the old login get to be gone, once they were told to end."""
Kind = Literal["auth_string", "database_login"]
"""Of `ServerSecrets`."""
What = Literal["auth", "database", "encryption-key"]
Grace = Annotated[int, Field(ge=0, le=43200)]


@flow(name="rotate")
def rotate(what: What, grace_minutes: Grace = 60, stack: str | None = None) -> None:
    """Replace the auth string, the database's login or the encryption key by a new one; no call fails.

    Args:
        what: `auth`: the string which people and clients come in with. `database`: the server's own login.
            `encryption-key`: what blocks are encrypted with; calls wait for some seconds, in which no server runs.
        grace_minutes: Minutes in which the old auth string is still accepted; 0: a minute, which this run needs itself.
        stack: Name of the stack; leave it out for the one this server belongs to.
    """
    loaded = catalog.load(stack)
    with loaded.ledger.held(f"rotate {what}"):
        if what == "auth":
            auth(loaded, grace_minutes)
        elif what == "database":
            database(loaded)
        else:
            encryption_key(loaded)


def auth(stack: Stack, grace_minutes: int) -> None:
    """A new auth string: accepted first, then the server's own, then everybody's, and the old one ends."""
    version = as_task("make the new one", lambda: version_to_promote(stack, AUTH_STRING, new_auth_string))
    accepting = as_task("accept both", lambda: accept_both(stack, version))
    as_task("switch servers", lambda: switch(accepting, "auth_string", AUTH_STRING, version))
    promoted = as_task("promote", lambda: change.promote(accepting, AUTH_STRING, version))
    late = as_task("hand out to workers", lambda: hand_out(promoted, grace_minutes))
    ending = as_task("end the old one", lambda: end_old(promoted, grace_minutes))
    as_task("settle", lambda: settle(ending))
    as_task("verify", lambda: verify(ending))
    as_task("forget", lambda: forget(ending, AUTH_STRING, AUTH_GRACE))
    publish(instructions(ending, late))


def database(stack: Stack) -> None:
    """A new login to the database: let in beside the old one, then the server's, and the old one is refused."""
    as_task("see that it can be done", stack.database.require_rotatable)
    version = as_task("make the new one", lambda: version_to_promote(stack, DATABASE_LOGIN, stack.database.new_login))
    as_task("accept both", lambda: stack.database.admit(stack.secrets.read(DATABASE_LOGIN, version)))
    as_task("switch servers", lambda: switch(stack, "database_login", DATABASE_LOGIN, version))
    promoted = as_task("promote", lambda: change.promote(stack, DATABASE_LOGIN, version))
    as_task("settle", lambda: settle(promoted))
    others = as_task("end the old one", lambda: refuse_old(promoted))
    as_task("forget", lambda: forget(promoted, DATABASE_LOGIN))
    refused = "The login before is refused. Nobody else needs to know."
    publish([f"The server has another login to its database. {others or refused}"])


def encryption_key(stack: Stack) -> None:
    """A new encryption key: with every server stopped, all blocks are encrypted with it at one stroke."""
    as_task("see that every block can be read", lambda: require_readable(stack.version(ENCRYPTION_KEY), *parts(stack)))
    version = as_task("make the new one", lambda: new_key(stack))
    as_task("encrypt blocks anew", lambda: encrypt_anew(stack, version))
    as_task("verify", lambda: require_readable(version, *parts(stack)))
    publish(instructions_for_key(stack))


def parts(stack: Stack) -> tuple[SecretStore, Database]:
    """Where keys lie, and what they are for."""
    return stack.secrets, stack.database


def new_key(stack: Stack) -> int:
    """The version of the key that takes the promoted one's place."""
    return version_to_promote(stack, ENCRYPTION_KEY, new_encryption_key, older_stay=True)


def encrypt_anew(stack: Stack, version: int) -> None:
    """Have all blocks encrypted with this version of the key and promote it, while calls wait in the held socket.

    However it ends, a server starts, with the key that is wanted then; all blocks are encrypted with that one before.
    Where this is killed, a converge does the same.
    """
    now = change.current(stack)
    slot = active_slot(now, stack.releases[SERVER])
    secrets = server_secrets(now, slot, promoted_secrets(stack))
    try:
        with step("server stopped"):
            change.drop_servers(stack)
        with step("blocks encrypted") as detail:
            left = bring_blocks_to(version, *parts(stack))
            detail.text = "all of them" if not left else f"all but {len(left)} which no key reads"
        change.promote(stack, ENCRYPTION_KEY, version)
    finally:
        with step("server ready"):
            wanted = change.as_wanted(stack)
            bring_blocks_to(wanted.version(ENCRYPTION_KEY), *parts(stack))
            own = replace(secrets, encryption_key=wanted.reference(ENCRYPTION_KEY))
            change.start_server(wanted, host_spec(wanted, 0, slot, own), slot)


def version_to_promote(stack: Stack, secret: str, make: Callable[[], str], *, older_stay: bool = False) -> int:
    """The version that takes the promoted one's place: a further one, unless an interrupted rotation has made it.

    Args:
        older_stay: Whether older versions stay for good, as backups need those of the encryption key. Else they are
            removed last: one that is there tells of an interrupted rotation, whose version may be promoted already.
    """
    there = stack.secrets.versions(secret)
    if there and (there[-1] > stack.version(secret) or (len(there) > 1 and not older_stay)):
        return there[-1]
    return stack.secrets.add_version(secret, make())


def accept_both(stack: Stack, version: int) -> Stack:
    """Have the running server take the new string too, without a restart. The stack with what it accepts.

    Raises:
        NotReady: it does not, as an older one of ours.
    """
    if stack.version(AUTH_STRING) == version:
        return stack
    current, new = stack.secret(AUTH_STRING), stack.secrets.read(AUTH_STRING, version)
    accepting = accept_further(stack, rotation.while_rotating(further(stack), current, new))
    with step("both accepted"):
        stack.host.apply(rollout.take(change.current(stack), next_spec(accepting), ()))
        wait_until(
            lambda: _is_let_in(FrontDoor(stack.door.url, new)),
            "the running server taking the new string",
            timeout=ACCEPTED_SECONDS,
            every=0.1,
            hint="selfhost upgrade --self brings it a server that can",
        )
    return accepting


def switch(stack: Stack, kind: Kind, secret: str, version: int) -> None:
    """Start a server with the new value beside the one that runs, and end that."""
    if stack.version(secret) == version:
        return
    slot, secrets = server_with(
        change.current(stack), stack.releases[SERVER], promoted_secrets(stack), kind, reference(secret, version)
    )
    wanted = host_spec(stack, 0, slot, secrets)
    with step(f"{SLOT_PREFIX}{slot} ready"):
        change.start_server(stack, wanted, slot)
    with step(f"{SLOT_PREFIX}{other_slot(slot)} ended"):
        change.drop_server(stack, wanted, other_slot(slot))


def server_with(
    now: HostSpec, release: Release, promoted: ServerSecrets, kind: Kind, secret: str
) -> tuple[str, ServerSecrets]:
    """Where the server with the new value runs, or should be started, and the secrets it has. Pure.

    Args:
        secret: The new version, as `NAME@7`.
    """
    running = [each.name.removeprefix(SLOT_PREFIX) for each in now.services if each.name.startswith(SLOT_PREFIX)]
    for slot in running:
        if getattr(server_secrets(now, slot, promoted), kind) == secret:
            return slot, server_secrets(now, slot, promoted)
    active = active_slot(now, release)
    return other_slot(active), replace(server_secrets(now, active, promoted), **{kind: secret})


def hand_out(stack: Stack, grace_minutes: int) -> str:
    """Restart the workers with the new string, each once nothing runs on it. Returns which go on as before, in words.

    The one which runs this is not among them: the host restarts it when this has ended.
    """
    seconds = min(max(grace_minutes * 60.0, rotation.SHORTEST_SECONDS), LONGEST_DRAIN_SECONDS)
    names = [f"worker-{each.name}" for each in stack.spec.workers if each.pool != MAINTENANCE_POOL]
    with step("workers restarted") as detail, this_server() as client:
        late = change.change_workers(stack, next_spec(stack), names, client, seconds)
        detail.text = late or f"{len(names)} workers"
    return late


def end_old(stack: Stack, grace_minutes: int) -> Stack:
    """Give every other string than the new one its deadline. The stack with what it accepts."""
    now = time.time()
    until = rotation.deadline(now, grace_minutes)
    return accept_further(stack, rotation.afterwards(further(stack), stack.secret(AUTH_STRING), now, until))


def settle(stack: Stack) -> None:
    """Give the host what it should run now: the server has its secrets already, so it is not restarted.

    What an interrupted run has promoted, and a person does not find yet, is put there.
    """
    for secret, version in stack.versions.items():
        if stack.secrets.published(secret) != version:
            stack.secrets.publish(secret, version)
    stack.host.apply(next_spec(stack))


def forget(stack: Stack, *secrets: str) -> None:
    """Remove every version but the promoted ones."""
    for secret in secrets:
        for version in stack.secrets.versions(secret):
            if version != stack.version(secret):
                stack.secrets.destroy_version(secret, version)


def refuse_old(stack: Stack) -> str:
    """Let no other login of ours in than the new one, and see that it is so. Returns who is still let in, in words."""
    login = stack.secret(DATABASE_LOGIN)
    with step("old login refused"):
        (others,) = wait_until(
            lambda: [stack.database.refuse_others(login)],
            "the end of the old login's connections",
            timeout=REFUSED_SECONDS,
            every=0.2,
        )
    return others


def verify(stack: Stack) -> None:
    """See that the new string is let in, by calls and by websockets, and the old one within its grace.

    Raises:
        Blocked: one is not.
    """
    with step("verify through the front door") as detail:
        soon = time.time() + rotation.SHORTEST_SECONDS / 2
        old = [each.auth_string for each in further(stack) if each.until > soon]
        doors = [FrontDoor(stack.door.url, each) for each in (stack.secret(AUTH_STRING), *old)]
        if not all(_is_let_in(each) for each in doors):
            raise Blocked("an auth string that should be accepted is refused", "selfhost logs server-blue, -green")
        require([verification.websockets(each) for each in doors])
        detail.text = f"the new string and {len(old)} older are let in"


def instructions(stack: Stack, late: str = "") -> list[str]:
    """What a person must do now, as sentences; no secret is in them."""
    file = stack.secrets.location(AUTH_STRING)
    ends = max((each.until for each in further(stack)), default=time.time())
    lines = [
        f"The auth string was replaced. The new one is the text of {file}.",
        f"The old one is refused from {datetime.fromtimestamp(ends, UTC):%Y-%m-%d %H:%M:%S} UTC on. Until then give "
        "the new one to everything that calls from outside: CI, laptops, browsers.",
    ]
    return [*lines, f"{late}. It is restarted with the new string once nothing runs on it."] if late else lines


def instructions_for_key(stack: Stack) -> list[str]:
    """What a person must do now, as sentences."""
    file = stack.secrets.location(ENCRYPTION_KEY)
    return [
        f"The encryption key was replaced. The new one is the text of {file}: keep a copy of it on another machine, "
        "without it nobody can read the secret blocks in a backup from now on.",
        "Keep the copy of the old one as long as a backup from before is kept.",
    ]


def publish(lines: list[str]) -> None:
    """Leave what a person must do as an artifact."""
    create_markdown_artifact("\n\n".join(lines), key="rotation", description="What was replaced, and what to do now")


def further(stack: Stack) -> tuple[Further, ...]:
    """Auth strings which the server accepts beside its own.

    Raises:
        Blocked: the secret is damaged.
    """
    try:
        return read_further(stack.secret(AUTH_GRACE).encode())
    except ValueError as error:
        raise Blocked(
            f"the secret {AUTH_GRACE} is damaged: {error}", "make it [] to accept none but the own"
        ) from error


def accept_further(stack: Stack, entries: tuple[Further, ...]) -> Stack:
    """Have these accepted, once the host agent takes up the next spec and brings them to the server. The stack with
    them."""
    if entries == further(stack):
        return stack
    return change.promote(stack, AUTH_GRACE, stack.secrets.add_version(AUTH_GRACE, as_text(entries)))


def _is_let_in(door: FrontDoor) -> bool:
    try:
        answer = httpx.get(f"{door.api_url}/admin/version", auth=_basic(door.auth_string), timeout=10, trust_env=False)
    except httpx.TransportError as error:
        raise NotReady(f"{type(error).__name__} {error}".rstrip()) from error
    return answer.status_code == httpx.codes.OK


def _basic(auth_string: str) -> tuple[str, str]:
    user, _, password = auth_string.partition(":")
    return user, password
