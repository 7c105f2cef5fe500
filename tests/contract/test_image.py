"""An image in the stack's registry: built once from what it is built from, by Cloud Build on the emulator at Google's
own speed. Where a Docker engine builds it, that is the lab's."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from blocks import nginx_files
from blocks.errors import Blocked
from blocks.gcp.account import ProjectRoles, ServiceAccount
from blocks.gcp.bucket import BucketResource
from blocks.gcp.build import ROLES, CloudBuilder
from blocks.gcp.image import Context, Image
from blocks.gcp.registry import Registry
from blocks.resource import Apply, Resource, converge, plan, visit
from tests import google
from tests.emulator.cloud import Cloud

CONTEXT = Context(nginx_files.context())


@dataclass
class Builder:
    """Stands behind Cloud Build: reads the source from the bucket, as Google does, and builds a digest out of it."""

    cloud: Cloud
    refusal: str = ""
    built: list[list[str]] = field(default_factory=list)
    """Names of the files of each source."""

    def start(self, name: str, body: dict[str, Any]) -> None:
        source = body["source"]["storageSource"]
        content = self.cloud.world.records[f"storage/b/{source['bucket']}/o/{source['object']}"].hidden["content"]
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
            self.built.append(tar.getnames())
        if self.refusal:
            raise RuntimeError(self.refusal)
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        body["results"] = {"images": [{"name": each, "digest": digest} for each in body["images"]]}

    def change(self, name: str, body: dict[str, Any]) -> None: ...

    def stop(self, name: str, body: dict[str, Any]) -> None: ...

    def remove(self, name: str) -> None: ...


@pytest.fixture
def project() -> google.Project:
    return google.project()


@pytest.fixture
def builder(project: google.Project) -> Iterator[Builder]:
    parts = project.cloud.backings.parts
    before, made = parts["cloudbuild.builds"], Builder(project.cloud)
    parts["cloudbuild.builds"] = made
    yield made
    parts["cloudbuild.builds"] = before


@dataclass
class Made:
    """An image with what it needs."""

    project: google.Project

    @property
    def bucket(self) -> str:
        return f"{self.project.id}-trial"

    def image(self, context: Context = CONTEXT) -> Image:
        seen, account = self.project.seen_by(), ServiceAccount(self.project.seen_by(), "trial", "build")
        registry = Registry(seen, "trial", google.REGION)
        build = CloudBuilder(seen, google.REGION, self.bucket, account)
        return Image(seen, registry, "proxy", context, build, ("bucket", account.name))

    def parts(self, context: Context = CONTEXT) -> list[Resource]:
        seen = self.project.seen_by()
        account = ServiceAccount(seen, "trial", "build")
        bucket = BucketResource(seen, "trial", self.bucket, google.REGION)
        roles = ProjectRoles(seen, account, ROLES)
        return [bucket, account, roles, Registry(seen, "trial", google.REGION), self.image(context)]


@pytest.fixture
def made(project: google.Project) -> Made:
    return Made(project)


def test_a_context_is_known_by_names_and_contents_alone() -> None:
    one = Context({"Dockerfile": b"FROM scratch", "a": b"1"})
    assert one.digest == Context(dict(reversed(one.files.items()))).digest and one.archive() == one.archive()
    others = ({"Dockerfile": b"FROM scratch", "b": b"1"}, {"Dockerfile": b"FROM scratch", "a": b"2"})
    assert len({one.digest, *(Context(each).digest for each in others)}) == 3


def test_built_by_cloud_build_and_named_by_its_own_digest(made: Made, builder: Builder) -> None:
    """Google takes minutes until a new account may do what its roles say: the build is tried until then."""
    assert [each.action for each in plan(made.parts())] == ["create"] * 5
    converge(made.parts())
    assert plan(made.parts()) == []
    assert set(map(tuple, builder.built)) == {("Dockerfile", "templates/default.conf.template")}
    registry, _, digest = made.image().address().partition("@")
    assert registry == f"{google.REGION}-docker.pkg.dev/{made.project.id}/trial/proxy"
    assert digest == f"sha256:{hashlib.sha256(CONTEXT.archive()).hexdigest()}"


def test_another_context_is_another_image_and_the_first_one_stays(made: Made, builder: Builder) -> None:
    converge(made.parts())
    other = Context({**CONTEXT.files, "Dockerfile": b"FROM nginx:alpine"})
    assert [each.resource for each in plan(made.parts(other))] == ["image of the proxy"]
    before, builds = made.image().address(), len(builder.built)
    visit(made.image(other), Apply())
    visit(made.image(other), Apply())
    assert len(builder.built) == builds + 1
    assert made.image().address() == before != made.image(other).address()


def test_a_build_that_fails_is_told_with_the_end_of_its_log(made: Made, builder: Builder) -> None:
    converge(made.parts()[:-1])
    google.pass_seconds(600)
    builder.refusal = "step 0 failed"
    log = "\n".join(f"line {number}" for number in range(50))

    def start(name: str, body: dict[str, Any], begin: Any = builder.start) -> None:
        folder = body["logsBucket"].removeprefix(f"gs://{made.bucket}/")
        blob = f"{folder}/log-{name.rpartition('/')[2]}.txt"
        made.project.seen_by().storage.bucket(made.bucket).blob(blob).upload_from_string(log)
        begin(name, body)

    builder.start = start  # type: ignore[method-assign]
    with pytest.raises(Blocked, match=r"(?s)FAILURE: step 0 failed\nline 40\n.*line 49 \(its log: https://"):
        visit(made.image(), Apply())
    assert len(builder.built) == 1


@pytest.mark.parametrize(
    "fault", [{"kind": "error", "code": 429}, {"kind": "error"}, {"kind": "reset-before"}, {"kind": "reset-after"}]
)
def test_a_lost_answer_ends_in_the_same_image(made: Made, builder: Builder, fault: dict[str, Any]) -> None:
    converge(made.parts()[:-1])
    google.pass_seconds(600)
    with made.project.fault(**fault, method="cloudbuild.projects.locations.builds.create"):
        visit(made.image(), Apply())
    assert plan(made.parts()) == []
    assert made.image().address().partition("@")[2] == f"sha256:{hashlib.sha256(CONTEXT.archive()).hexdigest()}"
