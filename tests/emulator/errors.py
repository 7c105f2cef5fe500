"""Google's errors: one class, and the two shapes in which its APIs write them.

Source of the shapes: google.rpc.Status as JSON (https://cloud.google.com/apis/design/errors#http_mapping) and the
older one with a list of `errors` (https://cloud.google.com/compute/docs/reference/rest/v1/errors,
https://cloud.google.com/storage/docs/json_api/v1/status-codes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    412: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""HTTP code → canonical status where an error names none (google/rpc/code.proto)."""

REASONS = {
    400: "badRequest",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "conflict",
    412: "conditionNotMet",
    413: "uploadTooLarge",
    429: "rateLimitExceeded",
    500: "backendError",
    501: "notImplemented",
    503: "backendError",
    504: "gatewayTimeout",  # hashicorp/terraform-provider-google#9026
}
"""HTTP code → `reason` in the older shape where an error names none."""

SQL_REASONS = {503: "serverException"}
"""What Cloud SQL says instead. Source: hashicorp/terraform#5231, "503: Service temporarily unavailable."."""

OLDER_SHAPE = frozenset({"compute", "sqladmin", "storage"})
"""Services whose errors carry a list of `errors` with a `reason` each."""


@dataclass
class ApiError(Exception):
    """An answer that is an error.

    code is the HTTP status; message is what Google says, word for word where a source has it; status and reason
    default by code; details are google.rpc detail objects with their `@type`.
    """

    code: int
    message: str
    reason: str = ""
    status: str = ""
    details: Sequence[dict[str, Any]] = field(default_factory=tuple)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self, service: str) -> dict[str, Any]:
        """The JSON body, in the shape of this service."""
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if service in OLDER_SHAPE:
            told = SQL_REASONS if service == "sqladmin" else {}
            reason = self.reason or told.get(self.code) or REASONS.get(self.code, "backendError")
            error["errors"] = [{"message": self.message, "domain": "global", "reason": reason}]
        if service != "storage":
            error["status"] = self.canonical
        if self.details:
            error["details"] = list(self.details)
        return {"error": error}

    @property
    def canonical(self) -> str:
        """The canonical status, for instance NOT_FOUND."""
        return self.status or STATUSES.get(self.code, "UNKNOWN")


def not_found(message: str) -> ApiError:
    return ApiError(404, message, reason="notFound")


def already_exists(message: str) -> ApiError:
    return ApiError(409, message, reason="alreadyExists")


def invalid(message: str, reason: str = "invalid", details: Sequence[dict[str, Any]] = ()) -> ApiError:
    return ApiError(400, message, reason=reason, details=details)


def failed_precondition(message: str) -> ApiError:
    return ApiError(400, message, reason="failedPrecondition", status="FAILED_PRECONDITION")


def unauthenticated(reason: str = "ACCESS_TOKEN_TYPE_UNSUPPORTED") -> ApiError:
    """No caller, or one that is not believed.

    Sources: https://cloud.google.com/docs/authentication/troubleshoot-adc; reasons: google/api/error_reason.proto.
    """
    expected = (
        "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
        "See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    wrong = "is missing required" if reason == "CREDENTIALS_MISSING" else "had invalid"
    return ApiError(
        401,
        f"Request {wrong} authentication credential{'' if reason == 'CREDENTIALS_MISSING' else 's'}. {expected}",
        details=[error_info(reason, "googleapis.com")],
        headers={"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/", error="invalid_token"'},
    )


def not_emulated(method_id: str) -> ApiError:
    """What the emulator does not do says so, instead of making up a success."""
    return ApiError(501, f"{method_id} is not emulated.", reason="notImplemented")


def error_info(reason: str, domain: str, **metadata: str) -> dict[str, Any]:
    """Details of kind ErrorInfo (google/rpc/error_details.proto)."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": metadata,
    }


def bad_request(violations: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Details of kind BadRequest: (field, description) of each violation."""
    fields = [{"field": where, "description": what} if where else {"description": what} for where, what in violations]
    return {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": fields}
