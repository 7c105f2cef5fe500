"""Cloud Build's part: steps of Google's own docker builder, carried out by the engine of this machine.

Everything is done as the build's account: it must be able to read the source, to push, and to write the log.
Sources: https://cloud.google.com/build/docs/build-config-file-schema,
https://cloud.google.com/build/docs/securing-builds/store-manage-build-logs
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from tests.lab import nginx_image
from tests.lab.engine import docker
from tests.lab.registry import login

if TYPE_CHECKING:
    from tests.lab.cloud import Lab

Body = dict[str, Any]
BUILDER = re.compile(r"gcr\.io/cloud-builders/docker(:.+)?")
DIGEST = re.compile(r"digest: (sha256:[0-9a-f]{64})")


class Failed(Exception):
    """A build failed; the text is what Cloud Build says of it."""


class Builds:
    """The part behind `cloudbuild.builds`."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, body: Body) -> None:
        """Fetch the source, carry out the steps, push the images; the log is written whatever comes of it."""
        nginx_image.ensure()  # another lab's end may have taken it away
        number = body["name"].split("/")[1]
        account = body.get("serviceAccount", f"{number}-compute@developer.gserviceaccount.com").rpartition("/")[2]
        log: list[str] = []
        with tempfile.TemporaryDirectory(dir=self.lab.folder) as beside:
            workspace = Path(beside) / "workspace"
            workspace.mkdir()
            known = login(self.lab, f"serviceAccount:{account}", Path(beside) / "docker")
            try:
                self._fetch(body, account, workspace)
                for place, step in enumerate(body["steps"]):
                    self._step(name, place, step, known, workspace, log)
                made = [each for each in body.get("images", []) if docker("images", "--quiet", each).strip()]
                body["results"] = {"images": [self._push(each, known, log) for each in made]}
            finally:
                self._write_log(body, account, "".join(log))

    def _fetch(self, body: Body, account: str, workspace: Path) -> None:
        """Unpack what `source.storageSource` names; a build may have none."""
        if not (source := body.get("source", {}).get("storageSource")):
            return
        path = f"/b/{source['bucket']}/o/{quote(source['object'], safe='')}"
        told = {"alt": "media"} | ({"generation": source["generation"]} if source.get("generation") else {})
        answer = self._storage(account).get(f"/storage/storage/v1{path}", params=told)
        if answer.status_code != 200:
            raise Failed(f"could not resolve source: {answer.text}")
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as tar:
            tar.extractall(workspace, filter="data")

    def _step(self, name: str, number: int, step: Body, known: list[str], workspace: Path, log: list[str]) -> None:
        builder = step["name"]
        if not BUILDER.fullmatch(builder) or step.get("entrypoint") or step.get("script"):
            raise NotImplementedError(f"the lab has no builder but Google's docker: {builder}")
        # gcloud names the network of Google's builders, by which steps reach the metadata server.
        arguments = [each for each in step.get("args", []) if each not in ("--network", "cloudbuild")]
        if arguments[:1] == ["build"]:
            arguments[1:1] = self.lab.labels
        environment = {**os.environ, "DOCKER_BUILDKIT": "0", **dict(each.split("=", 1) for each in step.get("env", []))}
        folder = workspace / step.get("dir", "")
        command = ["docker", *known, *arguments]
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._running[name] = process
        said = process.communicate()[0].decode(errors="replace")
        del self._running[name]
        log.append(f"Step #{number}: {' '.join(['docker', *step.get('args', [])])}\n{said}\n")
        if process.returncode:
            raise Failed(
                f'build step {number} "{builder}" failed: step exited with non-zero status: {process.returncode}'
            )

    def _push(self, image: str, known: list[str], log: list[str]) -> Body:
        said = docker(*known, "push", image, timeout=300)
        log.append(f"PUSH\n{said}")
        found = DIGEST.search(said)
        assert found is not None, said
        return {"name": image, "digest": found[1]}

    def _write_log(self, body: Body, account: str, text: str) -> None:
        if bucket := body.get("logsBucket", "").removeprefix("gs://"):
            bucket, _, folder = bucket.partition("/")
            told = {"uploadType": "media", "name": f"{folder.rstrip('/')}/log-{body['id']}.txt".lstrip("/")}
            path = f"/storage/upload/storage/v1/b/{bucket}/o"
            answer = self._storage(account).post(path, params=told, content=text.encode())
            if answer.status_code != 200:
                raise Failed(f"could not write the log to gs://{bucket}: {answer.text}")

    def _storage(self, account: str) -> httpx.Client:
        token = self.lab.cloud.access.mint(f"serviceAccount:{account}")
        return httpx.Client(base_url=self.lab.address, headers={"Authorization": f"Bearer {token}"}, timeout=60)

    def change(self, name: str, body: Body) -> None: ...

    def stop(self, name: str, body: Body) -> None:
        """Cancel it."""
        if (process := self._running.get(name)) is not None:
            process.terminate()

    def remove(self, name: str) -> None: ...
