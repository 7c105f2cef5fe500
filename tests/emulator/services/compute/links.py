"""Links between resources as bodies carry them: any form in, the full URL out, and what is wrong with one.

Source of the forms: "For example, the following are all valid URLs" under `network` in
https://cloud.google.com/compute/docs/reference/rest/v1/instances
"""

from __future__ import annotations

import re

from tests.emulator import errors
from tests.emulator.cloud import Cloud
from tests.emulator.services.compute.base import GOOGLE, check_ready
from tests.emulator.world import Record, relative

FORM = re.compile(r"projects/[^/]+/(global|zones/[^/]+|regions/[^/]+)/[a-z][A-Za-z]+/[^/]+(/[^/]+)?")


def absolute(link: str, project: str, field: str) -> str:
    """The full URL of a link that may leave out host and project.

    Source of the words: GoogleCloudPlatform/cloud-foundation-toolkit#95 ("The URL is malformed.")
    """
    path = relative(link)
    whole = path if path.startswith("projects/") else f"projects/{project}/{path}"
    if not FORM.fullmatch(whole):
        raise errors.invalid(f"Invalid value for field '{field}': '{link}'. The URL is malformed.")
    return f"{GOOGLE}/{whole}"


def referenced(cloud: Cloud, link: str, project: str, field: str, what: str) -> Record:
    """The record behind a link in a body; 400 where there is none.

    Source of the words: hashicorp/terraform-provider-google#2140, docker-archive/infrakit.gcp#1.
    """
    record = cloud.world.find(f"compute/{relative(absolute(link, project, field))}")
    if record is None:
        raise errors.invalid(
            f"Invalid value for field '{field}': '{link}'. The referenced {what} resource cannot be found."
        )
    check_ready(record)
    return record
