"""The metadata server's tree: what an instance is told of itself and of its project, and how that is written.

Sources: https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys (the keys),
https://cloud.google.com/compute/docs/metadata/querying-metadata (directories, recursive, alt, ETag). In JSON names are
in camel case, as the guest agent reads them (GoogleCloudPlatform/guest-agent, its Descriptor).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.emulator.cloud import Cloud
from tests.emulator.kind import Body
from tests.emulator.services.compute import guest_attributes
from tests.emulator.services.compute.metadata_items import values
from tests.emulator.services.compute.projects import compute_project
from tests.emulator.world import Project, Record, relative

Node = Any
"""A directory (dict, or list of those for numbered ones), or a value: text, number, `Lines`, `Json`."""


class Named(dict[str, Node]):
    """A directory whose names are users' own: they stay as they are in JSON."""


@dataclass(frozen=True)
class Lines:
    """A value that is a list: a line each as text."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Json:
    """A value that is JSON, also as text: tags."""

    value: Any


@dataclass(frozen=True)
class Untold:
    """A value that is listed but no part of what its directory holds: tokens."""


def told(cloud: Cloud, record: Record) -> Node:
    """All that the instance is told."""
    project = cloud.world.projects[record.name.split("/")[2]]
    common = compute_project(cloud, project).body["commonInstanceMetadata"]
    about = {"attributes": Named(values(common)), "numeric-project-id": project.number, "project-id": project.id}
    return {
        "instance": _instance(cloud, project, record),
        "oslogin": {"authenticate": {"sessions": {}}},
        "project": about,
        "universe": {"universe-domain": "googleapis.com"},
    }


def _instance(cloud: Cloud, project: Project, record: Record) -> Node:
    body, number = record.body, f"projects/{project.number}"
    zone = body["zone"].rpartition("/")[2]
    boot = next(each for each in body["disks"] if each["boot"])
    disk = cloud.world.find(f"compute/{relative(boot['source'])}")
    return {
        "attributes": Named(values(body["metadata"])),
        "cpu-platform": body["cpuPlatform"],
        "description": body.get("description", ""),
        "disks": [_disk(each) for each in body["disks"]],
        "guest-attributes": _guest_attributes(cloud, record),
        "hostname": body.get("hostname") or f"{body['name']}.{zone}.c.{project.id}.internal",
        "id": int(body["id"]),
        "image": relative(disk.body.get("sourceImage", "")) if disk else "",
        "licenses": [{"id": each} for each in (disk.body.get("licenseCodes", []) if disk else [])],
        "machine-type": f"{number}/machineTypes/{body['machineType'].rpartition('/')[2]}",
        "maintenance-event": "NONE",
        "name": body["name"],
        "network-interfaces": [_interface(cloud, number, each) for each in body["networkInterfaces"]],
        "preempted": "FALSE",
        "remaining-cpu-time": -1,
        "scheduling": _scheduling(body["scheduling"]),
        "service-accounts": _accounts(body.get("serviceAccounts", [])),
        "tags": Json(body["tags"].get("items", [])),
        "virtual-clock": {"drift-token": "0"},
        "zone": f"{number}/zones/{zone}",
    }


def _guest_attributes(cloud: Cloud, record: Record) -> Node:
    """By namespace; nothing where they are not enabled."""
    found = Named()
    if guest_attributes.enabled(cloud, record):
        for path, value in sorted(guest_attributes.attributes_of(record).items()):
            namespace, _, key = path.partition("/")
            found.setdefault(namespace, Named())[key] = value
    return found


def _disk(each: Body) -> Node:
    names = {"device-name": "deviceName", "index": "index", "interface": "interface", "mode": "mode", "type": "type"}
    return {name: each[key] for name, key in names.items()}


def _interface(cloud: Cloud, number: str, each: Body) -> Node:
    """Source of the form of a MAC address: 42:01 and the internal address, as instances of Compute Engine have it."""
    subnetwork = cloud.world.records[f"compute/{relative(each['subnetwork'])}"].body
    network = cloud.world.records[f"compute/{relative(each['network'])}"].body
    address = ipaddress.IPv4Address(each["networkIP"])
    external = [{"external-ip": one.get("natIP", ""), "type": one["type"]} for one in each.get("accessConfigs", [])]
    return {
        "access-configs": external,
        "dns-servers": Lines(("169.254.169.254",)),
        "forwarded-ips": [],
        "gateway": subnetwork["gatewayAddress"],
        "ip": str(address),
        "ip-aliases": [],
        "mac": ":".join(["42", "01", *(f"{byte:02x}" for byte in address.packed)]),
        "mtu": network.get("mtu", 1460),
        "network": f"{number}/networks/{network['name']}",
        "subnetmask": str(ipaddress.IPv4Network(subnetwork["ipCidrRange"]).netmask),
        "target-instance-ips": [],
    }


def _scheduling(told: Body) -> Node:
    words = {True: "TRUE", False: "FALSE"}
    return {
        "automatic-restart": words[told["automaticRestart"]],
        "on-host-maintenance": told["onHostMaintenance"],
        "preemptible": words[told["preemptible"]],
    }


def _accounts(accounts: list[Body]) -> Node:
    """The account under its own name and as `default`."""
    found = Named()
    for each in accounts:
        about = {"aliases": Lines(("default",)), "email": each["email"], "identity": Untold()}
        about |= {"scopes": Lines(tuple(each["scopes"])), "token": Untold()}
        found |= {"default": about, each["email"]: about}
    return found


# -- looking something up, and writing it down -----------------------------------------------------------------------


def is_directory(node: Node) -> bool:
    return isinstance(node, dict | list)


def entries(node: Node) -> dict[str, Node]:
    """What a directory holds, by name."""
    return {str(number): each for number, each in enumerate(node)} if isinstance(node, list) else node


def find(root: Node, path: str) -> Node:
    """The node at a path such as `instance/disks/0/`; None where there is none."""
    node = root
    for name in path.strip("/").split("/") if path.strip("/") else ():
        if not is_directory(node) or name not in entries(node):
            return None
        node = entries(node)[name]
    return node if is_directory(node) or not path.endswith("/") else None


def listing(node: Node) -> list[str]:
    return [f"{name}/" if is_directory(each) else name for name, each in sorted(entries(node).items())]


def as_text(node: Node) -> str:
    """A value as text; of a directory the names in it."""
    if is_directory(node):
        return "".join(f"{each}\n" for each in listing(node))
    if isinstance(node, Lines):
        return "".join(f"{each}\n" for each in node.items)
    return json.dumps(node.value) if isinstance(node, Json) else str(node)


def as_lines(node: Node, prefix: str = "") -> Iterator[str]:
    """A directory with all below it as text: a line a value."""
    for name, each in sorted(entries(node).items()):
        if is_directory(each):
            yield from as_lines(each, f"{prefix}{name}/")
        elif not isinstance(each, Untold):
            yield f"{prefix}{name} {as_text(each).rstrip()}"


def as_json(node: Node) -> Any:
    """A node with all below it."""
    if isinstance(node, dict):
        shown = str if isinstance(node, Named) else _camel
        return {shown(name): as_json(each) for name, each in node.items() if not isinstance(each, Untold)}
    if isinstance(node, list):
        return [as_json(each) for each in node]
    if isinstance(node, Lines):
        return list(node.items)
    return node.value if isinstance(node, Json) else node


def etag(node: Node) -> str:
    """A mark of what is below a node: another one as soon as any of it changes."""
    return hashlib.sha256(json.dumps(as_json(node), sort_keys=True).encode()).hexdigest()[:16]


def _camel(name: str) -> str:
    head, *rest = name.split("-")
    return head + "".join(word.capitalize() for word in rest)
