"""Turns what was found into a `HostStatus`. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .health import Watch
from .planning import Decision, ServiceProcess
from .spec import Condition, HostSpec, HostStatus, JobStatus, Service, ServiceState, ServiceStatus


@dataclass(frozen=True)
class Findings:
    """All that a status is made of."""

    spec: HostSpec | None
    installed: tuple[str, ...] = ()
    release_faults: tuple[str, ...] = ()
    secret_faults: tuple[str, ...] = ()
    file_faults: tuple[str, ...] = ()
    manager_fault: str = ""
    watches: Mapping[str, Watch] = field(default_factory=dict)
    processes: Mapping[str, ServiceProcess] = field(default_factory=dict)
    decisions: Mapping[str, Decision] = field(default_factory=dict)
    jobs: tuple[JobStatus | None, ...] = ()
    """In the order of the spec; None where a run has not begun."""


def build_status(
    findings: Findings,
    spec_fault: str,
    reports: Mapping[str, Mapping[str, Any]],
    last_lines: Mapping[str, str],
    previous: HostStatus,
    now: float,
) -> HostStatus:
    """The status at `now` (Unix time); `previous` gives the times since when conditions are as they are.

    `spec_fault` is why the newest spec was not taken up, or empty; `reports` (what ready files say) and `last_lines`
    (of the log) are by service name.
    """
    spec = findings.spec
    services = _services(findings, reports, last_lines)
    found = [
        _releases_installed(findings),
        _services_ready(services, findings),
        _jobs_done(findings),
    ]
    found.append(_converged(found, findings, spec_fault))
    before = {each.type: each for each in previous.conditions}
    return HostStatus(
        observed_generation=spec.generation if spec else 0,
        agent_sha256=previous.agent_sha256,
        agent_pid=previous.agent_pid,
        time=now,
        releases=findings.installed,
        services=tuple(services),
        jobs=tuple(each for each in findings.jobs if each is not None),
        conditions=tuple(_since(each, before.get(each.type), now) for each in found),
    )


def stopped_status(status: HostStatus, now: float) -> HostStatus:
    """The status after everything has been stopped on purpose."""
    return dataclasses.replace(
        status,
        agent_pid=0,
        time=now,
        services=tuple(ServiceStatus(each.name, "stopped", each.version, since=now) for each in status.services),
        conditions=(
            *(each for each in status.conditions if each.type not in ("Converged", "ServicesReady")),
            Condition("ServicesReady", False, "Stopped", "stopped on purpose; `start` brings all back", now),
            Condition("Converged", False, "Stopped", "stopped on purpose; `start` brings all back", now),
        ),
    )


def failing_status(status: HostStatus, fault: str, now: float) -> HostStatus:
    """The last status, with what keeps the agent from making another one."""
    before = next((each for each in status.conditions if each.type == "Converged"), None)
    found = _since(Condition("Converged", False, "AgentFailed", fault), before, now)
    others = (each for each in status.conditions if each.type != "Converged")
    return dataclasses.replace(status, time=now, conditions=(*others, found))


def is_settled(status: HostStatus) -> bool:
    """Whether nothing is under way: then the agent looks less often."""
    return all(each.status for each in status.conditions)


def _since(condition: Condition, before: Condition | None, now: float) -> Condition:
    is_same = before is not None and before.status == condition.status and before.reason == condition.reason
    return dataclasses.replace(condition, since=before.since if before is not None and is_same else now)


def _services(
    findings: Findings, reports: Mapping[str, Mapping[str, Any]], last_lines: Mapping[str, str]
) -> list[ServiceStatus]:
    wanted = findings.spec.services if findings.spec else ()
    reported = [_service(each, findings, reports.get(each.name, {}), last_lines) for each in wanted]
    leaving = sorted(findings.decisions.keys() - {each.name for each in wanted})
    return reported + [_leaving(name, findings) for name in leaving]


def _leaving(name: str, findings: Findings) -> ServiceStatus:
    process = findings.processes.get(name)
    pid = process.record.pid if process is not None else 0
    if findings.decisions[name].action == "wait-idle":
        return ServiceStatus(name, "waiting-idle", pid=pid, message=findings.decisions[name].reason)
    return ServiceStatus(name, "stopped", pid=pid, message="no longer wanted; its process is being ended")


def _service(
    service: Service, findings: Findings, report: Mapping[str, Any], last_lines: Mapping[str, str]
) -> ServiceStatus:
    process = findings.processes.get(service.name)
    watch = findings.watches.get(service.name, Watch())
    decision = findings.decisions.get(service.name, Decision("hold", "not looked at yet"))
    state, message = _state(watch, decision)
    if state == "failed":
        message = "; ".join(filter(None, (message, last_lines.get(service.name, ""))))
    return ServiceStatus(
        name=service.name,
        state=state,
        version=str(report.get("version") or service.version),
        pid=process.record.pid if process is not None and not process.held else 0,
        since=watch.since,
        message=message,
        clients=dict(report.get("clients", {})),
    )


def _state(watch: Watch, decision: Decision) -> tuple[ServiceState, str]:
    if decision.action == "hold":
        return "pending", decision.reason
    if decision.action == "wait-idle":
        return "waiting-idle", decision.reason
    if decision.action == "stop":
        return "starting", decision.reason
    return ("starting" if watch.state == "pending" else watch.state), watch.message or decision.reason


def _releases_installed(findings: Findings) -> Condition:
    wanted = [each.id for each in findings.spec.releases] if findings.spec else []
    missing = [each for each in wanted if each not in findings.installed]
    if findings.release_faults:
        return Condition("ReleasesInstalled", False, "InstallFailed", "; ".join(findings.release_faults))
    if missing:
        return Condition("ReleasesInstalled", False, "Installing", f"installing {', '.join(missing)}")
    return Condition("ReleasesInstalled", True, "Installed", f"{len(wanted)} installed")


def _services_ready(services: list[ServiceStatus], findings: Findings) -> Condition:
    if findings.manager_fault:
        return Condition("ServicesReady", False, "ServiceManagerFailed", findings.manager_fault)
    reasons: dict[ServiceState, str] = {
        "failed": "Failed",
        "unready": "Unready",
        "pending": "Pending",
        "starting": "Starting",
        "waiting-idle": "WaitingIdle",
        "stopped": "Stopping",
    }
    for state, reason in reasons.items():
        found = [each for each in services if each.state == state]
        if found:
            message = "; ".join(f"{each.name}: {each.message or state}" for each in found)
            return Condition("ServicesReady", False, reason, message)
    return Condition("ServicesReady", True, "Ready", f"{len(services)} ready")


def _jobs_done(findings: Findings) -> Condition:
    wanted = findings.spec.jobs if findings.spec else ()
    failed = [each.name for each in findings.jobs if each is not None and each.state == "failed"]
    open_ = [
        job.name
        for job, status in zip(wanted, findings.jobs, strict=True)
        if status is None or status.state == "running"
    ]
    if failed:
        hint = "see the output in this status, mend the cause, and give it a new run"
        return Condition("JobsDone", False, "Failed", f"failed: {', '.join(failed)}; {hint}")
    if open_:
        return Condition("JobsDone", False, "Running", f"not ended yet: {', '.join(open_)}")
    return Condition("JobsDone", True, "Done", f"{len(wanted)} done")


def _converged(found: list[Condition], findings: Findings, spec_fault: str) -> Condition:
    if spec_fault:
        kept = f"; generation {findings.spec.generation} is kept" if findings.spec else ""
        return Condition("Converged", False, "InvalidSpec", f"{spec_fault}{kept}")
    if findings.spec is None:
        return Condition("Converged", False, "NoSpec", "no spec has been given yet")
    if findings.secret_faults:
        return Condition("Converged", False, "SecretsMissing", "; ".join(findings.secret_faults))
    if findings.file_faults:
        return Condition("Converged", False, "FilesFailed", "; ".join(findings.file_faults))
    held_back = [f"{name}: {each.reason}" for name, each in findings.decisions.items() if each.reason]
    for condition in found:
        if not condition.status:
            return Condition("Converged", False, condition.reason, condition.message)
    if held_back:
        return Condition("Converged", False, "HeldBack", "; ".join(held_back))
    return Condition("Converged", True, "Converged", "all is as the spec says")
