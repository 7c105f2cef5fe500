"""Cloud Run jobs through google-cloud-run, and as prefect-gcp's worker calls them.

Source: https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs and what each test names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists, BadRequest, Conflict, Forbidden, GoogleAPICallError, NotFound
from google.cloud import run_v2
from googleapiclient import discovery
from prefect_gcp.models.cloud_run_v2 import ExecutionV2, JobV2

from tests.emulator.clock import VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import running
from tests.unit.emulator.conftest import Emulated, in_project
from tests.unit.emulator.run_clients import FAILED, IMAGE, SUCCEEDED, parent_of

STATUS = run_v2.ExecutionReference.CompletionStatus


class Engine:
    """A real part in which a command `false` fails."""

    def start(self, name: str, body: dict[str, Any]) -> None:
        if body["template"]["containers"][0].get("command") == ["false"]:
            body |= {"failedCount": 1, "retriedCount": 1}
            raise RuntimeError("Task job-x-task0 failed with message: The container exited with an error.")
        body["succeededCount"] = body["taskCount"]

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


@pytest.fixture(scope="module")
def real() -> Iterator[tuple[Cloud, str]]:
    cloud = Cloud(VirtualClock(), scale=0, parts={"run.executions": Engine()})
    with running(cloud) as address:
        yield cloud, address


@pytest.fixture
def backed(real: tuple[Cloud, str]) -> Iterator[Emulated]:
    """A project in an emulator that runs containers."""
    yield from in_project(real)


def jobs_of(google: Emulated, member: str = "") -> run_v2.JobsClient:
    credentials = google.credentials_of(member) if member else google.credentials
    return run_v2.JobsClient(credentials=credentials, client_options=google.options("run"), transport="rest")


def executions_of(google: Emulated) -> run_v2.ExecutionsClient:
    return run_v2.ExecutionsClient(
        credentials=google.credentials, client_options=google.options("run"), transport="rest"
    )


def job(image: str = IMAGE, count: int = 1, **task: Any) -> run_v2.Job:
    command = task.pop("command", [])
    template = run_v2.TaskTemplate(containers=[run_v2.Container(image=image, command=command)], **task)
    return run_v2.Job(template=run_v2.ExecutionTemplate(task_count=count, template=template))


def made(google: Emulated, body: run_v2.Job | None = None) -> run_v2.Job:
    operation = jobs_of(google).create_job(parent=parent_of(google), job=job() if body is None else body, job_id="job")
    done: run_v2.Job = operation.result(timeout=10)
    return done


def test_a_job_from_making_to_deleting(google: Emulated) -> None:
    """Defaults: …/docs/configuring/task-timeout and …/max-retries; LRO: the reference of jobs.run."""
    ready, jobs = made(google), jobs_of(google)
    assert ready.name == f"{parent_of(google)}/jobs/job"
    assert (ready.terminal_condition.type_, ready.terminal_condition.state) == ("Ready", SUCCEEDED)
    task = ready.template.template
    assert (task.timeout.seconds, task.max_retries, ready.template.task_count) == (600, 3, 1)
    execution = jobs.run_job(name=ready.name).result(timeout=10)
    assert (execution.succeeded_count, execution.running_count) == (1, 0)
    assert execution.name.startswith(f"{ready.name}/executions/job-")
    after = jobs.get_job(name=ready.name)
    assert after.execution_count == 1
    assert after.latest_created_execution.name == execution.name
    assert after.latest_created_execution.completion_status == STATUS.EXECUTION_SUCCEEDED
    assert [each.name for each in jobs.list_jobs(parent=parent_of(google))] == [ready.name]
    executions = executions_of(google)
    assert [each.name for each in executions.list_executions(parent=ready.name)] == [execution.name]
    executions.delete_execution(name=execution.name).result(timeout=10)
    assert list(executions.list_executions(parent=ready.name)) == []
    jobs.delete_job(name=ready.name).result(timeout=10)
    with pytest.raises(NotFound, match="Resource 'job' of kind 'JOB' in region"):
        jobs.get_job(name=ready.name)


def test_an_execution_runs_for_a_while_and_can_be_cancelled(slow_google: Emulated) -> None:
    operation = jobs_of(slow_google).create_job(parent=parent_of(slow_google), job=job(), job_id="job")
    slow_google.advance(60)
    assert operation.done()
    name = f"{parent_of(slow_google)}/jobs/job"
    running_one = jobs_of(slow_google).run_job(name=name)
    executions = executions_of(slow_google)
    seen = executions.get_execution(name=running_one.metadata.name)
    assert (seen.running_count, seen.reconciling) == (1, True)
    latest = jobs_of(slow_google).get_job(name=name).latest_created_execution
    assert latest.completion_status == STATUS.EXECUTION_RUNNING
    executions.cancel_execution(name=seen.name)
    seen = executions.get_execution(name=seen.name)
    assert (seen.cancelled_count, seen.conditions[0].type_, seen.conditions[0].state) == (1, "Completed", FAILED)
    latest = jobs_of(slow_google).get_job(name=name).latest_created_execution
    assert latest.completion_status == STATUS.EXECUTION_CANCELLED
    with pytest.raises(GoogleAPICallError, match="cancelled"):
        running_one.result(timeout=10)


def test_a_task_that_fails_fails_the_execution(backed: Emulated) -> None:
    """The words: googlecodelabs/feedback#1369."""
    ready = made(backed, job(command=["false"]))
    operation = jobs_of(backed).run_job(name=ready.name)
    with pytest.raises(GoogleAPICallError, match="The container exited with an error"):
        operation.result(timeout=10)
    seen = executions_of(backed).get_execution(name=operation.metadata.name)
    completed = next(each for each in seen.conditions if each.type_ == "Completed")
    assert (completed.state, seen.failed_count, seen.retried_count) == (FAILED, 1, 1)
    assert completed.execution_reason == run_v2.Condition.ExecutionReason.NON_ZERO_EXIT_CODE


def test_what_prefects_worker_reads_is_there(backed: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    """prefect_gcp/models/cloud_run_v2.py: `latestCreatedExecution` and `etag` before there is any execution."""
    client = discovery.build(
        "run", "v2", static_discovery=True, credentials=backed.credentials, client_options=backed.options("run")
    )
    api, where = client.projects().locations(), {"project": backed.project, "location": "us-central1"}
    container = {"image": IMAGE, "env": [], "command": ["true"], "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}
    task = {"containers": [container], "maxRetries": 0, "timeout": "600s", "serviceAccount": None}
    body = {"client": "prefect", "launchStage": "BETA", "template": {"template": task}}
    JobV2.create(api, backed.project, "us-central1", "job", body)
    assert JobV2.get(api, job_name="job", **where).is_ready()
    begun = JobV2.run(api, job_name="job", **where)
    while not (execution := ExecutionV2.get(api, begun["metadata"]["name"])).completionTime:
        pass
    assert execution.succeeded()
    latest = JobV2.get(api, job_name="job", **where).latestCreatedExecution
    assert latest["name"] == execution.name
    monkeypatch.setattr("time.sleep", lambda _: None)  # it gives Google 3 s for an execution
    JobV2.delete(api, job_name="job", **where)
    assert "jobs" not in api.jobs().list(parent=parent_of(backed)).execute()


def test_an_image_that_is_not_there_is_told_by_the_job(google: Emulated) -> None:
    """prefect_gcp: `_is_missing_container`."""
    seen = made(google, job(f"us-central1-docker.pkg.dev/{google.project}/none/at:all"))
    assert (seen.terminal_condition.state, seen.terminal_condition.reason) == (
        FAILED,
        run_v2.Condition.CommonReason.CONTAINER_MISSING,
    )
    with pytest.raises(BadRequest, match="not found"):
        jobs_of(google).run_job(name=seen.name)


def test_overrides_are_for_one_execution_and_need_a_right_of_their_own(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/execute/jobs#override-job-configuration"""
    ready = made(google)
    override = run_v2.RunJobRequest.Overrides.ContainerOverride(args=["a"], env=[run_v2.EnvVar(name="A", value="b")])
    asked = run_v2.RunJobRequest(
        name=ready.name, overrides=run_v2.RunJobRequest.Overrides(container_overrides=[override], task_count=2)
    )
    execution = jobs_of(google).run_job(asked).result(timeout=10)
    container = execution.template.containers[0]
    assert (list(container.args), container.env[0].value, execution.task_count) == (["a"], "b", 2)
    assert list(jobs_of(google).get_job(name=ready.name).template.template.containers[0].args) == []
    google.grant("roles/run.jobsExecutor", "user:b@example.com")
    with pytest.raises(Forbidden, match="runWithOverrides"):
        jobs_of(google, "user:b@example.com").run_job(asked)
    jobs_of(google, "user:b@example.com").run_job(name=ready.name).result(timeout=10)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (job("example.com/x"), "Expected an image path like"),
        (job(max_retries=11), "must be between 0 and 10"),
        (job(count=10_001), "must be between 1 and 10000"),
        (run_v2.Job(), "required field not present"),
    ],
)
def test_what_cannot_be_is_refused(google: Emulated, body: run_v2.Job, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        made(google, body)


def test_a_name_is_taken_once_and_an_old_etag_is_told(google: Emulated) -> None:
    ready = made(google)
    with pytest.raises((AlreadyExists, Conflict), match="already exists"):
        made(google)
    with pytest.raises(Conflict, match="Conflict for resource 'job'"):
        jobs_of(google).delete_job(run_v2.DeleteJobRequest(name=ready.name, etag='"b2xk"'))
