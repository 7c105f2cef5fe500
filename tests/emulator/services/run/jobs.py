"""Jobs, in the v2 form. Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs"""

from __future__ import annotations

import re
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call, on
from tests.emulator.services.run.base import (
    DNS_LABEL,
    TYPES,
    HasPolicy,
    Violation,
    check_version,
    etag_of,
    refuse,
    shown_operation,
    unique,
)
from tests.emulator.services.run.conditions import condition
from tests.emulator.services.run.executions import Executions
from tests.emulator.services.run.job_template import job_rules, overridden, written
from tests.emulator.services.run.readiness import obstacle
from tests.emulator.services.run.rules import NAME_RULE
from tests.emulator.services.run.services import Services
from tests.emulator.world import Record

JOBS = "run.projects.locations.jobs"


class Jobs(HasPolicy):
    """Jobs of a location, the oldest first."""

    collection = JOBS
    word = "JOB"

    @on("get", "run.jobs.get")
    def get(self, call: Call) -> Body:
        return self.existing(call).body

    @on("list", "run.jobs.list")
    def listed(self, call: Call) -> Body:
        records = self.cloud.world.under(f"run/{self.full(call)}/jobs/", JOBS)
        return self.paged(call, "jobs", [each.body for each in records])

    @on("create", "run.jobs.create")
    def create(self, call: Call) -> Body:
        """Ready once its image, its network and its secrets have been seen; `latestCreatedExecution` is there from the
        start (PrefectHQ/prefect reads it from a job that never ran)."""
        full, name = f"{self.full(call)}/jobs/{call.get('jobId')}", call.get("jobId") or ""
        if len(name) > 63 or not re.fullmatch(DNS_LABEL, name):
            refuse([Violation("jobId", NAME_RULE, True)], "CreateJobRequest")
        project = self.project_of(call)
        body = written(call.body, project)
        refuse(list(job_rules(body)), "CreateJobRequest")
        Services(self.cloud).check_account(call, body["template"]["template"]["serviceAccount"])
        if self.cloud.world.find(f"run/{full}"):
            raise errors.already_exists(f"Resource '{name}' already exists.")
        body |= {"name": full, "uid": unique(project, f"{full}/{self.cloud.world.number()}"), "generation": "1"}
        body |= {"createTime": self.now, "creator": call.email, "reconciling": True, "executionCount": 0}
        body |= {"terminalCondition": condition("Ready", self.now, pending=True), "latestCreatedExecution": {}}
        record = Record(f"run/{full}", JOBS, body)
        self.stamp(call, record)
        if call.get("validateOnly"):
            return self.validated(full, body)
        self.cloud.world.put(record)
        return self.begin(call, "run.jobs", record, lambda: self.settled(call, record))

    def settled(self, call: Call, record: Record) -> Body:
        """The job, ready or not: what is wrong is in its condition, and the call that made it has succeeded.

        Source: prefect-gcp's `JobV2.is_ready`, which waits for the condition and knows CONTAINER_MISSING.
        """
        project, body = self.project_of(call), record.body
        failure = obstacle(self.cloud, project, body["name"].split("/")[3], body["template"]["template"])
        body |= {"terminalCondition": condition("Ready", self.now, failure), "reconciling": False}
        body["observedGeneration"] = body["generation"]
        return {"@type": f"{TYPES}Job", **body}

    @on("run", "run.jobs.run")
    def run(self, call: Call) -> Body:
        """Overrides need `run.jobs.runWithOverrides`. Source: https://cloud.google.com/run/docs/execute/jobs"""
        record = self.existing(call)
        check_version(call.body.get("etag"), record)
        overrides = call.body.get("overrides", {})
        if overrides:
            call.require("run.jobs.runWithOverrides", *self.guards(call))
        if record.body["terminalCondition"]["state"] != "CONDITION_SUCCEEDED":
            told = record.body["terminalCondition"].get("message", "It is being made.")
            raise errors.failed_precondition(f"Job '{call.named.rpartition('/')[2]}' is not ready. {told}")
        executions = Executions(self.cloud)
        return executions.begin(call, record, overridden(record.body["template"], overrides))

    @on("delete", "run.jobs.delete")
    def delete(self, call: Call) -> Body:
        """With its executions; one that runs is ended. No source: the reference says "Deletes a Job" alone."""
        record = self.existing(call)
        check_version(call.get("etag"), record)
        if call.get("validateOnly"):
            return self.validated(record.body["name"], record.body)
        executions = Executions(self.cloud)

        def gone() -> Body:
            for each in executions.under(record.body["name"]):
                executions.gone(each)
            self.cloud.world.drop(record.name)
            self.cloud.access.drop_policy(record.body["name"])
            return {"@type": f"{TYPES}Job", **record.body, "deleteTime": self.now}

        return self.begin(call, "run.delete", record, gone)

    def begin(self, call: Call, latency: str, record: Record, effect: Any) -> Body:
        operation = self.start(call, latency, call.method.verb if call.method else "", record, effect)
        operation.metadata = {"@type": f"{TYPES}Job", **record.body}
        return shown_operation(operation)

    def validated(self, full: str, body: Body) -> Body:
        name = f"{full.rsplit('/jobs/', 1)[0]}/operations/validated-{self.cloud.world.number()}"
        return {"name": name, "done": True, "response": {"@type": f"{TYPES}Job", **body}}

    def stamp(self, call: Call, record: Record) -> None:
        """A new version, its etag, and who made it."""
        record.hidden["version"] = self.next_version()
        etag = etag_of(record.hidden["version"])
        record.body |= {"etag": etag, "updateTime": self.now, "lastModifier": call.email}


KINDS = (Jobs,)
