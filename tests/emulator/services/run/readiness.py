"""What keeps a revision from getting ready before its container is even started: its image, network and secrets.

The checks come after the call has answered, as at Google: the service is there, its newest revision has failed.
Source: hashicorp/terraform-provider-google#14493 and, for the words, the issues named at each check.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.emulator.kind import Body
from tests.emulator.services.run.conditions import Failure
from tests.emulator.services.run.images import agent, readable, resolved
from tests.emulator.world import Project, relative

if TYPE_CHECKING:
    from tests.emulator.cloud import Cloud

LEAST_SUBNET = 26
"""Longest prefix a subnet may have. Source: https://cloud.google.com/run/docs/configuring/vpc-direct-vpc"""


def obstacle(cloud: Cloud, project: Project, location: str, template: Body) -> Failure | None:
    """The first thing that keeps a revision of this template from starting."""
    found = (*_images(cloud, project, template), *_network(cloud, project, location, template))
    return next(iter(found), None) or _secrets(cloud, project, template)


def _images(cloud: Cloud, project: Project, template: Body) -> Iterator[Failure]:
    """Source: google-github-actions/deploy-cloudrun#465; for an image of another project the text that Cloud Run's
    troubleshooting page has (https://cloud.google.com/run/docs/troubleshooting#service-agent)."""
    for image in (each["image"] for each in template["containers"]):
        if not readable(cloud, image, project):
            text = (
                f"Google Cloud Run Service Agent {agent(project)} must have permission to read the image, {image}. "
                "Ensure that the provided container image URL is correct and that the above account has permission to "
                "access the image. If you just enabled the Cloud Run API, the permissions might take a few minutes to "
                "propagate."
            )
            yield Failure(text, "CONTAINER_PERMISSION_DENIED")
        elif not resolved(cloud, image)[0]:
            yield Failure(f"Image '{image}' not found.", "CONTAINER_MISSING")


def network_names(project: Project, location: str, template: Body) -> tuple[str, str]:
    """Full names of the network and the subnetwork of a template, "" for each that it does not have.

    Source: the reference of NetworkInterface: without a subnetwork it is the one of the network's name, without a
    network it is the subnetwork's.
    """
    interface = (template.get("vpcAccess", {}).get("networkInterfaces") or [{}])[0]
    network, subnetwork = interface.get("network", ""), interface.get("subnetwork", "")
    if network and not subnetwork:
        subnetwork = network.rpartition("/")[2]
    if network:
        network = _full(network, project, "global/networks")
    if subnetwork:
        subnetwork = _full(subnetwork, project, f"regions/{location}/subnetworks")
    return network, subnetwork


def _full(given: str, project: Project, folder: str) -> str:
    return f"compute/{relative(given)}" if "/" in given else f"compute/projects/{project.id}/{folder}/{given}"


def _network(cloud: Cloud, project: Project, location: str, template: Body) -> Iterator[Failure]:
    """Source of the reason: VPC_NETWORK_NOT_FOUND in the reference of Condition; none for the words."""
    network, subnetwork = network_names(project, location, template)
    for what, name in (("network", network), ("subnetwork", subnetwork)):
        if name and cloud.world.find(name) is None:
            yield Failure(f"VPC {what} {name.removeprefix('compute/')} was not found.", "VPC_NETWORK_NOT_FOUND")
    record = cloud.world.find(subnetwork)
    if record is None:
        return
    if network and f"compute/{relative(record.body.get('network', ''))}" != network:
        text = f"VPC subnetwork {subnetwork.removeprefix('compute/')} does not belong to the given network."
        yield Failure(text, "VPC_NETWORK_NOT_FOUND")
    if ipaddress.ip_network(record.body["ipCidrRange"]).prefixlen > LEAST_SUBNET:
        yield Failure(f"The subnetwork must be /{LEAST_SUBNET} or larger.", "POSTPONED_RETRY")


def _secrets(cloud: Cloud, project: Project, template: Body) -> Failure | None:
    """All secrets that are not there or may not be read.

    Source: terraform-google-modules/terraform-docs-samples#168 (denied); for one that is missing the words have none.
    """
    told = [text for where, secret, version in secrets_in(template)
            if (text := _secret(cloud, project, template["serviceAccount"], where, secret, version))]  # fmt: skip
    return Failure("\n".join(told), "SECRETS_ACCESS_CHECK_FAILED") if told else None


def secrets_in(template: Body) -> Iterator[tuple[str, str, str]]:
    """(where, secret, version) of each secret a template refers to."""
    for number, container in enumerate(template["containers"]):
        for place, variable in enumerate(container.get("env", [])):
            if reference := variable.get("valueSource", {}).get("secretKeyRef"):
                where = f"spec.template.spec.containers[{number}].env[{place}].value_from.secret_key_ref.name"
                yield where, reference["secret"], reference.get("version") or "latest"
    for number, volume in enumerate(template.get("volumes", [])):
        if source := volume.get("secret"):
            for item in source.get("items") or [{}]:
                where = f"spec.template.spec.volumes[{number}].secret.secret_name"
                yield where, source["secret"], item.get("version") or "latest"


def _secret(cloud: Cloud, project: Project, account: str, where: str, secret: str, version: str) -> str:
    """What is wrong with one; "" for nothing."""
    found = re.fullmatch(r"(projects/(?P<project>[^/]+)/secrets/)?(?P<secret>[^/]+)", secret)
    owner = cloud.world.project(found["project"] if found and found["project"] else project.id)
    if found is None or owner is None:
        return f"{where}: Secret {secret} was not found"
    shown = f"projects/{owner.number}/secrets/{found['secret']}"
    names = [f"projects/{reference}/secrets/{found['secret']}" for reference in (owner.id, owner.number)]
    version_there = any(_version(cloud, name, version) for name in names)
    resources = (*names, f"projects/{owner.id}")
    if not cloud.access.may(f"serviceAccount:{account}", "secretmanager.versions.access", resources):
        return (
            f"{where}: Permission denied on secret: {shown}/versions/{version} for Revision service account {account}. "
            "The service account used must be granted the 'Secret Manager Secret Accessor' role "
            "(roles/secretmanager.secretAccessor) at the secret, project or higher level."
        )
    return "" if version_there else f"{where}: Secret {shown}/versions/{version} was not found"


def _version(cloud: Cloud, secret: str, version: str) -> bool:
    """Whether an enabled version is there: by number, by alias, or the newest."""
    record = cloud.world.find(f"secretmanager/{secret}")
    if record is None:
        return False
    version = str(record.body.get("versionAliases", {}).get(version, version))
    folder = f"secretmanager/{secret}/versions/"
    numbers = [each.name.removeprefix(folder) for each in cloud.world.under(folder)]
    if version == "latest":
        version = max((each for each in numbers if each.isdigit()), key=int, default="")
    found = cloud.world.find(folder + version)
    return found is not None and found.body.get("state", "ENABLED") == "ENABLED"
