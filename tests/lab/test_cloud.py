"""The lab itself: what a crash leaves is taken away, and what answers in Google's place is believed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.cloud import sqladmin_v1

from tests.emulator.cloud import OWNER
from tests.lab.cloud import FOLDERS, Lab, Running, running_lab, sweep
from tests.lab.engine import docker

pytestmark = pytest.mark.lab

CRASHED = "crash"
SCRIPT = """
import sys, time
from tests.lab.cloud import running_lab
from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.machines import Machines
from tests.unit.emulator.vpc import Vpc

with running_lab(sys.argv[1]) as lab:
    google = Emulated(lab.cloud, lab.address, "crashed", lab.cloud.add_project("crashed", ("all",)))
    Vpc(google).network("vpc")
    Vpc(google).subnetwork("hosts", "10.72.0.0/24", "vpc")
    machines = Machines(google)
    made = machines.insert("one")
    machines.operations.wait(project="crashed", zone=machines.zone["zone"], operation=made.name)
    print("there", flush=True)
    time.sleep(600)
"""


def traces() -> dict[str, str]:
    """What there is of the lab that crashed, by kind; "" is nothing."""
    label = f"label=selfhost-lab={CRASHED}"
    chains = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return {
        "machines": docker("container", "ls", "--all", "--quiet", "--filter", label),
        "networks": docker("network", "ls", "--quiet", "--filter", label),
        "chains": "".join(line for line in chains.splitlines() if f"LAB-{CRASHED}-" in line),
        "folder": "".join(str(each) for each in FOLDERS.glob(CRASHED)),
        "programs": " ".join(programs(str(FOLDERS / CRASHED))),
    }


def programs(folder: str) -> Iterator[str]:
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if folder in (command := each.read_text(errors="replace")):
                yield command
        except OSError:  # it has ended meanwhile
            continue


def test_what_a_crashed_lab_has_left_is_taken_away() -> None:
    command = [sys.executable, "-c", SCRIPT, CRASHED]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as crashing:
        try:
            assert crashing.stdout is not None and crashing.stdout.readline() == "there\n"
            with pytest.raises(Running, match=CRASHED), running_lab(CRASHED):
                pass
        finally:
            crashing.kill()
    assert all(traces().values()), traces()
    sweep(CRASHED)
    assert not any(traces().values()), traces()


def test_cloud_sql_is_called_by_grpc_at_its_own_name(lab: Lab) -> None:
    lab.cloud.add_project("lab-edge", ("all",))
    credentials = grpc.ssl_channel_credentials(lab.authority.certificate.read_bytes())
    named = [("grpc.ssl_target_name_override", "sqladmin.googleapis.com")]
    with grpc.secure_channel(f"{lab.edge.address}:443", credentials, named) as channel:
        calls = sqladmin_v1.SqlInstancesServiceClient.get_transport_class("grpc")(channel=channel)
        client = sqladmin_v1.SqlInstancesServiceClient(transport=calls)
        told = [("authorization", f"Bearer {lab.cloud.access.mint(OWNER)}")]
        request = sqladmin_v1.SqlInstancesListRequest(project="lab-edge")
        assert list(client.list(request, metadata=told).items) == []
