"""Executions of jobs.

The real part's (`run.executions`) `start` carries an execution out: it returns once all tasks have ended, has put
`succeededCount`, `failedCount` and `retriedCount` into the body it is given, and raises where one has failed for good;
`stop` ends it early.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs.executions
"""

from __future__ import annotations

import copy
import hashlib

from tests.emulator import errors
from tests.emulator.backing import Backing
from tests.emulator.kind import Body, Call, on
from tests.emulator.operations import Operation
from tests.emulator.services.run.base import (
    EXECUTIONS,
    TYPES,
    RunKind,
    check_version,
    etag_of,
    missing,
    shown_operation,
    unique,
)
from tests.emulator.services.run.conditions import Failure, condition
from tests.emulator.services.run.revisions import LETTERS
from tests.emulator.world import Project, Record

COUNTS = ("succeededCount", "failedCount", "cancelledCount", "retriedCount")


class Executions(RunKind):
    """Executions of a job, the newest first."""

    collection = EXECUTIONS
    word = "EXECUTION"

    @on("get", "run.executions.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "run.executions.list")
    def listed(self, call: Call) -> Body:
        """Of one job, or of all with `jobs/-`."""
        parent = self.full(call)
        if not parent.endswith("/jobs/-") and self.cloud.world.find(f"run/{parent}") is None:
            raise missing("JOB", parent)
        return self.paged(call, "executions", [each.body for each in self.under(parent.removesuffix("/-"))])

    def under(self, parent: str) -> list[Record]:
        """Those below a name, the newest first."""
        found = self.cloud.world.under(f"run/{parent}/", EXECUTIONS)
        return sorted(found, key=lambda each: each.hidden["number"], reverse=True)

    @on("cancel", "run.executions.cancel")
    def cancel(self, call: Call) -> Body:
        record = self.existing(call)
        check_version(call.body.get("etag"), record)
        if "completionTime" in record.body:
            raise errors.failed_precondition("Cannot cancel an execution that has completed.")  # no source: words
        self.end(record, Failure("Execution was cancelled."), {"cancelledCount": record.body["taskCount"]}, "CANCELLED")
        operation = self.cloud.operations.all[record.hidden["operation"]]
        operation.error, operation.part = errors.ApiError(499, "Execution was cancelled."), None
        operation.ends = self.cloud.world.clock.now()
        self.cloud.operations.advance()
        return self.operate(call, "run.delete", "cancel", record, lambda part: part.stop(record.name, record.body))

    @on("delete", "run.executions.delete")
    def delete(self, call: Call) -> Body:
        record = self.existing(call)
        check_version(call.get("etag"), record)
        return self.operate(call, "run.delete", "delete", record, lambda part: part.remove(record.name), gone=True)

    def operate(self, call: Call, latency: str, verb: str, record: Record, act: object, gone: bool = False) -> Body:
        def done() -> Body:
            if gone:
                self.gone(record)
            return {"@type": f"{TYPES}Execution", **record.body}

        operation = self.start(call, latency, verb, record, done, act)  # type: ignore[arg-type]
        operation.metadata = {"@type": f"{TYPES}Execution", **record.body}
        return shown_operation(operation)

    def gone(self, record: Record) -> None:
        """Drop it; whatever of it still runs is ended."""
        self.cloud.world.drop(record.name)
        self.cloud.backings.run(EXECUTIONS, lambda part: part.remove(record.name))

    # -- carrying one out --------------------------------------------------------------------------------------------

    def begin(self, call: Call, job: Record, template: Body) -> Body:
        """Start one; the operation lasts as long as it does, and its metadata is the execution."""
        record = self.new(call, job, template)
        sent, broken = copy.deepcopy(record.body), list[Exception]()

        def carry_out(part: Backing) -> None:
            try:
                part.start(record.name, sent)
            except Exception as error:  # noqa: BLE001 - whatever it raises is how the execution failed
                broken.append(error)

        def finish() -> Body:
            counts = {key: sent[key] for key in COUNTS if key in sent} or {"succeededCount": record.body["taskCount"]}
            self.end(record, Failure(str(broken[0])) if broken else None, counts, "NON_ZERO_EXIT_CODE")
            if broken:
                raise errors.failed_precondition(str(broken[0]))
            return {"@type": f"{TYPES}Execution", **record.body}

        def abandon() -> None:
            if "completionTime" not in record.body:
                self.end(record, Failure("An internal error occurred.", "INTERNAL"), {}, "")

        operation: Operation = self.start(call, "run.executions", "run", record, finish, carry_out, abandon)
        operation.metadata = {"@type": f"{TYPES}Execution", **copy.deepcopy(record.body)}
        record.hidden["operation"] = operation.number
        return shown_operation(operation)

    def new(self, call: Call, job: Record, template: Body) -> Record:
        """A running execution, which the job now tells of."""
        project, number = self.project_of(call), self.cloud.world.number()
        name = f"{job.body['name']}/executions/{execution_name(job.body['name'], number)}"
        body = {
            "name": name,
            "uid": unique(project, f"{name}/{number}"),
            "generation": "1",
            "creator": call.email,
            "job": job.body["name"].rpartition("/")[2],
            "launchStage": job.body["launchStage"],
            "labels": job.body.get("labels", {}) | template.get("labels", {}),
            "annotations": template.get("annotations", {}),
            "taskCount": template["taskCount"],
            "parallelism": template.get("parallelism") or template["taskCount"],
            "template": template["template"],
            "reconciling": True,
            "runningCount": template["taskCount"],
            "logUri": log_uri(project, job.body["name"].rpartition("/")[2]),
            "conditions": [condition("Completed", self.now, pending=True), condition("Started", self.now)],
        } | dict.fromkeys(("createTime", "startTime", "updateTime"), self.now)
        record = Record(f"run/{name}", EXECUTIONS, body, {"number": number, "version": self.next_version()})
        body["etag"] = etag_of(record.hidden["version"])
        job.body["executionCount"] += 1
        self.tell(job, body, "EXECUTION_RUNNING")
        return self.cloud.world.put(record)

    def end(self, record: Record, failure: Failure | None, counts: Body, reason: str) -> None:
        """How it ended. Source of the condition: PrefectHQ/prefect (`condition_after_completion` is `Completed`)."""
        completed = condition("Completed", self.now, failure) | ({"executionReason": reason} if failure else {})
        after = [completed, *(each for each in record.body["conditions"] if each["type"] != "Completed")]
        record.body |= {"conditions": after, "completionTime": self.now, "updateTime": self.now}
        record.body |= {"reconciling": False, "observedGeneration": "1", "runningCount": 0} | counts
        record.hidden["version"] = self.next_version()
        record.body["etag"] = etag_of(record.hidden["version"])
        job = self.cloud.world.find(record.name.rsplit("/executions/", 1)[0])
        if job is not None and job.body["latestCreatedExecution"].get("name") == record.body["name"]:
            told = "CANCELLED" if counts.get("cancelledCount") else "FAILED" if failure else "SUCCEEDED"
            self.tell(job, record.body, f"EXECUTION_{told}")

    def tell(self, job: Record, execution: Body, status: str) -> None:
        """Source: ExecutionReference, and googleapis/google-cloud-dotnet#13303 for its `completionStatus`."""
        shown = {key: execution[key] for key in ("name", "createTime", "completionTime") if key in execution}
        job.body["latestCreatedExecution"] = shown | {"completionStatus": status}


def execution_name(job: str, number: int) -> str:
    """`JOB-x2k5c`. Source: `migrate-vnttt` in googlecodelabs/feedback#1369."""
    digest = hashlib.sha256(f"{job}/{number}".encode()).digest()
    return f"{job.rpartition('/')[2]}-{''.join(LETTERS[byte % len(LETTERS)] for byte in digest[:5])}"


def log_uri(project: Project, job: str) -> str:
    """No source but the console's own address of a job's logs."""
    query = f"resource.type%3D%22cloud_run_job%22%0Aresource.labels.job_name%3D%22{job}%22"
    return f"https://console.cloud.google.com/logs/viewer?project={project.id}&advancedFilter={query}"


KINDS = (Executions,)
