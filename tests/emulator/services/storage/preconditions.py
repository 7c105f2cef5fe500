"""Preconditions of a request: generations, metagenerations and etags that must or must not be the current ones.

Source: https://cloud.google.com/storage/docs/request-preconditions
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from tests.emulator import errors
from tests.emulator.kind import Body, Call


class NotModified(Exception):
    """A read's `…NotMatch` did not hold: 304, without a body."""


@dataclass(frozen=True)
class Preconditions:
    """What a call asks of one resource; None where it asks nothing. Generation 0 is that of what is not there."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None
    etag: str = ""
    not_etag: str = ""

    def check(self, body: Body | None, reads: bool = False) -> None:
        """412, or NotModified for a read, unless all hold of this body (None: there is no such resource)."""
        generation, metageneration = (int((body or {}).get(key, 0)) for key in ("generation", "metageneration"))
        etag = (body or {}).get("etag", "")
        pairs = ((self.generation, generation), (self.metageneration, metageneration), (self.etag or None, etag))
        if any(wanted is not None and wanted != found for wanted, found in pairs):
            raise failed()
        others = (
            (self.not_generation, generation),
            (self.not_metageneration, metageneration),
            (self.not_etag or None, etag),
        )
        if any(unwanted is not None and unwanted == found for unwanted, found in others):
            raise NotModified if reads else failed()


def asked(call: Call, prefix: str = "if") -> Preconditions:
    """Those in a call's parameters and headers; with prefix `ifSource`, of the source of a copy."""
    etags = call.headers if prefix == "if" else {}
    return Preconditions(
        _number(call, f"{prefix}GenerationMatch"),
        _number(call, f"{prefix}GenerationNotMatch"),
        _number(call, f"{prefix}MetagenerationMatch"),
        _number(call, f"{prefix}MetagenerationNotMatch"),
        etags.get("if-match", "").strip('"'),
        etags.get("if-none-match", "").strip('"'),
    )


def _number(call: Call, name: str) -> int | None:
    return int(call[name]) if name in call.parameters else None


def failed() -> errors.ApiError:
    """Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes#412-precondition-failed"""
    message = "At least one of the pre-conditions you specified did not hold."
    return errors.ApiError(412, message, reason="conditionNotMet")


def unless_modified(call: Call, body: Body) -> Response | None:
    """304 where a read's preconditions say that nothing is new."""
    try:
        asked(call).check(body, reads=True)
    except NotModified:
        return Response(status_code=304, headers={"ETag": body["etag"]})
    return None
