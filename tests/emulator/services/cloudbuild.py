"""Cloud Build. Source: https://cloud.google.com/build/docs/api/reference/rest/v1/projects.builds

Nothing is built here: without a real part (`cloudbuild.builds`) every build fails and says so. The part's `start`
carries the build out: it puts the images that it made, with name and digest, into `results.images` of the Build that it
is given, and raises where a step fails; `stop` cancels. What it made is then pushed, as the build's account may.
"""

from __future__ import annotations

import base64
import copy
import re
import uuid
from datetime import datetime, timedelta
from typing import Any

from tests.emulator import errors
from tests.emulator.backing import Backing
from tests.emulator.clock import rfc3339
from tests.emulator.kind import Body, Call, Kind, on
from tests.emulator.located import LocatedKind
from tests.emulator.operations import Operation, long_running_shape
from tests.emulator.pages import page
from tests.emulator.services.artifactregistry.images import REFERENCE, register, repository_of
from tests.emulator.world import Project, Record

BUILDS = "cloudbuild.projects.locations.builds"
TYPES = "type.googleapis.com/google.devtools.cloudbuild.v1."
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))|\$\$")
NO_BUILDER = "The emulator of Google Cloud has no builder: nothing was built."
DEFAULT_TIMEOUT = "3600s"
"""Source: `timeout` in the reference of Build."""
OUTPUT_ONLY = ("id", "name", "status", "statusDetail", "createTime", "startTime", "finishTime", "results", "logUrl",
               "projectId", "timing", "approval", "failureInfo", "warnings", "sourceProvenance",
               "buildTriggerId")  # fmt: skip
MOST = 1000
"""Builds on a page. No source: the reference names no limit."""
NOT_EMULATED = ("artifacts", "availableSecrets", "secrets", "dependencies", "gitConfig")


class LocatedBuilds(LocatedKind):
    """Builds of a location; `projects/P/builds` are those of `global`."""

    apis = ("cloudbuild.v1",)
    collection = BUILDS

    def project_of(self, call: Call) -> Project:
        named = (call[key] for key in ("name", "parent", "projectId") if call.get(key))
        return call.project(str(next(named)).removeprefix("projects/").split("/")[0])

    def place(self, call: Call) -> str:
        """`projects/P/locations/L` of a call."""
        parts = str(call.get("name") or call.get("parent") or "").split("/")
        location = parts[3] if len(parts) > 3 and parts[2] == "locations" else "global"
        return f"projects/{self.project_of(call).id}/locations/{location}"

    def existing(self, call: Call) -> Record:
        name = call.get("id") or str(call["name"]).rpartition("/")[2]
        record = self.cloud.world.find(f"cloudbuild/{self.place(call)}/builds/{name}")
        if record is None:
            raise errors.not_found("Requested entity was not found.")
        return record

    @on("get", "cloudbuild.builds.get")
    def get(self, call: Call) -> Body:
        return shown(self.existing(call))

    @on("list", "cloudbuild.builds.list")
    def listed(self, call: Call) -> Body:
        """The newest first."""
        if call.get("filter"):
            raise errors.not_emulated(f"{self.collection}.list with filter")
        records = self.cloud.world.under(f"cloudbuild/{self.place(call)}/builds/", BUILDS)
        records.sort(key=lambda each: (each.body["createTime"], each.hidden["number"]), reverse=True)
        return page("builds", [shown(each) for each in records], call, MOST, MOST)

    @on("create", "cloudbuild.builds.create")
    def create(self, call: Call) -> Body:
        project, place = self.project_of(call), self.place(call)
        number = self.cloud.world.number()
        build_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{place}/builds/{number}"))
        body = self.checked(call, build_id, place.rpartition("/")[2])
        body |= {
            "id": build_id,
            "name": f"projects/{project.number}/locations/{place.rpartition('/')[2]}/builds/{build_id}",
            "projectId": project.id,
            "status": "QUEUED",
            "createTime": self.now,
            "logUrl": f"https://console.cloud.google.com/cloud-build/builds/{build_id}?project={project.number}",
        }
        record = Record(f"cloudbuild/{place}/builds/{build_id}", BUILDS, body, {"number": number})
        operation = self.begin(call, self.cloud.world.put(record))
        return shown_operation(operation)

    @on("cancel", "cloudbuild.builds.update")
    def cancel(self, call: Call) -> Body:
        record = self.existing(call)
        operation = self.cloud.operations.all[record.hidden["operation"]]
        if operation.done:
            raise errors.failed_precondition("Cannot cancel a build that is done.")  # no source: words
        self.end(record, "CANCELLED", "")
        self.cloud.backings.run(BUILDS, lambda part: part.stop(record.name, record.body))
        operation.error = errors.ApiError(499, "Build was cancelled.")
        operation.part, operation.ends = None, self.cloud.world.clock.now()
        self.cloud.operations.advance()
        return record.body

    def checked(self, call: Call, build_id: str, location: str) -> Body:
        """What the caller wrote, variables replaced; 400 and 501 for what is wrong with it."""
        body = {key: copy.deepcopy(value) for key, value in call.body.items() if key not in OUTPUT_ONLY}
        for name in NOT_EMULATED:
            if body.get(name):
                raise errors.not_emulated(f"{name} of a build")
        if not body.get("steps") or not all(each.get("name") for each in body["steps"]):
            raise errors.invalid("invalid build: a build needs steps, and each a name")  # no source: words
        self.check_account(call, body)
        project = self.project_of(call)
        known = {"PROJECT_ID": project.id, "PROJECT_NUMBER": str(project.number), "BUILD_ID": build_id,
                 "LOCATION": location} | body.get("substitutions", {})  # fmt: skip
        loose = body.get("options", {}).get("substitutionOption") == "ALLOW_LOOSE"
        for key in ("steps", "images", "tags"):
            if key in body:
                body[key] = substituted(body[key], known, loose)
        body.setdefault("timeout", DEFAULT_TIMEOUT)
        return body

    def check_account(self, call: Call, body: Body) -> None:
        """Source: https://cloud.google.com/build/docs/securing-builds/configure-user-specified-service-accounts"""
        if not body.get("serviceAccount"):
            return
        email = body["serviceAccount"].rpartition("/")[2]
        owner = body["serviceAccount"].split("/")[1]
        name = f"projects/{self.project_of(call).id if owner == '-' else owner}/serviceAccounts/{email}"
        if self.cloud.world.find(f"iam/{name}") is None:
            raise errors.not_found(f"Service account {email} does not exist.")  # no source: words
        call.require("iam.serviceAccounts.actAs", name, "/".join(name.split("/")[:2]))
        options = body.get("options", {})
        quiet = options.get("logging") in ("CLOUD_LOGGING_ONLY", "NONE")
        if not (
            body.get("logsBucket") or quiet or options.get("defaultLogsBucketBehavior") == "REGIONAL_USER_OWNED_BUCKET"
        ):
            raise errors.invalid(
                "invalid argument: if 'build.service_account' is specified, the build must either (a) specify "
                "'build.logs_bucket', (b) use the REGIONAL_USER_OWNED_BUCKET "
                "build.options.default_logs_bucket_behavior option, or (c) use either CLOUD_LOGGING_ONLY / NONE "
                "logging options"
            )

    # -- building ----------------------------------------------------------------------------------------------------

    def begin(self, call: Call, record: Record) -> Operation:
        """Start it; the real part works on a copy of the build, and puts the images it made into it."""
        sent, broken = copy.deepcopy(record.body), list[Exception]()
        started = self.cloud.world.clock.now()
        record.body["startTime"] = rfc3339(started)

        def build(part: Backing) -> None:
            try:
                part.start(record.name, sent)
            except Exception as error:  # noqa: BLE001 - whatever it raises is how the build failed
                broken.append(error)

        def finish() -> Body:
            if not self.cloud.backings.real(BUILDS):
                broken.append(NotImplementedError(NO_BUILDER))
            return self.finish(record, started, sent, broken)

        def abandon() -> None:
            if record.body["status"] == "QUEUED":
                self.end(record, "INTERNAL_ERROR", "The build ended in an error of the service.")

        operation = self.start(call, "cloudbuild.builds", "create", record, finish, build, abandon)
        operation.metadata = {"@type": f"{TYPES}BuildOperationMetadata", "build": copy.deepcopy(shown(record))}
        record.hidden["operation"] = operation.number
        return operation

    def finish(self, record: Record, started: datetime, built: Body, broken: list[Exception]) -> Body:
        """Success with the images pushed, or a failure that says why."""
        limit = timedelta(seconds=float(record.body["timeout"].removesuffix("s")))
        if self.cloud.world.clock.now() - started > limit:
            self.end(record, "TIMEOUT", f"Build timed out after {record.body['timeout']}.")
        elif broken:
            self.fail(record, "USER_BUILD_STEP", str(broken[0]))
        else:
            self.push(
                record, {each["name"]: each.get("digest", "") for each in built.get("results", {}).get("images", [])}
            )
        if record.body["status"] != "SUCCESS":
            raise errors.ApiError(400, f"Build failed: {record.body['statusDetail']}", status="UNKNOWN")
        return {"@type": f"{TYPES}Build", **copy.deepcopy(record.body)}

    def push(self, record: Record, digests: dict[str, str]) -> None:
        """Put the images into their repositories. Source: `images` and `FailureType` in the reference of Build."""
        done = []
        for image in record.body.get("images", []):
            if image not in digests:
                return self.fail(record, "PUSH_IMAGE_NOT_FOUND", f"An image with the name {image} was not built.")
            if not self.may_push(record, image):
                return self.fail(record, "PUSH_NOT_AUTHORIZED", f"The build may not push {image}.")
            try:
                pushed = register(self.cloud, image, digests[image])
            except ValueError as error:
                return self.fail(record, "PUSH_FAILED", str(error))
            done.append({"name": image, "digest": pushed.name.rpartition("@")[2]})
        record.body["results"] = {"images": done}
        return self.end(record, "SUCCESS", "")

    def may_push(self, record: Record, image: str) -> bool:
        """Whether the build's account may: its own, or the default one of Compute Engine.

        Source: https://cloud.google.com/build/docs/cloud-build-service-account-updates
        """
        number = record.body["name"].split("/")[1]
        default = f"{number}-compute@developer.gserviceaccount.com"
        account = record.body.get("serviceAccount", default).rpartition("/")[2]
        found = REFERENCE.fullmatch(image)
        resources = (repository_of(found), f"projects/{found['project']}") if found else ()
        permission = "artifactregistry.repositories.uploadArtifacts"
        return self.cloud.access.may(f"serviceAccount:{account}", permission, resources)

    def fail(self, record: Record, kind: str, detail: str) -> None:
        record.body["failureInfo"] = {"type": kind, "detail": detail}
        self.end(record, "FAILURE", detail)

    def end(self, record: Record, status: str, detail: str) -> None:
        record.body |= {"status": status, "finishTime": self.now} | ({"statusDetail": detail} if detail else {})


class GlobalBuilds(LocatedBuilds):
    """Builds without a location in their path."""

    collection = "cloudbuild.projects.builds"
    owns_records = False
    backed = BUILDS


class Operations(Kind):
    """Operations, below a location or alone: `operations/build/PROJECT/…`."""

    apis = ("cloudbuild.v1",)
    collection = "cloudbuild.projects.locations.operations"

    def project_of(self, call: Call) -> Project:
        parts = str(call["name"]).split("/")
        return call.project(parts[1] if parts[0] == "projects" else (parts[2:3] or [""])[0])

    @on("get", "cloudbuild.builds.get")
    def get(self, call: Call) -> Body:
        last = str(call["name"]).rpartition("/")[2]
        found = self.cloud.operations.find("cloudbuild", decoded(last), self.project_of(call).id)
        if found is None:
            raise errors.not_found("Requested entity was not found.")
        return shown_operation(found)


class AloneOperations(Operations):
    collection = "cloudbuild.operations"


def shown(record: Record) -> Body:
    """A queued build is at work from the moment it was taken in: no source tells how long the queue is."""
    return record.body | ({"status": "WORKING"} if record.body["status"] == "QUEUED" else {})


def shown_operation(operation: Operation) -> Body:
    """Source: names in public `gcloud builds` logs, `operations/build/PROJECT/<base64>`."""
    name = operation.full_name
    if operation.scope == "locations/global":
        name = f"operations/build/{operation.project}/{base64.urlsafe_b64encode(operation.name.encode()).decode()}"
    return long_running_shape(operation, name)


def decoded(name: str) -> str:
    """An operation's own name, of either form."""
    if name.startswith("operation-"):
        return name
    try:
        return base64.urlsafe_b64decode(name).decode()
    except ValueError:
        return name


def substituted(value: Any, known: dict[str, str], loose: bool) -> Any:
    """With `$NAME` and `${NAME}` replaced; `$$` is a dollar sign.

    Source: https://cloud.google.com/build/docs/configuring-builds/substitute-variable-values
    """
    if isinstance(value, list):
        return [substituted(each, known, loose) for each in value]
    if isinstance(value, dict):
        return {key: substituted(each, known, loose) for key, each in value.items()}
    if not isinstance(value, str):
        return value

    def one(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        if name not in known and not loose:
            raise errors.invalid(
                f"invalid value for 'build.substitutions': key in the template \"{name}\" is not a valid built-in "
                "substitution"
            )
        return known.get(name, "")

    return VARIABLE.sub(one, value)


KINDS = (LocatedBuilds, GlobalBuilds, Operations, AloneOperations)
