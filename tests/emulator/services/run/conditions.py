"""Conditions: how far a service or a revision has got, and what went wrong.

Source: https://cloud.google.com/run/docs/reference/rest/v2/Condition
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.emulator.errors import ApiError
from tests.emulator.kind import Body


@dataclass(frozen=True)
class Failure:
    """Why a revision is not ready: Google's reason, common or a revision's own, and the message."""

    message: str
    reason: str = ""
    revision_reason: str = ""

    def of_service(self, revision: str) -> Failure:
        """The same as the service tells it. Source: transparency-dev/tesseract#413 and many others."""
        message = f"Revision '{revision}' is not ready and cannot serve traffic. {self.message}"
        return Failure(message, "REVISION_FAILED")

    @property
    def error(self) -> ApiError:
        """How the operation ends.

        Source: transparency-dev/tesseract#413 of 2025 (code 9, FAILED_PRECONDITION); until 2024 issues show 13.
        """
        return ApiError(400, self.message, reason="failedPrecondition", status="FAILED_PRECONDITION")


def condition(kind: str, now: str, failure: Failure | None = None, pending: bool = False) -> Body:
    """One condition of the v2 form; an old time is put back by `carried`."""
    state = "CONDITION_RECONCILING" if pending else "CONDITION_FAILED" if failure else "CONDITION_SUCCEEDED"
    shown = {"type": kind, "state": state, "lastTransitionTime": now}
    if failure and not pending:
        told = {"message": failure.message, "reason": failure.reason, "revisionReason": failure.revision_reason}
        shown |= {"severity": "ERROR"} | {key: value for key, value in told.items() if value}
    return shown


def retired(now: str) -> Body:
    """What `Active` says of a revision that gets no traffic. Source: `RETIRED` in the reference of Condition."""
    return {"type": "Active", "state": "CONDITION_FAILED", "severity": "INFO", "revisionReason": "RETIRED",
            "message": "Revision retired.", "lastTransitionTime": now}  # fmt: skip


def carried(before: list[Body], after: list[Body]) -> list[Body]:
    """The new conditions, each with the time at which its state last changed."""
    known = {each["type"]: each for each in before}
    for each in after:
        old = known.get(each["type"])
        if old and {**old, "lastTransitionTime": ""} == {**each, "lastTransitionTime": ""}:
            each["lastTransitionTime"] = old["lastTransitionTime"]
    return after
