"""What labels of Compute Engine may be.

Source: https://cloud.google.com/compute/docs/labeling-resources#restrictions; the words:
GoogleCloudPlatform/k8s-config-connector#363 (insert), scylladb/scylla-cluster-tests#13147 (setLabels, "details").
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tests.emulator.errors import ApiError, error_info, invalid

MOST = 64
RULE = (
    "can only contain lowercase letters, numeric characters, underscores and dashes. The {part} can be at most 63 "
    "characters long. International characters are allowed."
)


def check(labels: Mapping[str, str], field: str) -> None:
    """400 for a key or a value that is no label; `field` is `resource.labels` in an insert, `labels` by itself."""
    if len(labels) > MOST:
        raise invalid(f"Invalid value for field '{field}': ''. A resource can have at most {MOST} labels.")  # no source
    for key, value in labels.items():
        if not _written(key) or not (key[0].isalpha() or ord(key[0]) > 127):
            words = f"The key must start with a lowercase character, {RULE.format(part='key')}"
            raise _wrong(field, f"Label key '{key}' violates format constraints. {words}")
        if value and not _written(value):
            words = f"The value {RULE.format(part='value')}"
            raise _wrong(field, f"Label value '{value}' violates format constraints. {words}")


def _written(text: str) -> bool:
    return re.fullmatch(r"[\w-]{1,63}", text) is not None and text == text.lower()


def _wrong(field: str, why: str) -> ApiError:
    told = error_info("INVALID_FIELD_VALUE", "compute.googleapis.com", field=field, value="")
    told["metadata"]["reason"] = why
    return invalid(f"Invalid value for field '{field}': ''. {why}", details=[told])
