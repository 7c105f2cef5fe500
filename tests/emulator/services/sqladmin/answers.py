"""What answers of Cloud SQL are made of: links, pages, etags, refusals.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1 and, for the texts of errors, public issues of
hashicorp/terraform-provider-google.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call

BASE = "https://sqladmin.googleapis.com/sql/v1beta4"
"""What links of Cloud SQL begin with, whatever version was called."""
MOST = 500
"""Source: `maxResults` of instances.list in the reference: 500 where it is not given, 1,000 at most."""


def refused(why: str) -> errors.ApiError:
    """400 as Cloud SQL says it: "Invalid request: WHY.". Source: hashicorp/terraform-provider-google issues."""
    return errors.invalid(f"Invalid request: {why}.")


def wrong_state() -> errors.ApiError:
    """Source: hashicorp/terraform-provider-google#5179: 409, invalidState."""
    message = "The instance or operation is not in an appropriate state to handle the request."
    return errors.ApiError(409, message, reason="invalidState", status="FAILED_PRECONDITION")


def page(call: Call, items: Sequence[Body], size_key: str = "maxResults") -> tuple[list[Body], Body]:
    """The page asked for, and `{"nextPageToken": …}` where there is more."""
    size = min(call.get(size_key) or MOST, 2 * MOST)
    token = call.get("pageToken") or "0"
    if not token.isdigit():
        raise refused("Invalid page token")
    begin = int(token)
    more = {"nextPageToken": str(begin + size)} if begin + size < len(items) else {}
    return list(items[begin : begin + size]), more


def etag(body: Any) -> str:
    """A hash of what a body says."""
    return base64.b64encode(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()).decode()
