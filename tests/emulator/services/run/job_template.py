"""A job as a caller may write it: what is kept, what Google fills in, what is refused.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs, ExecutionTemplate and TaskTemplate.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

from tests.emulator import errors
from tests.emulator.kind import Body
from tests.emulator.services.run.base import Violation
from tests.emulator.services.run.images import malformed
from tests.emulator.services.run.rules import (
    env_rules,
    label_rules,
    mount_rules,
    resource_rules,
    volume_rules,
    vpc_rules,
)
from tests.emulator.services.run.template import NOT_EMULATED, default_account, fill_container
from tests.emulator.world import Project

JOB_FIELDS = ("annotations", "client", "clientVersion", "labels", "launchStage", "template")
"""What a caller may set and is kept; output-only fields in a request are ignored (https://google.aip.dev/203)."""
TASK_FIELDS = ("containers", "executionEnvironment", "maxRetries", "serviceAccount", "timeout", "volumes", "vpcAccess")
REFUSED = {
    "job": ("binaryAuthorization", "functionalType", "runExecutionToken", "startExecutionToken"),
    "execution": ("delayExecution",),
    "task": ("encryptionKey", "gpuZonalRedundancyDisabled", "nodeSelector", "sandboxes", "workloadIdentityConfig"),
    "vpcAccess": NOT_EMULATED["vpcAccess"],
}
"""Fields that change what Google does and would change nothing here."""
LONGEST_TIMEOUT = 7 * 24 * 3600
"""Seconds of a task. Source: https://cloud.google.com/run/docs/configuring/task-timeout"""
MOST_TASKS, MOST_RETRIES = 10_000, 10
"""Sources: https://cloud.google.com/run/quotas, https://cloud.google.com/run/docs/configuring/max-retries"""


def written(sent: Body, project: Project) -> Body:
    """What a caller wrote, with Google's defaults (the references of the fields; for the timeout …/task-timeout)."""
    _refuse("job", sent)
    body = {key: copy.deepcopy(value) for key, value in sent.items() if key in JOB_FIELDS and value is not None}
    if body.get("launchStage", "").endswith("UNSPECIFIED"):
        del body["launchStage"]
    body.setdefault("launchStage", "GA")
    if "template" in body:
        _fill_execution(body["template"], project)
    return body


def _fill_execution(execution: Body, project: Project) -> None:
    _refuse("execution", execution)
    execution["taskCount"] = execution.get("taskCount") or 1
    task = execution.setdefault("template", {})
    _refuse("task", task)
    _refuse("vpcAccess", task.get("vpcAccess", {}))
    for name in (each for each in list(task) if each not in TASK_FIELDS or task[each] in (None, {}, [], "")):
        del task[name]
    task.setdefault("timeout", "600s")
    task.setdefault("maxRetries", 3)
    task.setdefault("serviceAccount", default_account(project))
    task["executionEnvironment"] = (
        "EXECUTION_ENVIRONMENT_GEN2"  # …/docs/about-execution-environments: jobs know no other
    )
    for container in task.setdefault("containers", []):
        fill_container(container, serving=False)
    if "vpcAccess" in task:
        task["vpcAccess"].setdefault("egress", "PRIVATE_RANGES_ONLY")


def job_rules(body: Body) -> Iterator[Violation]:
    """All that is wrong with it; no source for the words but those of services."""
    if "template" not in body:
        yield Violation("job.template", "required field not present.", of_request=True)
        return
    execution, task = body["template"], body["template"]["template"]
    yield from label_rules("labels", body.get("labels", {}))
    yield from label_rules("template.labels", execution.get("labels", {}))
    if not 1 <= execution["taskCount"] <= MOST_TASKS:
        yield Violation("template.taskCount", f"must be between 1 and {MOST_TASKS}.")
    if not 0 <= execution.get("parallelism", 0) <= execution["taskCount"]:
        yield Violation("template.parallelism", "must be between 0 and task_count.")
    if not 1 <= float(task["timeout"].removesuffix("s")) <= LONGEST_TIMEOUT:
        yield Violation("template.template.timeout", f"must be between 1 and {LONGEST_TIMEOUT} seconds.")
    if not 0 <= task["maxRetries"] <= MOST_RETRIES:
        yield Violation("template.template.maxRetries", f"must be between 0 and {MOST_RETRIES}.")
    yield from vpc_rules(task.get("vpcAccess"))
    yield from volume_rules(task)
    yield from _containers(task)


def _containers(task: Body) -> Iterator[Violation]:
    if len(task["containers"]) != 1:
        yield Violation("template.template.containers", "should contain exactly one container.")
    names = {each.get("name") for each in task.get("volumes", [])}
    for number, container in enumerate(task["containers"]):
        at = f"template.template.containers[{number}]"
        if problem := malformed(container.get("image", "")) if container.get("image") else "image is required.":
            yield Violation(f"{at}.image", problem)
        yield from env_rules(container.get("env", []), at)
        # A job's CPU is always allocated; what a service's `cpuIdle` decides does not come up.
        yield from resource_rules(container["resources"] | {"cpuIdle": False}, at, task["executionEnvironment"])
        yield from mount_rules(container, at, names)


def overridden(execution: Body, overrides: Body) -> Body:
    """The template of one execution. Source: the reference of Overrides and ContainerOverride."""
    if overrides.get("delayExecution"):
        raise errors.not_emulated("delayExecution of an execution")
    template = copy.deepcopy(execution)
    task, container = template["template"], template["template"]["containers"][0]
    template["taskCount"] = overrides.get("taskCount") or template["taskCount"]
    task["timeout"] = overrides.get("timeout") or task["timeout"]
    for each in overrides.get("containerOverrides", []):
        if each.get("args") or each.get("clearArgs"):
            container["args"] = each.get("args", [])
        mine = {variable["name"]: variable for variable in [*container.get("env", []), *each.get("env", [])]}
        container["env"] = list(mine.values())
    return template


def _refuse(what: str, sent: Body) -> None:
    for name in REFUSED[what]:
        if sent.get(name) and not str(sent[name]).endswith("UNSPECIFIED"):
            raise errors.not_emulated(f"{name} of a Cloud Run {what}")
