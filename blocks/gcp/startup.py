"""The first start of the stack's machine: what it runs, and the two programs which it finds in the bucket for that.

All else that is on the machine, the host agent puts there.

Source: https://cloud.google.com/compute/docs/instances/startup-scripts/linux (run by root, at each start; its output is
on the serial port), https://cloud.google.com/compute/docs/access/authenticate-workloads (the machine's own tokens).
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import importlib.metadata
import platform
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from blocks.agent.inbox import BOOT
from blocks.agent.mark import Bucket
from blocks.errors import Blocked
from blocks.host.bundle import build_agent
from blocks.host.interpreter import uv_binary
from blocks.object_store import ObjectStore
from blocks.release import ARTIFACTS
from blocks.resource import Attributes, Change, Resource

TEXT = """\
#!/bin/sh
# What the machine of the stack {stack} runs at each start: it has the host agent set itself up, which it fetches from
# the stack's bucket at the first. Nothing in it is secret. Its output is on the serial port. Written by selfhost.
set -u
{assignments}
metadata="http://${{GCE_METADATA_HOST:-169.254.169.254}}/computeMetadata/v1"
storage="${{SELFHOST_STORAGE:-https://storage.googleapis.com}}"
archive="$home/agent/agent.pyz"

# The machine's own token, on the standard input of what needs it: arguments are seen by all who are on the machine.
authorized() {{
    curl -sSf -m 10 -H "Metadata-Flavor: Google" "$metadata/instance/service-accounts/default/token" |
        sed -n 's/.*"access_token" *: *"\\([^"]*\\)".*/header = "Authorization: Bearer \\1"/p' |
        curl -sSf -m 300 -K - "$@"
}}

say() {{
    echo "selfhost: $1"
    said="{{\\"stage\\": \\"script\\", \\"at\\": \\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\\","
    said="$said \\"boot\\": \\"$(cat /proc/sys/kernel/random/boot_id)\\", \\"said\\": \\"$1\\"}}"
    authorized -o /dev/null -H "Content-Type: application/json" --data-binary "$said" \\
        "$storage/upload/storage/v1/b/$bucket/o?uploadType=media&name={stages}script"
}}

fetch() {{
    archive="$(mktemp -d)/agent.pyz"
    authorized -o "$archive" "$storage/storage/v1/b/$bucket/o/{artifacts}$agent?alt=media" &&
        echo "$agent  $archive" | sha256sum --check --status
}}

settle() {{
    if ! [ -e "$archive" ] && ! {{ say "fetches the host agent" && fetch; }}; then
        archive="$home/agent/agent.pyz"
        return 1
    fi
    python3 -I -S "$archive" settle --home "$home" --bucket "$bucket" --project "$project" --region "$region" \\
        --stack "$stack" --identity "$identity" --uv "$uv"
}}

# A role that was just given is known after two minutes as a rule, after seven or more at times.
tries=0
until settle; do
    tries=$((tries + 1))
    if [ "$tries" -ge {tries} ]; then
        echo "selfhost: gave up; sudo google_metadata_script_runner startup tries again"
        exit 1
    fi
    sleep {pause}
done
"""
TRIES, PAUSE = 180, 5
"""How often the script tries to set the agent up, and seconds between: a quarter of an hour in all, or more."""


def script(stack: str, identity: str, home: PurePosixPath, bucket: Bucket, digests: Mapping[str, str]) -> str:
    """The startup script. Pure.

    Args:
        identity: The stack's.
        home: Its folder on the machine.
        digests: Of `agent` and `uv`, as sha256 in hexadecimal.
    """
    values = {"stack": stack, "identity": identity, "home": str(home), "bucket": bucket.name}
    values |= {"project": bucket.project, "region": bucket.region, **digests}
    return TEXT.format(
        stack=stack,
        assignments="\n".join(f"{name}={shlex.quote(value)}" for name, value in values.items()),
        stages=BOOT.replace("/", "%2F"),
        artifacts=ARTIFACTS.replace("/", "%2F"),
        tries=TRIES,
        pause=PAUSE,
    )


@functools.cache
def programs() -> Mapping[str, Path]:
    """Files of the programs a machine begins with: `agent`, the host agent's archive, and `uv` for its platform.

    Raises:
        Blocked: this machine has another platform, and the package index is out of reach.
    """
    folder = tempfile.TemporaryDirectory(prefix="selfhost-programs-")
    atexit.register(folder.cleanup)
    agent = Path(folder.name) / "agent.pyz"
    agent.write_bytes(build_agent())
    is_alike = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    return {"agent": agent, "uv": Path(uv_binary()) if is_alike else fetch_uv(Path(folder.name))}


def fetch_uv(folder: Path) -> Path:
    """Our version of uv for the machine's platform, from the package index, in that folder.

    Raises:
        Blocked: it is not to be had.
    """
    wanted = ["--python-platform", "x86_64-unknown-linux-gnu", "--only-binary", ":all:", "--no-deps"]
    place = ["--target", str(folder / "uv"), "--python", sys.executable]
    argv = [uv_binary(), "pip", "install", "--quiet", *place, *wanted, f"uv=={importlib.metadata.version('uv')}"]
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        what = f"uv for the machine is not to be had: {' '.join(done.stderr.split())[-300:]}"
        raise Blocked(what, "is the package index reached?")
    return folder / "uv/bin/uv"


@functools.cache
def digests() -> Mapping[str, str]:
    """The sha256 of each program, in hexadecimal."""
    return {name: _digest(path) for name, path in programs().items()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class HostPrograms(Resource):
    """These programs, in the stack's bucket as artifacts."""

    name = "host programs"
    needs = ("bucket",)

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def find(self) -> Attributes | None:
        found = {name: digest for name, digest in digests().items() if self._objects.listing(ARTIFACTS + digest)}
        return found or None

    def want(self) -> Attributes:
        return digests()

    def apply(self, actual: Attributes | None, change: Change) -> None:
        for name in change.fields:
            self._objects.put(ARTIFACTS + digests()[name], programs()[name])

    def delete(self) -> None:
        for digest in digests().values():
            self._objects.remove(ARTIFACTS + digest)
