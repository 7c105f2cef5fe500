"""Numbers of enums: what Google's clients send over REST must be the names of the discovery documents.

Source: the descriptors in google-cloud-run and google-cloud-artifact-registry (googleapis/googleapis).
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import proto
import pytest
from google.cloud import artifactregistry_v1, run_v2, secretmanager_v1

from tests.emulator.discovery import Document
from tests.emulator.numbers import ENUM_NUMBERS


def descriptors(module: ModuleType) -> Iterator[Any]:
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, proto.Message):
            yield from nested(value.pb().DESCRIPTOR)


def nested(descriptor: Any) -> Iterator[Any]:
    yield descriptor
    for each in descriptor.nested_types:
        yield from nested(each)


def enums(module: ModuleType, api: str, prefix: str) -> Iterator[tuple[str, dict[int, str], list[str]]]:
    """(schema and property, names by number as the client has them, names as the document lists them)."""
    document = Document(api)
    for descriptor in descriptors(module):
        properties = document.schemas.get(prefix + descriptor.name, {}).get("properties", {})
        for field in (each for each in descriptor.fields if each.enum_type is not None):
            listed = properties.get(field.json_name, {})
            names = listed.get("enum") or listed.get("items", {}).get("enum")
            if names:
                numbers = {each.number: each.name for each in field.enum_type.values}
                yield f"{prefix}{descriptor.name}.{field.json_name}", numbers, names


@pytest.mark.parametrize(
    ("module", "api", "prefix", "least"),
    [
        (run_v2, "run.v2", "GoogleCloudRunV2", 30),
        (artifactregistry_v1, "artifactregistry.v1", "", 16),
        (secretmanager_v1, "secretmanager.v1", "", 2),
    ],
    ids=["run", "artifactregistry", "secretmanager"],
)
def test_every_number_is_taken_for_its_name(module: ModuleType, api: str, prefix: str, least: int) -> None:
    found = list(enums(module, api, prefix))
    assert len(found) >= least
    for key, numbers, names in found:
        taken = ENUM_NUMBERS.get(key) or dict(enumerate(names))
        assert {number: taken.get(number) for number in numbers} == numbers, key
