"""A request held against its discovery document before a kind sees it, and our own answer before it is sent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.emulator.discovery import Document, Method
from tests.emulator.errors import OLDER_SHAPE, ApiError, bad_request, invalid
from tests.emulator.numbers import ENUM_NUMBERS
from tests.emulator.router import Match
from tests.emulator.schema import missing, plain, violations, without_nulls

Wrong = list[tuple[str, str]]
"""What is wrong with a request: (field, description)."""


def body_of(document: Document, match: Match, content: bytes) -> tuple[dict[str, Any], Wrong]:
    """The JSON body, enums turned from numbers into names, and what is wrong with it. Uploads parse their own.

    A null is as if it were not sent, but for the older services, where it removes something in a patch.
    Source: https://protobuf.dev/programming-guides/json/ ("accepted value for all field types and treated as the
    default value").
    """
    method = match.method
    if match.upload or not content or method.request is None:
        return {}, []
    try:
        body = json.loads(content)
    except ValueError as error:
        return {}, [("", f"Invalid JSON payload received. {error}")]
    if not isinstance(body, dict):
        return {}, [("", 'Invalid JSON payload received. Unknown name "": Root element must be a message.')]
    body = plain(document, method.request, body, ENUM_NUMBERS)
    wrong = [(each.where, each.message) for each in violations(document, method.request, body)]
    removes = method.http == "PATCH" and method.service in OLDER_SHAPE
    return body if removes else without_nulls(body), wrong


def refuse(wrong: Sequence[tuple[str, str]]) -> None:
    """400 with all that is wrong, if there is anything."""
    if wrong:
        raise ApiError(400, "\n".join(message for _, message in wrong), details=[bad_request(wrong)])


def require_fields(document: Document, match: Match, body: dict[str, Any]) -> None:
    """400 without a field that the document marks as required.

    Source: https://cloud.google.com/compute/docs/reference/rest/v1/errors, "Required field … not specified", and
    https://cloud.google.com/storage/docs/json_api/v1/status-codes#400-bad-request (`required`, "Required").
    """
    names = [] if match.upload else missing(document, match.method, body)
    if names:
        words = f"Required field 'resource.{names[0]}' not specified"
        raise invalid("Required" if match.method.service == "storage" else words, reason="required")


def check_answer(document: Document, method: Method, answer: dict[str, Any]) -> None:
    """Our own answer by the same rules; breaking one is an error of ours, and is not sent."""
    found = violations(document, method.response or {"type": "object"}, answer)
    if found:
        raise AssertionError(f"our answer breaks the schema: {[(each.where, each.message) for each in found]}")
