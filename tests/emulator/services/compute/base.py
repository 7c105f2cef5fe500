"""What all kinds of Compute Engine share: making, changing and deleting, operations, references.

Source: https://cloud.google.com/compute/docs/reference/rest/v1 and, for the texts of errors, the issues
named beside them.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from tests.emulator import errors, quotas
from tests.emulator.backing import Backing
from tests.emulator.kind import Body, Call, on, users_of
from tests.emulator.latencies import LATENCIES
from tests.emulator.operations import Operation, compute_shape
from tests.emulator.patches import merged
from tests.emulator.schema import without_nulls
from tests.emulator.services.compute import labels
from tests.emulator.services.compute.reading import GOOGLE as GOOGLE
from tests.emulator.services.compute.reading import ReadKind
from tests.emulator.world import Record, relative

NAME = r"(?:[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?)"
"""Source: https://cloud.google.com/compute/docs/naming-resources"""
UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
Writes = Callable[[Any, Call], Body]


def mutation(verb: str, permission: str) -> Callable[[Writes], Writes]:
    """`on` for a method that takes a requestId: the same one again has no effect and shows the first operation."""

    def mark(function: Writes) -> Writes:
        def once(kind: ComputeKind, call: Call) -> Body:
            return kind.repeated(call) or function(kind, call)

        return on(verb, permission)(once)

    return mark


class ComputeKind(ReadKind):
    """A kind with get, list, aggregatedList, insert, delete, patch, setLabels, policies, as its document has them.

    A subclass names itself and says what is special: `prepare` (defaults and refusals at insert), `referred` (links to
    other resources), `patched`, `finished` (what the end of an insert does).
    """

    referred: ClassVar[tuple[str, ...]] = ()
    """Body fields that are links to resources which must exist and may not go first; `a.b` and `a[].b` go deeper."""
    marked: ClassVar[bool] = False
    """Whether bodies carry a fingerprint that a patch must give back."""
    labelled: ClassVar[bool] = False
    """Whether bodies carry labels with a fingerprint of their own, from the insert on."""

    # -- writing -----------------------------------------------------------------------------------------------------

    @mutation("insert", "{collection}.create")
    def insert(self, call: Call) -> Body:
        body = self.writable(call)
        name = str(body.get("name", ""))
        check_name(name)
        full = f"{self.folder(call)}/{name}"
        if self.cloud.world.find(f"compute/{full}"):
            raise errors.already_exists(f"The resource '{full}' already exists")
        record = Record(f"compute/{full}", self.collection, body)
        body |= {"kind": self.type_name, "id": str(self.cloud.world.number()), "creationTimestamp": self.now}
        body |= {"selfLink": f"{GOOGLE}/{full}"} | self._place_links(call)
        labels.check(body.get("labels", {}), "resource.labels")
        if self.labelled:
            body["labelFingerprint"] = fingerprint(body.get("labels", {}))
        self.prepare(call, record)
        self.check_references(record)
        self.mark(record)
        over = quotas.exceeded(self.cloud, self.project_of(call), record)
        self.cloud.world.put(record)
        record.busy = "insert"
        return self.begin(call, "insert", record, lambda: self._inserted(record, over), undo=lambda: self.gone(record))

    def _inserted(self, record: Record, over: errors.ApiError | None) -> None:
        if over is not None:
            raise over
        record.busy = ""
        self.finished(record)

    def writable(self, call: Call) -> Body:
        """The body without what is output only, which is ignored.

        Source: https://google.aip.dev/203#output-only
        """
        assert call.method is not None and call.method.request is not None
        document = self.cloud.router.documents[call.method.api]
        properties = document.schemas[call.method.request["$ref"]]["properties"]
        kept = {key: value for key, value in call.body.items() if not properties[key].get("readOnly")}
        return copy.deepcopy(kept)

    def prepare(self, call: Call, record: Record) -> None:
        """Complete and check the body of a new resource; it is not there yet."""

    def finished(self, record: Record) -> None:
        """The insert is done."""

    @mutation("delete", "{collection}.delete")
    def delete(self, call: Call) -> Body:
        record = self.existing(call)
        check_ready(record)
        self.check_unused(record)
        self.leaving(record)
        record.busy = "delete"
        return self.begin(call, "delete", record, lambda: self.gone(record), undo=lambda: self._kept(record))

    def _kept(self, record: Record) -> None:
        record.busy = ""

    def leaving(self, record: Record) -> None:
        """The delete begins; kinds that may refuse or show a status say so here."""

    def gone(self, record: Record) -> None:
        """The delete is done."""
        self.cloud.world.drop(record.name)

    @mutation("patch", "{collection}.update")
    def patch(self, call: Call) -> Body:
        record = self.existing(call)
        self.check_mark(call.body.get("fingerprint"), record)
        return self.change(call, "patch", record, merged(record.body, self.writable(call)))

    def change(self, call: Call, verb: str, record: Record, body: Body) -> Body:
        """Make the record what the body says once the operation is done; what the body leaves alone stays."""
        check_ready(record)
        body = without_nulls(body)
        changed = Record(record.name, record.collection, body, record.hidden)
        self.patched(record, changed)
        self.check_references(changed)
        before = dict(record.body)

        def effect() -> None:
            record.body.update({key: value for key, value in body.items() if before.get(key) != value})
            for key in before.keys() - body.keys():
                record.body.pop(key, None)
            self.mark(record)
            self.changed(record)

        return self.begin(call, verb, record, effect)

    def changed(self, record: Record) -> None:
        """A change is done."""

    def patched(self, before: Record, after: Record) -> None:
        """Refuse what cannot be changed; complete what can."""

    @mutation("setLabels", "{collection}.setLabels")
    def set_labels(self, call: Call) -> Body:
        """Source: https://cloud.google.com/compute/docs/labeling-resources (412 on a stale fingerprint)"""
        record = self.existing(call)
        if call.body.get("labelFingerprint", "") != record.body.get("labelFingerprint"):
            raise stale("Labels fingerprint either invalid or resource labels have changed")
        given = dict(call.body.get("labels", {}))
        labels.check(given, "labels")
        new = {"labels": given, "labelFingerprint": fingerprint(given)}
        return self.begin(call, "setLabels", record, lambda: record.body.update(new))

    # -- what writing needs ------------------------------------------------------------------------------------------

    def need(self, call: Call, permission: str, *resources: str) -> None:
        """403 unless the caller has a permission on one of these, besides the one the method itself asks for."""
        if not self.cloud.access.may(call.caller, permission, resources):
            raise self.denied(permission, resources[0])

    def part(self, verb: str, record: Record) -> Callable[[Backing], None] | None:
        """What the real part of a record does on this verb; None where kinds have none."""

    def begin(self, call: Call, verb: str, record: Record, effect: Any, undo: Any = None, act: Any = None) -> Body:
        """Start the operation and show it; `undo` is for one that ends in an error, `act` for the real part."""
        specific = f"{self.collection}.{verb}"
        general = {"insert": "compute.insert", "delete": "compute.delete"}.get(verb, "compute.update")
        latency = specific if specific in LATENCIES else general
        operation = self.start(call, latency, verb, record, effect, act or self.part(verb, record), undo)
        operation.metadata["requestId"] = call.get("requestId", "")
        return shown_operation(operation)

    def repeated(self, call: Call) -> Body | None:
        """The operation of an earlier call with the same requestId.

        Source: `requestId` in the reference ("must be a valid UUID with the exception that zero UUID is not
        supported"). No source for the words.
        """
        wanted = call.get("requestId")
        if not wanted:
            return None
        if not re.fullmatch(UUID, wanted) or not wanted.strip("0-"):
            raise errors.invalid(f"Invalid value for field 'requestId': '{wanted}'. Must be a valid UUID.")
        mine = self.cloud.operations.of("compute", self.project_of(call).id)
        earlier = next((each for each in mine if each.metadata.get("requestId") == wanted), None)
        return shown_operation(earlier) if earlier else None

    def references(self, record: Record) -> Iterator[str]:
        links = (link for path in self.referred for link in at(record.body, path))
        return (f"compute/{relative(link)}" for link in links)

    def check_references(self, record: Record) -> None:
        """404 for the first that is not there, 400 for one that is only being made or is on its way out.

        Source of the words: skyplane-project/skyplane#683 (404), terraform-google-modules/terraform-google-network#365
        (resourceNotReady).
        """
        for name in self.references(record):
            found = self.cloud.world.find(name)
            if found is None:
                raise errors.not_found(f"The resource '{name.removeprefix('compute/')}' was not found")
            check_ready(found)

    def check_unused(self, record: Record) -> None:
        """400 while something refers to it. Source: apollosolutions/build-a-supergraph#34."""
        users = users_of(self.cloud, record.name)
        if users:
            raise in_use(self.singular, record.name.removeprefix("compute/"), users[0])

    def mark(self, record: Record) -> None:
        """A new fingerprint for what the body says now."""
        if self.marked:
            bare = {key: value for key, value in record.body.items() if key != "fingerprint"}
            record.body["fingerprint"] = fingerprint(bare)

    def check_mark(self, given: str | None, record: Record) -> None:
        """Source: hashicorp/terraform-provider-google#1469 (none given), `fingerprint` in the reference (412)."""
        if self.marked and not given:
            raise errors.invalid("Required field 'resource.fingerprint' not specified", reason="required")
        if self.marked and given != record.body.get("fingerprint"):
            raise stale("Invalid fingerprint.")


def shown_operation(operation: Operation) -> Body:
    return compute_shape(operation, GOOGLE)


def check_name(name: str, field: str = "resource.name") -> None:
    """Source: https://cloud.google.com/compute/docs/naming-resources"""
    if not name:
        raise errors.invalid(f"Required field '{field}' not specified", reason="required")
    if not re.fullmatch(NAME, name):
        raise errors.invalid(f"Invalid value for field '{field}': '{name}'. Must be a match of regex '{NAME}'")


def check_ready(record: Record) -> None:
    """400 for a resource whose insert or delete is under way.

    Source: terraform-google-modules/terraform-google-network#365
    """
    if record.busy:
        name = record.name.removeprefix("compute/")
        raise errors.invalid(f"The resource '{name}' is not ready", reason="resourceNotReady")


def in_use(what: str, name: str, user: str) -> errors.ApiError:
    """400 while `user`, a full name with or without its service, refers to it."""
    user = user[max(user.find("projects/"), 0) :]
    message = f"The {what} resource '{name}' is already being used by '{user}'"
    return errors.invalid(message, reason="resourceInUseByAnotherResource")


def stale(message: str) -> errors.ApiError:
    """Source: gravitational/teleport#43219 (412)"""
    return errors.ApiError(412, message, reason="conditionNotMet", status="FAILED_PRECONDITION")


def fingerprint(value: Any) -> str:
    """Base64 of a hash, as fingerprints look."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def at(body: Any, path: str) -> Iterator[str]:
    """The texts at a path such as `networkInterfaces[].network`; nothing where there is none."""
    head, _, rest = path.partition(".")
    value = body.get(head.removesuffix("[]")) if isinstance(body, dict) else None
    for each in value if isinstance(value, list) else [value]:
        if rest:
            yield from at(each, rest)
        elif isinstance(each, str):
            yield each
