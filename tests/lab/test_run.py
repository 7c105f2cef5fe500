"""Images, services and jobs with Google's clients alone, against real containers.

Each test names what it is written from; times are printed.
"""

from __future__ import annotations

import io
import socket
import ssl
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud import artifactregistry_v1, compute_v1, run_v2, secretmanager_v1, storage
from google.iam.v1 import iam_policy_pb2, policy_pb2
from google.oauth2.credentials import Credentials
from google.protobuf.duration_pb2 import Duration
from googleapiclient import discovery
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from tests.emulator.accounts import put_account
from tests.emulator.cloud import OWNER
from tests.lab import nginx_image
from tests.lab.cloud import Lab
from tests.lab.engine import docker

pytestmark = [pytest.mark.lab, pytest.mark.rare]

REGION = "europe-west4"
PARENT = f"projects/run-lab/locations/{REGION}"
IMAGES = f"{REGION}-docker.pkg.dev/run-lab/images"
DOCKERFILE = "FROM nginx:alpine\nCOPY site.template /etc/nginx/templates/default.conf.template\n"
TEMPLATE = """\
server {
    listen ${PORT};
    client_max_body_size 0;
    location = /started { return 204; }
    location = /missing { return 404; }
    location = /behind { proxy_pass http://${BEHIND}/; proxy_connect_timeout 1s; }
    location = /socket {
        proxy_pass http://${BEHIND};
        proxy_http_version 1.1;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection upgrade;
    }
    location / { return 200 "${K_REVISION} ${WORD} $http_x_forwarded_proto $host"; }
}
"""
LATEST = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST
REVISION = run_v2.TrafficTargetAllocationType.TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION
MIB = 2**20


@dataclass
class Google:
    """A project in the lab, seen by its owner."""

    lab: Lab
    token: str
    behind: str
    """Where an echo of websockets is, `address:port`."""
    folder: Path

    def client(self, kind: Any, service: str) -> Any:
        options = {"api_endpoint": f"{self.lab.address}/{service}"}
        return kind(credentials=Credentials(self.token), client_options=options, transport="rest")  # type: ignore[no-untyped-call]

    @property
    def services(self) -> Any:
        return self.client(run_v2.ServicesClient, "run")

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.lab.authority.certificate))

    @property
    def edge(self) -> str:
        return self.lab.names.leads["run.app"]

    def call(self, host: str, path: str = "/", http: str = "GET", **more: Any) -> httpx.Response:
        """One request by the name of a host, as a name server would lead it."""
        with httpx.Client(verify=self.trust, timeout=30) as client:
            headers = {"Host": host} | more.pop("headers", {})
            told = {"headers": headers, "extensions": {"sni_hostname": host}}
            return client.request(http, f"https://{self.edge}{path}", **told, **more)

    def websocket(self, host: str) -> ClientConnection:
        there = socket.create_connection((self.edge, 443), timeout=10)
        return connect(f"wss://{host}/socket", sock=there, ssl=self.trust)

    @property
    def account(self) -> str:
        """A service account that has no role."""
        return "caller@run-lab.iam.gserviceaccount.com"

    def identity(self, audience: str) -> str:
        """An identity token of that account."""
        url = f"{self.lab.address}/iamcredentials/v1/projects/-/serviceAccounts/{self.account}:generateIdToken"
        asked, headers = {"audience": audience}, {"Authorization": f"Bearer {self.token}"}
        return str(httpx.post(url, json=asked, headers=headers).raise_for_status().json()["token"])

    def docker(self, *arguments: str, stdin: str = "") -> str:
        """docker with a folder of logins of its own."""
        return docker("--config", str(self.folder), *arguments, stdin=stdin.encode())


@pytest.fixture(scope="module")
def google(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    token = lab.cloud.add_project("run-lab", ("all",))
    address = lab.new_address()

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, address, 9000) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        put_account(lab.cloud.world, lab.cloud.world.projects["run-lab"], "caller@run-lab.iam.gserviceaccount.com")
        lab.cloud.access.grant("projects/run-lab", "roles/iam.serviceAccountTokenCreator", OWNER)
        yield Google(lab, token, f"{address}:9000", tmp_path_factory.mktemp("docker"))
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def repository(google: Google) -> str:
    """A repository for images; its name at Google."""
    body = artifactregistry_v1.Repository(format_=artifactregistry_v1.Repository.Format.DOCKER)
    client = google.client(artifactregistry_v1.ArtifactRegistryClient, "artifactregistry")
    made = client.create_repository(parent=PARENT, repository_id="images", repository=body)
    return str(made.result(timeout=30).name)


@pytest.fixture(scope="module")
def image(google: Google, repository: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An nginx that was built and pushed, by its digest."""
    context, name = tmp_path_factory.mktemp("context"), f"{IMAGES}/web:1"
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "site.template").write_text(TEMPLATE)
    docker("build", "--quiet", *google.lab.labels, "--tag", name, str(context))
    with pytest.raises(AssertionError, match="no basic auth credentials"):
        google.docker("push", name)
    login = ("login", "--username", "oauth2accesstoken", "--password-stdin", f"{REGION}-docker.pkg.dev")
    with pytest.raises(AssertionError, match="401 Unauthorized"):
        google.docker(*login, stdin="another token")
    google.docker(*login, stdin=google.token)
    google.docker("push", "--quiet", name)
    docker("rmi", "--force", name)
    return f"{IMAGES}/web@{pushed(google, repository)['1']}"


def pushed(google: Google, repository: str) -> dict[str, str]:
    """Digests by tag, as the API shows them."""
    client = google.client(artifactregistry_v1.ArtifactRegistryClient, "artifactregistry")
    shown = client.list_docker_images(parent=repository)
    return {tag: each.uri.partition("@")[2] for each in shown for tag in each.tags}


def container(google: Google, image: str, word: str, path: str = "/started") -> run_v2.Container:
    probe = run_v2.Probe(http_get=run_v2.HTTPGetAction(path=path), period_seconds=1, failure_threshold=3)
    told = {"BEHIND": google.behind, "WORD": word, "NGINX_ENVSUBST_FILTER": "^(PORT|BEHIND|WORD|K_REVISION)$"}
    return run_v2.Container(
        image=image,
        ports=[run_v2.ContainerPort(container_port=8123)],
        env=[run_v2.EnvVar(name=name, value=value) for name, value in told.items()],
        startup_probe=probe,
    )


def deployment(google: Google, name: str, one: run_v2.Container, public: bool = True, **template: Any) -> Any:
    """The operation of making a service."""
    revision = run_v2.RevisionTemplate(containers=[one], **template)
    body = run_v2.Service(template=revision, invoker_iam_disabled=public)
    return google.services.create_service(parent=PARENT, service=body, service_id=name)


def deployed(google: Google, name: str, one: run_v2.Container, **more: Any) -> run_v2.Service:
    made: run_v2.Service = deployment(google, name, one, **more).result(timeout=60)
    return made


def host_of(service: run_v2.Service) -> str:
    return service.urls[0].removeprefix("https://")


@pytest.fixture(scope="module")
def web(google: Google, image: str) -> run_v2.Service:
    """A public service."""
    return deployed(google, "public", container(google, image, "first"))


def test_what_was_pushed_is_what_runs_behind_https(google: Google, image: str) -> None:
    """https://cloud.google.com/run/docs/triggering/https-request#deterministic, …/run/docs/container-contract"""
    number = google.lab.cloud.world.projects["run-lab"].number
    began, host = time.monotonic(), f"web-{number}.{REGION}.run.app"
    making = deployment(google, "web", container(google, image, "first"))
    while "run.app" not in google.lab.names.leads or google.call(host).status_code != 200:
        assert time.monotonic() - began < 60, making.result()
    seconds = time.monotonic() - began
    print(f"reachable {seconds:.1f} s after it was asked for")
    service, answer = making.result(timeout=30), google.call(host)
    assert service.urls[0] == f"https://{host}"
    assert answer.text == f"{service.latest_ready_revision.rpartition('/')[2]} first https {host}"
    assert httpx.get(f"http://{host}/a?b").headers["location"] == f"https://{host}/a?b"
    assert httpx.get(service.uri, verify=google.trust).text.split()[1] == "first"  # this machine knows the name
    assert google.call("other-1.europe-west4.run.app").status_code == 404
    with google.websocket(host) as caller:
        caller.send("heard")
        assert caller.recv(10) == "heard"
    assert seconds <= 5


def test_a_second_revision_takes_traffic_and_the_first_is_rolled_back_to(google: Google, image: str) -> None:
    """https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration"""
    service = deployed(google, "rolled", container(google, image, "first"))
    first, host = service.latest_ready_revision.rpartition("/")[2], host_of(service)
    service.template = run_v2.RevisionTemplate(containers=[container(google, image, "second")])
    service.traffic = [
        run_v2.TrafficTarget(type_=REVISION, revision=first, percent=100),
        run_v2.TrafficTarget(type_=LATEST, percent=0, tag="next"),
    ]
    service = google.services.update_service(service=service).result(timeout=60)
    second = service.latest_ready_revision.rpartition("/")[2]
    tagged = next(each.uri for each in service.traffic_statuses if each.tag == "next")
    assert word(google, host) == "first"
    assert word(google, tagged.removeprefix("https://")) == "second"
    service.traffic = [run_v2.TrafficTarget(type_=REVISION, revision=each, percent=50) for each in (first, second)]
    service = google.services.update_service(service=service).result(timeout=60)
    assert {word(google, host) for _ in range(40)} == {"first", "second"}
    for revision, expected in ((second, "second"), (first, "first")):
        service.traffic = [run_v2.TrafficTarget(type_=REVISION, revision=revision, percent=100)]
        service = google.services.update_service(service=service).result(timeout=60)
        assert {word(google, host) for _ in range(10)} == {expected}
    google.services.delete_service(name=service.name).result(timeout=60)
    assert google.call(host).status_code == 404


def word(google: Google, host: str) -> str:
    return google.call(host).text.split()[1]


def test_a_wrong_startup_probe_leaves_the_older_revision_serving(google: Google, image: str) -> None:
    """…/run/docs/configuring/healthchecks; the words: terraform-google-modules/terraform-docs-samples#254"""
    service = deployed(google, "probed", container(google, image, "right"))
    service.template = run_v2.RevisionTemplate(containers=[container(google, image, "wrong", path="/missing")])
    with pytest.raises(GoogleAPICallError, match="failed the configured startup probe checks"):
        google.services.update_service(service=service).result(timeout=60)
    service = google.services.get_service(name=service.name)
    assert service.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    assert service.latest_ready_revision != service.latest_created_revision
    revision = google.client(run_v2.RevisionsClient, "run").get_revision(name=service.latest_created_revision)
    [ready] = [each for each in revision.conditions if each.type_ == "Ready"]
    assert ready.state == run_v2.Condition.State.CONDITION_FAILED
    assert "GET /missing was answered with 404" in ready.message
    assert word(google, host_of(service)) == "right"


def test_nothing_listens_on_the_port(google: Google, image: str) -> None:
    """…/run/docs/troubleshooting#container-failed-to-start; 503 while no revision is ready"""
    one = container(google, image, "deaf")
    one.startup_probe.http_get.port = 8124
    with pytest.raises(GoogleAPICallError, match="3 attempts of the startup probe failed"):
        deployed(google, "deaf", one)
    service = google.services.get_service(name=f"{PARENT}/services/deaf")
    number = google.lab.cloud.world.projects["run-lab"].number
    assert service.terminal_condition.state == run_v2.Condition.State.CONDITION_FAILED
    assert "port 8124 refuses connections" in service.terminal_condition.message
    assert google.call(f"deaf-{number}.{REGION}.run.app").status_code == 503


def test_what_google_answers_itself(google: Google, web: run_v2.Service) -> None:
    """…/run/docs/known-issues (reserved paths), …/run/quotas (32 MiB of a request)"""
    host = host_of(web)
    assert google.call(host, "/health").status_code == 200
    for path in ("/healthz", "/a/quiz?x=1", "/_ah/x", "/eventlog"):
        assert "Error 404 (Not Found)!!1" in google.call(host, path).text
    assert google.call(host, "/", "POST", content=b"x" * (32 * MIB)).status_code == 200
    assert google.call(host, "/", "POST", content=b"x" * (32 * MIB + 1)).status_code == 413


def test_who_may_invoke(google: Google, image: str) -> None:
    """…/run/docs/authenticating/service-to-service; a grant is in force at once here"""
    service = deployed(google, "closed", container(google, image, "closed"), public=False)
    host = host_of(service)
    assert google.call(host).status_code == 403
    assert google.call(host, headers={"Authorization": "Bearer nonsense"}).status_code == 401
    shown = {each: {"Authorization": f"Bearer {google.identity(each)}"} for each in (service.uri, "https://other.app")}
    assert google.call(host, headers=shown["https://other.app"]).status_code == 401
    assert google.call(host, headers=shown[service.uri]).status_code == 403
    for member, headers in ((f"serviceAccount:{google.account}", shown[service.uri]), ("allUsers", {})):
        policy = policy_pb2.Policy(bindings=[policy_pb2.Binding(role="roles/run.invoker", members=[member])])
        google.services.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=service.name, policy=policy))
        assert google.call(host, headers=headers).status_code == 200


def test_the_request_timeout_cuts_a_websocket_and_instances_take_so_many(google: Google, image: str) -> None:
    """…/run/docs/triggering/websockets ("long-running HTTP requests"), …/run/docs/about-concurrency"""
    few = {"scaling": run_v2.RevisionScaling(max_instance_count=1), "max_instance_request_concurrency": 1}
    service = deployed(google, "brief", container(google, image, "brief"), timeout=Duration(seconds=2), **few)
    host, began = host_of(service), time.monotonic()
    with google.websocket(host) as caller:
        assert google.call(host).status_code == 429
        with pytest.raises(ConnectionClosed):
            while time.monotonic() - began < 10:  # it ends with the connection
                caller.send("still here")
                assert caller.recv(5) == "still here"
    assert 1.9 < time.monotonic() - began < 5


def test_a_secret_a_limit_and_the_network_of_a_service(google: Google, image: str) -> None:
    """…/run/docs/configuring/services/secrets, …/memory-limits, …/vpc-direct-vpc (PRIVATE_RANGES_ONLY)"""
    vpc(google)
    behind = google.lab.mine("behind")
    inside = google.lab.network.of(f"projects/run-lab/regions/{REGION}/subnetworks/machines")
    docker("run", "--detach", "--name", behind, *google.lab.labels, "--network", inside, nginx_image.NAME)
    one = container(google, image, "replaced")
    one.env = [each for each in one.env if each.name not in ("WORD", "BEHIND")]
    where = docker("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", behind).strip()
    reference = run_v2.SecretKeySelector(secret=secret(google, "told"), version="1")
    one.env.append(run_v2.EnvVar(name="WORD", value_source=run_v2.EnvVarSource(secret_key_ref=reference)))
    one.env.append(run_v2.EnvVar(name="BEHIND", value=where))
    one.resources = run_v2.ResourceRequirements(limits={"cpu": "1", "memory": "128Mi"}, cpu_idle=True)
    interface = run_v2.VpcAccess.NetworkInterface(network="lab", subnetwork="run")
    access = run_v2.VpcAccess(network_interfaces=[interface])
    service = deployed(google, "inside", one, vpc_access=access, service_account=google.account)
    host = host_of(service)
    assert word(google, host) == "told"
    assert google.call(host, "/behind").status_code == 504
    allow(google)
    assert google.call(host, "/behind").text == "<h1>Welcome to nginx!</h1>"
    told = ("--filter", f"label=selfhost-lab={google.lab.name}", "--filter", "name=revision")
    limits = {docker("inspect", "--format", "{{.HostConfig.Memory}}", each).strip() for each in
              docker("ps", "--quiet", *told).split()}  # fmt: skip
    assert str(128 * MIB) in limits


def vpc(google: Google) -> None:
    """A network with a subnetwork for machines and one for Cloud Run."""
    networks, subnetworks = compute_v1.NetworksClient, compute_v1.SubnetworksClient
    network = compute_v1.Network(name="lab", auto_create_subnetworks=False)
    compute(google, networks).insert_unary(project="run-lab", network_resource=network)
    for name, cidr in (("machines", "10.79.0.0/24"), ("run", "10.79.1.0/26")):
        body = compute_v1.Subnetwork(name=name, ip_cidr_range=cidr, network="projects/run-lab/global/networks/lab")
        compute(google, subnetworks).insert_unary(project="run-lab", region=REGION, subnetwork_resource=body)


def allow(google: Google) -> None:
    """Let Cloud Run's subnetwork call the web servers of the network."""
    allowed = compute_v1.Allowed(I_p_protocol="tcp", ports=["80"])
    rule = compute_v1.Firewall(name="web", network="projects/run-lab/global/networks/lab", allowed=[allowed])
    rule.source_ranges = ["10.79.1.0/26"]
    compute(google, compute_v1.FirewallsClient).insert_unary(project="run-lab", firewall_resource=rule)


def compute(google: Google, kind: Any) -> Any:
    credentials = Credentials(google.token)  # type: ignore[no-untyped-call]
    return kind(credentials=credentials, client_options={"api_endpoint": f"{google.lab.address}/compute"})


def secret(google: Google, value: str) -> str:
    """A secret with one version, which the account may read."""
    client = google.client(secretmanager_v1.SecretManagerServiceClient, "secretmanager")
    automatic = secretmanager_v1.Replication(automatic=secretmanager_v1.Replication.Automatic())
    body = secretmanager_v1.Secret(replication=automatic)
    made = client.create_secret(parent="projects/run-lab", secret_id="word", secret=body)
    client.add_secret_version(parent=made.name, payload=secretmanager_v1.SecretPayload(data=value.encode()))
    member, role = f"serviceAccount:{google.account}", "roles/secretmanager.secretAccessor"
    policy = policy_pb2.Policy(bindings=[policy_pb2.Binding(role=role, members=[member])])
    client.set_iam_policy(iam_policy_pb2.SetIamPolicyRequest(resource=made.name, policy=policy))
    return "word"


def test_executions_of_a_job_succeed_and_fail(google: Google, image: str) -> None:
    """…/run/docs/create-jobs, …/run/docs/container-contract#jobs-env-vars, …/configuring/max-retries"""
    jobs = google.client(run_v2.JobsClient, "run")
    script = 'test "$CLOUD_RUN_TASK_INDEX/$CLOUD_RUN_TASK_COUNT" != "1/2"'  # the second of two tasks fails
    task = run_v2.TaskTemplate(containers=[run_v2.Container(image=image, command=["sh", "-c", script])], max_retries=1)
    body = run_v2.Job(template=run_v2.ExecutionTemplate(task_count=1, template=task))
    made = jobs.create_job(parent=PARENT, job=body, job_id="tasks").result(timeout=30)
    done = jobs.run_job(name=made.name).result(timeout=60)
    assert (done.succeeded_count, done.failed_count, done.retried_count) == (1, 0, 0)
    two = run_v2.RunJobRequest(name=made.name, overrides=run_v2.RunJobRequest.Overrides(task_count=2))
    running = jobs.run_job(two)
    with pytest.raises(GoogleAPICallError, match="task1 failed with message: The container exited with an error"):
        running.result(timeout=60)
    executions = google.client(run_v2.ExecutionsClient, "run")
    failed = executions.get_execution(name=running.metadata.name)
    assert (failed.succeeded_count, failed.failed_count, failed.retried_count) == (1, 1, 1)
    latest = jobs.get_job(name=made.name).latest_created_execution
    assert latest.name == failed.name
    assert latest.completion_status == run_v2.ExecutionReference.CompletionStatus.EXECUTION_FAILED
    executions.delete_execution(name=failed.name).result(timeout=30)
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=selfhost-lab-execution=run/{failed.name}")


def test_cloud_build_builds_pushes_and_logs(google: Google, repository: str) -> None:
    """https://cloud.google.com/build/docs/building/build-containers, …/securing-builds/store-manage-build-logs"""
    options = {"api_endpoint": f"{google.lab.address}/storage"}
    client = storage.Client("run-lab", Credentials(google.token), client_options=options)  # type: ignore[no-untyped-call]
    bucket = client.create_bucket("run-lab-builds", location=REGION)
    build = built(google, bucket, DOCKERFILE)
    assert build["status"] == "SUCCESS", build["statusDetail"]
    [made] = build["results"]["images"]
    assert made == {"name": f"{IMAGES}/built:7", "digest": pushed(google, repository)["7"]}
    assert b"COPY site.template" in bucket.blob(f"logs/log-{build['id']}.txt").download_as_bytes()
    service = deployed(google, "built", container(google, f"{IMAGES}/built@{made['digest']}", "built"))
    assert word(google, host_of(service)) == "built"
    build = built(google, bucket, "FROM nginx:alpine\nRUN false\n")
    assert (build["status"], build["failureInfo"]["type"]) == ("FAILURE", "USER_BUILD_STEP")
    assert "non-zero status: 1" in build["statusDetail"]


def built(google: Google, bucket: Any, dockerfile: str) -> dict[str, Any]:
    """A build of that Dockerfile and the site's template, once it has ended."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in (("Dockerfile", dockerfile), ("site.template", TEMPLATE)):
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    source = bucket.blob(f"source/{len(dockerfile)}.tar.gz")
    source.upload_from_string(packed.getvalue())
    tag, credentials = f"{IMAGES}/built:7", Credentials(google.token)  # type: ignore[no-untyped-call]
    body = {
        "source": {"storageSource": {"bucket": bucket.name, "object": source.name}},
        "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "-t", tag, "."]}],
        "images": [tag],
        "logsBucket": f"gs://{bucket.name}/logs",
    }
    options = {"api_endpoint": f"{google.lab.address}/cloudbuild"}
    api = discovery.build("cloudbuild", "v1", static_discovery=True, credentials=credentials, client_options=options)
    builds = api.projects().locations().builds()
    name = builds.create(parent=PARENT, body=body).execute()["metadata"]["build"]["id"]
    while (build := builds.get(name=f"{PARENT}/builds/{name}").execute())["status"] in ("QUEUED", "WORKING"):
        time.sleep(0.1)
    return dict(build)
