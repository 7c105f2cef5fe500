"""What answers of Cloud SQL are made of: links, pages, etags, refusals.

Sources: https://cloud.google.com/sql/docs/postgres/admin-api/rest/v1 and, for the texts of errors, the
issues named beside them.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from tests.emulator import errors
from tests.emulator.kind import Body, Call
from tests.emulator.pages import page

BASE = "https://sqladmin.googleapis.com/sql/v1beta4"
"""What links of Cloud SQL begin with, whatever version was called."""
MOST = 500
"""Source: `maxResults` of instances.list in the reference: 500 where it is not given, 1,000 at most."""


def refused(why: str) -> errors.ApiError:
    """400 as Cloud SQL says it: "Invalid request: WHY.". Source: hashicorp/terraform-provider-google#8218."""
    return errors.invalid(f"Invalid request: {why}.")


def wrong_state() -> errors.ApiError:
    """Source: hashicorp/terraform-provider-google#5179: 409, invalidState."""
    message = "The instance or operation is not in an appropriate state to handle the request."
    return errors.ApiError(409, message, reason="invalidState", status="FAILED_PRECONDITION")


def paged(key: str, items: Sequence[Body], call: Call, asked: str = "maxResults") -> Body:
    """The page asked for. No source for the words."""
    return page(key, items, call, MOST, 2 * MOST, asked, str(refused("Invalid page token").message))


def etag(body: Any) -> str:
    """A hash of what a body says."""
    return base64.b64encode(hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()).decode()
