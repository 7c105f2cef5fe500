"""What the kinds of a VPC network share: full links, one project, fields that only the insert sets, policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.services.compute.base import ComputeKind, mutation
from tests.emulator.services.compute.links import absolute
from tests.emulator.world import Record, relative


class NetworkingKind(ComputeKind):
    """A subclass gives `settle`: defaults and refusals for a body, when it is made and each time it changes."""

    fixed: ClassVar[tuple[str, ...]] = ()
    """Fields that only the insert sets."""
    not_emulated: ClassVar[tuple[str, ...]] = ()
    """Fields that would change what the resource is, and that are refused with 501."""
    polices: ClassVar[bool] = False
    """Whether a change is one of its network's policy.

    Sources: world-federation-of-advertisers/cross-media-measurement#2956 (subnetworks); for firewalls custom roles in
    public Terraform code ("firewalls.update needs networks.updatePolicy"). No source found for routers and routes.
    """

    def settle(self, record: Record, before: Body | None) -> None:
        """Complete and check a body as it is to be; `before` is what it was, None at the insert."""

    def prepare(self, call: Call, record: Record) -> None:
        self.complete_links(record)
        self.check_body(record, None)
        self.check_policy(call, record)

    def patched(self, before: Record, after: Record) -> None:
        self.complete_links(after)
        for field in ("name", *self.fixed):
            if field in before.body:
                after.body.setdefault(field, before.body[field])
            if before.body.get(field) != after.body.get(field):  # no source for the words
                raise wrong(field, after.body[field], "The field cannot be changed.")
        self.check_body(after, before.body)

    def check_body(self, record: Record, before: Body | None) -> None:
        for field in self.not_emulated:
            if record.body.get(field):
                raise errors.not_emulated(f"{field} of a {self.singular}")
        self.check_project(record)
        self.check_references(record)
        self.settle(record, before)

    def complete_links(self, record: Record) -> None:
        for path in self.referred:
            relink(record.body, path, lambda link, field: absolute(link, project_of(record), field))

    def check_project(self, record: Record) -> None:
        """Source of the words: AppScale/appscale-tools#339. Shared VPC is not emulated."""
        network = record.body.get("network", "")
        if network and project_of(record) != relative(network).split("/")[1]:
            raise wrong("network", network, "Cross-project references for this resource type are not allowed.")

    def check_policy(self, call: Call, record: Record) -> None:
        if self.polices:
            self.need_on(call, "compute.networks.updatePolicy", record.body["network"])

    def need_on(self, call: Call, permission: str, link: str) -> None:
        """403 unless the caller has a permission on the resource behind a link."""
        self.need(call, permission, relative(link), f"projects/{self.project_of(call).id}")

    def network_of(self, record: Record) -> Record:
        """The network a record lies in, which is known to exist."""
        return self.cloud.world.records[f"compute/{relative(record.body['network'])}"]

    def change(self, call: Call, verb: str, record: Record, body: Body) -> Body:
        self.check_policy(call, record)
        return super().change(call, verb, record, body)

    @mutation("delete", "{collection}.delete")
    def delete(self, call: Call) -> Body:
        self.check_policy(call, self.existing(call))
        return super().delete(call)

    def replaced(self, call: Call, record: Record) -> Body:
        """The body after a PUT: what the caller may set is as in the request, defaults where it says nothing."""
        kept = {"kind", "id", "selfLink", "creationTimestamp", "region", "name", "network"}
        return {key: value for key, value in record.body.items() if key in kept} | self.writable(call)


def project_of(record: Record) -> str:
    return record.name.split("/")[2]


def wrong(field: str, value: Any, words: str) -> errors.ApiError:
    """400 in the way Compute Engine says what is wrong with a field."""
    return errors.invalid(f"Invalid value for field 'resource.{field}': '{value}'. {words}")


def relink(body: Body, path: str, change: Callable[[str, str], str], where: str = "resource") -> None:
    """Replace the links at a path such as `nats[].natIps[]`; `change` gets a link and the name of its field."""
    head, _, rest = path.partition(".")
    key = head.removesuffix("[]")
    value = body.get(key)
    if isinstance(value, str):
        body[key] = change(value, f"{where}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            here = f"{where}.{key}[{number}]"
            if rest:
                relink(each, rest, change, here)
            else:
                value[number] = change(each, here)
