"""The launcher: what happens before Prefect is imported.

A client must not be newer than its server. So where this environment holds another Prefect than the stack, the
launcher becomes the `selfhost` of the stack's release: same process, same lease, same terminal.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NoReturn

from blocks import release as releases
from blocks import targets
from blocks.agent.files import make_folders
from blocks.agent.mark import Bucket
from blocks.agent.releases import ReleaseFailed, Tools, install
from blocks.agent.spec import Release
from blocks.errors import Blocked, NotReady, SelfhostError
from blocks.host import home as home_folder
from blocks.host import interpreter, secret_files, system_user, trusted
from blocks.host.home import Home
from blocks.host.host import Host
from blocks.lease import Lease
from blocks.ledger import Ledger
from blocks.object_store import ObjectStore
from blocks.resource import Apply, Resource, visit
from blocks.secret_store import SecretStore
from blocks.signature import key_mark
from blocks.site import at, folder, here, postgres_user, store
from blocks.spec import SERVER, TOOLS, StackSpec
from blocks.temporary.server import TemporaryServer
from blocks.wheel import build_wheel
from flows.cli.progress import step

SHARED = {
    secret_files.AUTH_STRING: secret_files.new_auth_string,
    secret_files.ENCRYPTION_KEY: secret_files.new_encryption_key,
}
"""Secrets which the temporary server has of the stack's."""
TEMPORARY_RETRIES = 3
"""How often a client of a temporary server repeats a call, 14 s in all. Prefect's five are a minute for each call of a
flow that ends: one whose server has died, or has no room left, would go on for five minutes before it says so."""


def check(spec: StackSpec, key_file: Path | None) -> None:
    """Refuse a folder that cannot be the home, else all other faults together, before anything but a lost home is
    touched.

    Args:
        key_file: The stack's encryption key, where its home was lost.
    """
    home = Home(folder(spec))
    require_none(home_folder.faults(home, spec.name))
    if spec.target == "gcp":
        join(spec, home)
        return
    recover_home(spec, home, key_file)
    try:
        require_none(targets.access(home).machine.run("preflight", {"spec": spec.model_dump(mode="json")})["faults"])
    except NotReady:
        return  # a machine that is not made yet is asked by the flow which makes it


def join(spec: StackSpec, home: Home) -> None:
    """Make sure of what a launcher shares with a host elsewhere: the bucket, and in it who the stack is, which the mark
    of the launcher's own folder says, too."""
    place = targets.place(spec)
    ensure(targets.ground(spec))
    require_none(targets.faults(spec))
    ensure(targets.first(spec))
    identity = targets.access(home, place).ledger.ensure_identity(spec.name).id
    if home.owner() and home.identity() != identity:  # of a stack of that name which is gone
        home.mark.unlink()
    home_folder.claim(home, spec.name, identity, place)


def ensure(resources: Sequence[Resource]) -> None:
    """Bring them in line, one after the other."""
    for each in resources:
        with step(each.name) as detail:
            detail.text = visit(each, Apply()).action


def require_none(faults: Sequence[str]) -> None:
    """Raise Blocked with all faults together."""
    if faults:
        raise Blocked("; ".join(faults), "nothing was changed")


def recover_home(spec: StackSpec, home: Home, key_file: Path | None) -> None:
    """Mark the home of a stack that has lost it, so that the stack's other remains, such as system users, are its own.

    Args:
        key_file: The stack's encryption key.

    Raises:
        Blocked: the home was lost, and its key is not given.
    """
    ledger = ledger_of(spec, home)
    if key := encryption_key(home, ledger, key_file):
        ledger.ensure_identity(spec.name)
        home_folder.claim(home, spec.name, ledger.id, store(spec, here(spec)))
        secret_files.ensure(home.secrets, secret_files.ENCRYPTION_KEY, lambda: key)


def prepare_home(spec: StackSpec) -> Home:
    """Make what the temporary server needs of the stack: its home, its user, and the two secrets it shares."""
    home = Home(folder(spec))
    if spec.target == "local":
        home_folder.claim(home, spec.name, ledger_of(spec, home).id, store(spec, here(spec)))
    home_folder.sweep(home)
    user = postgres_user(spec.name, at(home.root))
    if user:
        system_user.ensure(user, home, spec.name)
    home.store.mkdir(parents=True, exist_ok=True)
    home.store.chmod(0o711)  # with the lease in it, it was made closed
    secrets = targets.access(home).secrets
    for name, make in SHARED.items():
        version = secrets.ensure(name, make)
        if secrets.is_outside:
            secret_files.remove(home.secrets, name)
            secret_files.ensure(home.secrets, name, partial(secrets.read, name, version))
    key = secret_files.read(home.secrets, secret_files.ENCRYPTION_KEY)
    targets.access(home).ledger.ensure_identity(spec.name, key_mark(key))
    return home


def forget_secrets(home: Home) -> None:
    """Remove what a temporary server has had of the secrets of a stack elsewhere: they lie where that is."""
    if not home.is_hosts():
        for name in SHARED:
            secret_files.remove(home.secrets, name)


def ledger_of(spec: StackSpec, home: Home) -> Ledger:
    """The ledger of a stack on this machine, whose home may not say yet where it lies."""
    return targets.access(home, store(spec, here(spec))).ledger


def encryption_key(home: Home, ledger: Ledger, key_file: Path | None) -> str:
    """The key of a stack whose home was lost; empty where none was, or there never was a stack.

    Raises:
        Blocked: its key is not given, or another one is.
    """
    identity = ledger.identity()
    if identity is None or not identity.key or (home.secrets / secret_files.ENCRYPTION_KEY).exists():
        return ""  # a bootstrap that was killed at its beginning had noted no key
    lost = f"{home.store if home.owner() else ledger.address()} holds the stack {identity.stack!r}"
    if key_file is None:
        what = f"{lost}, and its encryption key is not in {home.secrets}: the home was lost"
        hint = f"--encryption-key-file FILE, with your copy of secrets/{secret_files.ENCRYPTION_KEY}, makes it again"
        raise Blocked(what, hint)
    trusted.require_file(key_file)
    try:
        key = key_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Blocked(f"{key_file} cannot be read: {error}", "name the file with the key") from error
    if key_mark(key) != identity.key:
        raise Blocked(f"{lost}, and {key_file} holds another stack's key", "its backups could not be read with it")
    return key


def require_its_store(spec: StackSpec, home: Home) -> None:
    """Refuse another store for a stack that is there: its backups and its record would stay in the old one.

    Raises:
        Blocked: it is another one.
    """
    if home.identity() is None:
        return
    wanted, there = targets.place(spec), home.bucket or home.store
    if (wanted.resolve() if isinstance(wanted, Path) else wanted) != (home.bucket or home.store.resolve()):
        raise Blocked(f"the stack's store is {there}, not {wanted}", "a store stays where it is: put it back so")


def prepare_releases(spec: StackSpec, home: Home, store: ObjectStore) -> dict[str, Release]:
    """Resolve the server's release, and one for each worker whose flows need more packages."""
    wheel, reach, goal = releases.put(store, *build_wheel()), Host(home).reach(), releases.platform_of(spec)
    with ThreadPoolExecutor(1) as executor:
        tools = executor.submit(releases.prepare_tools, store, reach, goal)
        prepared = releases.prepare_all(spec.prefect_version, wheel, store, spec.release_packages, reach, goal)
    kept = targets.access(home).ledger.find_wanted()
    saved = kept.releases if kept else {}
    return {name: releases.as_kept(each, saved.get(name)) for name, each in {**prepared, TOOLS: tools.result()}.items()}


def refuse_version_change(spec: StackSpec, home: Home) -> None:
    """Another Prefect version on a stack that is there is an upgrade, which is not done in passing."""
    kept = targets.access(home).ledger.find_wanted()
    if kept and is_bootstrapped(home):
        saved = kept.spec.get("prefect_version")
        if saved != spec.prefect_version:
            raise Blocked(
                f"this stack runs Prefect {saved}, the spec asks for {spec.prefect_version}",
                f"a bootstrap does not upgrade: selfhost upgrade --to {spec.prefect_version}, or put the version back",
            )


def take_lease(home: Home, reason: str, patience: float = 0.0, store: Path | Bucket | None = None) -> Lease:
    """The exclusive right to change this stack; where another has it, it may be had within `patience` seconds.

    Args:
        store: Where the stack's objects lie, for a home that does not say so yet.
    """
    make_folders(home.root)
    return targets.access(home, store).ledger.acquire(reason, patience)


@contextlib.contextmanager
def prepared(spec: StackSpec, home: Home) -> Iterator[dict[str, Release]]:
    """The releases a bootstrap would install now, without leaving anything where no stack is yet."""
    if home.owner() == spec.name and home.bucket is None:
        yield prepare_releases(spec, home, targets.access(home).objects)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield prepare_releases(spec, home, targets.objects_in(Path(folder)))


def write_wanted(spec: StackSpec, home: Home) -> dict[str, Release]:
    """Resolve the stack's releases and keep what is wanted in the home."""
    with step("locks and wheel") as detail:
        prepared = prepare_releases(spec, home, targets.access(home).objects)
        known, there = versions(home), targets.access(home)
        adopted = adopted_versions(home, there.secrets, known)
        found = targets.known(spec, there.ledger.id) | found_before(home)
        there.ledger.write_wanted(spec.as_wanted(), prepared, adopted | known, found=found)
        detail.text = f"release {prepared[SERVER].id}"
    return prepared


def adopted_versions(home: Home, secrets: SecretStore, known: Mapping[str, int]) -> dict[str, int]:
    """The versions of secrets that nobody has promoted yet, or of which that is not known any more: those which a
    person finds. With another version of the encryption key the server could not read its own blocks."""
    if not secrets.is_outside:
        names = [each for each in secret_files.names(home.secrets) if each not in known]
        return {each: secret_files.adopt(home.secrets, each) for each in names}
    found = {each: secrets.published(each) for each in secret_files.OF_A_STACK if each not in known}
    return {name: version for name, version in found.items() if version is not None}


def versions(home: Home) -> dict[str, int]:
    """Promoted versions of secrets; in a home as far as they are there: it may have been lost with them."""
    access = targets.access(home)
    kept = access.ledger.find_wanted()
    there = dict(kept.secrets) if kept else {}
    if access.secrets.is_outside:  # where one is gone that is told: another one in its place would be wrong
        return there
    return {name: version for name, version in there.items() if version in access.secrets.versions(name)}


def found_before(home: Home) -> dict[str, str]:
    """What was found of what stands outside, as far as it is kept."""
    kept = targets.access(home).ledger.find_wanted()
    return dict(kept.found) if kept else {}


def install_release(release: Release, home: Home) -> None:
    """Install a release on this machine; at once where it is there.

    Without its smoke imports: our own server runs from the same lock, and the service says at its start.
    """
    tools = Tools(interpreter.base_python(), interpreter.uv_binary())
    with step(f"release {release.id}") as detail:
        try:
            done = install(dataclasses.replace(release, smoke=()), home.releases, home.store, tools)
        except ReleaseFailed as error:
            raise SelfhostError(str(error), "the disk may be full, or the index out of reach; run it again") from error
        detail.text = "installed" if done else "is there"


def start_database(temporary: TemporaryServer, home: Home) -> None:
    """Install the tools and start the temporary server's database, before all the rest: that server waits for it."""
    tools = releases.prepare_tools(targets.objects_in(home.store))
    install_release(tools, home)
    with step("temporary server's database"):
        temporary.start_database(home.releases / tools.id)


def has_other_prefect(spec: StackSpec) -> bool:
    """Whether this environment's Prefect is not the stack's."""
    return importlib.metadata.version("prefect") != spec.prefect_version


def become(release: Release, home: Home, lease: Lease | None = None) -> NoReturn:
    """Go on as the `selfhost` of a release, with the same arguments; where it is for a host elsewhere, of its like."""
    release = release if home.is_hosts() else like(release, home)
    install_release(release, home)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "PYTHON"))}
    kept |= {"PYTHONUNBUFFERED": "1"} | (lease.over_exec() if lease else {})
    python = home.releases / release.id / "bin/python"
    os.execve(python, [str(python), "-P", "-m", "flows.cli", *sys.argv[1:]], kept)


def like(release: Release, home: Home) -> Release:
    """A release of the same Prefect for this machine, which may be no Linux, in the launcher's own folder."""
    store = targets.objects_in(home.store)
    goal = dataclasses.replace(releases.this_platform(), has_cloud=True)
    wheel = releases.put(store, *build_wheel())
    return releases.prepare(release.id.rpartition("-")[0], wheel, store, (), Host(home).reach(), goal)


def users_profiles() -> Path:
    """The user's file of Prefect profiles; to be asked before `use_server`."""
    home = os.environ.get("PREFECT_HOME", "~/.prefect")
    return Path(os.environ.get("PREFECT_PROFILES_PATH", f"{home}/profiles.toml")).expanduser()


def use_own_server(spec: StackSpec, home: Home) -> None:
    """Set this process's Prefect, which is not imported yet, to the stack's own server."""
    use_server(targets.access(home).server_url(spec), home)
    os.environ["PREFECT_UI_URL"] = targets.access(home).url(spec)


def silence_prefect() -> None:
    """Have Prefect, which is not imported yet, log nothing to the terminal: steps are shown instead."""
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"


def use_server(address: str, home: Home, retries: int | None = None) -> None:
    """Set this process's Prefect, which is not imported yet, to a server of the stack's.

    No setting of the caller's shell, profile or working folder comes along, and nothing is logged to the terminal:
    steps are shown instead.
    """
    state = home.bootstrap / "home" if home.bootstrap.exists() else home.state / "launcher"
    for key in [each for each in os.environ if each.startswith("PREFECT_")]:
        del os.environ[key]
    # Where a log line cannot be sent, the run that wrote it fails by itself and is told of once.
    logging.raiseExceptions = False
    if home.root.exists():
        make_folders(state.parent)  # a launcher's folder has none before, and Prefect makes one folder, not two
        os.chdir(home.root)
    spared = {"127.0.0.1", "localhost", *filter(None, os.environ.get("NO_PROXY", "").split(","))}
    os.environ |= {
        "NO_PROXY": ",".join(sorted(spared)),  # a company's proxy does not know this machine's loopback
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_HOME": str(state),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,blocks",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }
    if retries is not None:
        os.environ["PREFECT_CLIENT_MAX_RETRIES"] = str(retries)
    if auth_string := targets.access(home).secrets.found(secret_files.AUTH_STRING):
        os.environ["PREFECT_API_AUTH_STRING"] = auth_string


def temporary_server(spec: StackSpec, home: Home) -> TemporaryServer:
    """The temporary server of a bootstrap of this home, running or not."""
    return TemporaryServer(home, postgres_user(spec.name, at(home.root)), home.bootstrap)


def is_to_be_adopted(spec: StackSpec, home: Home) -> bool:
    """Whether the stack's home alone was lost, so that its database needs no temporary server to be filled."""
    is_new = not (home.agent / "spec.json").exists() and not home.bootstrap.exists()
    return is_new and targets.access(home).ledger.has_wanted() and targets.has_records(spec, home.root)


def is_bootstrapped(home: Home) -> bool:
    """Whether a bootstrap has come to its end: the host was given its spec, and no temporary server is left here."""
    if home.bootstrap.exists():
        return False
    seen = targets.access(home).machine.observe()
    return (home.agent / "spec.json").exists() or (seen is not None and seen.observed_generation > 0)
