"""Google's discovery documents as google-api-python-client ships them: methods, parameters, schemas.

Format: https://developers.google.com/discovery/v1/reference/apis
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import googleapiclient.discovery_cache

Schema = Mapping[str, Any]

APIS = (
    "compute.v1",
    "sqladmin.v1",
    "sqladmin.v1beta4",
    "run.v2",
    "run.v1",
    "artifactregistry.v1",
    "secretmanager.v1",
    "storage.v1",
    "iam.v1",
    "iamcredentials.v1",
    "cloudresourcemanager.v3",
    "cloudresourcemanager.v1",
    "serviceusage.v1",
    "serviceusage.v1beta1",
    "servicenetworking.v1",
    "cloudbuild.v1",
)
"""The documents behind the one router."""

UNTOLD_PARAMETERS = {
    "compute": {"returnPartialSuccess": "boolean"},
    "storage": {"$alt": "string", "upload_id": "string", "name": "string", "userProject": "string"},
    "": {
        "$alt": "string",
        "$.xgafv": "string",
        "$prettyPrint": "boolean",
        "$userProject": "string",
        "$httpHeaders": "string",
    },
}
"""Query parameters the live services take and their documents do not list, by service ("" is all).

Source: what Google's own clients send: google-cloud-* over REST sends `$alt`, gcloud `$httpHeaders`;
google-resumable-media sends `name` and `upload_id`.
"""


@dataclass(frozen=True)
class Parameter:
    """One path or query parameter; `schema` has its type, format, pattern and enum."""

    name: str
    location: str
    required: bool
    repeated: bool
    schema: Schema


@dataclass(frozen=True, repr=False)
class Method:
    """One method of one document."""

    api: str
    id: str
    http: str
    path: str
    flat_path: str
    parameters: Mapping[str, Parameter]
    request: Schema | None
    response: Schema | None
    upload_paths: tuple[str, ...]
    downloads: bool
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<{self.api}:{self.id}>"

    @property
    def service(self) -> str:
        """`compute` of `compute.v1`."""
        return self.api.partition(".")[0]

    @property
    def collection(self) -> str:
        """`compute.instances` of `compute.instances.insert`."""
        return self.id.rpartition(".")[0]

    @property
    def verb(self) -> str:
        """`insert` of `compute.instances.insert`."""
        return self.id.rpartition(".")[2]


class Document:
    """One discovery document; reading the file is the expensive part, and is done once."""

    def __init__(self, api: str) -> None:
        folder = Path(googleapiclient.discovery_cache.__file__).parent / "documents"
        self.api = api
        self._raw: dict[str, Any] = json.loads((folder / f"{api}.json").read_text(), object_hook=_without_prose)

    @property
    def schemas(self) -> Mapping[str, Schema]:
        schemas: Mapping[str, Schema] = self._raw["schemas"]
        return schemas

    @property
    def host(self) -> str:
        """`compute.googleapis.com`."""
        return str(self._raw["rootUrl"]).removeprefix("https://").rstrip("/")

    @property
    def title(self) -> str:
        """`Compute Engine API`."""
        return str(self._raw["title"])

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        common = self._raw.get("parameters", {})
        return tuple(self._method(raw, common) for raw in _methods_under(self._raw))

    def _method(self, raw: dict[str, Any], common: dict[str, Any]) -> Method:
        base = "/" + self._raw["servicePath"]
        told = {**common, **raw.get("parameters", {})}
        service = self.api.partition(".")[0]
        untold = {**UNTOLD_PARAMETERS[""], **UNTOLD_PARAMETERS.get(service, {})}
        schemas = {name: {"type": kind, "location": "query"} for name, kind in untold.items()} | told
        protocols = raw.get("mediaUpload", {}).get("protocols", {})
        return Method(
            api=self.api,
            id=raw["id"],
            http=raw["httpMethod"],
            path=base + raw["path"],
            flat_path=base + raw.get("flatPath", raw["path"]),
            parameters={name: _parameter(name, schema) for name, schema in schemas.items()},
            request=raw.get("request"),
            response=raw.get("response"),
            upload_paths=tuple(sorted({protocol["path"] for protocol in protocols.values()})),
            downloads=raw.get("supportsMediaDownload", False),
            scopes=tuple(raw.get("scopes", ())),
        )


def _parameter(name: str, schema: dict[str, Any]) -> Parameter:
    required, repeated = schema.get("required", False), schema.get("repeated", False)
    return Parameter(name, schema.get("location", "query"), required, repeated, schema)


def _methods_under(node: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield from node.get("methods", {}).values()
    for child in node.get("resources", {}).values():
        yield from _methods_under(child)


def _without_prose(node: dict[str, Any]) -> dict[str, Any]:
    """Drop what only people read, half of the memory, and keep the one mark that hides in it.

    A property that is itself called `description` is an object, not a text, and stays.
    """
    text = node.get("description")
    if isinstance(text, str):
        del node["description"]
        if "output only" in text.lower():
            node["readOnly"] = True
    if isinstance(node.get("enumDescriptions"), list):
        del node["enumDescriptions"]
    return node
