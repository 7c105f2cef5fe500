"""What Cloud Run refuses in a service, through google-cloud-run.

Source: the reference of each message in https://cloud.google.com/run/docs/reference/rest/v2, and what each test names.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.api_core.exceptions import BadRequest, Conflict
from google.cloud import run_v2
from google.protobuf.duration_pb2 import Duration

from tests.unit.emulator.conftest import Emulated
from tests.unit.emulator.run_clients import container, created, made, template, updated

Port = run_v2.ContainerPort
GEN2 = run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN2


def with_container(**more: Any) -> run_v2.RevisionTemplate:
    return run_v2.RevisionTemplate(containers=[container(**more)])


def limits(cpu: str, memory: str, idle: bool = True) -> run_v2.ResourceRequirements:
    return run_v2.ResourceRequirements(limits={"cpu": cpu, "memory": memory}, cpu_idle=idle)


def refused(google: Emulated, body: run_v2.RevisionTemplate, words: str) -> BadRequest:
    with pytest.raises(BadRequest, match=words) as caught:
        created(google, template=body)
    return caught.value


def test_a_refusal_names_the_field(google: Emulated) -> None:
    """GoogleCloudPlatform/magic-modules#10173: message, details and all."""
    error = refused(google, with_container(ports=[Port(container_port=1), Port(container_port=2)]), "0 or 1 port")
    field = "Violation in CreateServiceRequest.service.template.containers[0].ports"
    assert f"{field}: ports should contain 0 or 1 port." in error.message
    told = [{"field": field, "description": "ports should contain 0 or 1 port."}]
    assert error.details == [{"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": told}]


def test_a_template_is_required(google: Emulated) -> None:
    """googleapis/google-cloud-java#11101."""
    with pytest.raises(BadRequest, match=r"CreateServiceRequest\.service\.template\.containers: required field not"):
        created(google, template=run_v2.RevisionTemplate())


@pytest.mark.parametrize("port", [Port(container_port=70000), Port(name="http2", container_port=8080)])
def test_a_port_has_a_number_and_a_protocol(google: Emulated, port: run_v2.ContainerPort) -> None:
    refused(google, with_container(ports=[port]), "port")


@pytest.mark.parametrize("name", ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"])
def test_names_of_the_system_are_reserved(google: Emulated, name: str) -> None:
    """hashicorp/terraform-provider-google#26877."""
    words = (
        rf"template\.containers\[0\]\.env: The following reserved env names were provided: {name}\. These values are"
    )
    refused(google, with_container(env=[run_v2.EnvVar(name=name, value="1")]), words)


@pytest.mark.parametrize(
    "variables",
    [
        [run_v2.EnvVar(name="A=B", value="1")],
        [run_v2.EnvVar(name="X_GOOGLE_A", value="1")],
        [run_v2.EnvVar(name="A", value="x" * 32769)],
        [
            run_v2.EnvVar(name="A", value="1"),
            run_v2.EnvVar(
                name="A",
                value_source=run_v2.EnvVarSource(secret_key_ref=run_v2.SecretKeySelector(secret="s", version="1")),
            ),
        ],
    ],
    ids=["equals sign", "prefix", "too long", "secret twice"],
)
def test_variables_follow_the_rules(google: Emulated, variables: list[run_v2.EnvVar]) -> None:
    """https://cloud.google.com/run/docs/configuring/services/environment-variables"""
    refused(google, with_container(env=variables), r"containers\[0\]\.env")


@pytest.mark.parametrize(
    ("resources", "environment", "words"),
    [
        (limits("1", "8Gi"), 0, "For 1.0 CPU, memory must be between 128Mi and 4Gi inclusive"),
        (limits("1", "64Mi"), 0, "For 1.0 CPU, memory must be between 128Mi and 4Gi inclusive"),
        (
            limits("1", "256Mi"),
            GEN2,
            "memory with gen2 execution environment. For 1.0 CPU, memory must be between 512Mi",
        ),
        (limits("4", "1Gi"), 0, "For 4.0 CPU, memory must be between 2Gi and 16Gi inclusive"),
        (limits("1", "256Mi", idle=False), 0, "between 512Mi and 4Gi"),
        (limits("3", "1Gi"), 0, "Invalid value specified for cpu"),
        (limits("0.05", "128Mi"), 0, "Invalid value specified for cpu"),
        (limits("0.5", "512Mi", idle=False), 0, "cpu always allocated"),
        (limits("1", "much"), 0, "Invalid value specified for container memory"),
    ],
)
def test_cpu_and_memory_fit_together(
    google: Emulated, resources: run_v2.ResourceRequirements, environment: int, words: str
) -> None:
    """google/osv.dev#2800, MarkEdmondson1234/googleCloudRunner#137 (gen2)"""
    body = template(execution_environment=environment, containers=[container(resources=resources)])
    refused(google, body, words)


def test_less_than_a_cpu_serves_one_request(google: Emulated) -> None:
    """nearform/slack-knowledgebase-chatgpt-responder#980; 1 by default by the reference of RevisionTemplate."""
    half = container(resources=limits("500m", "256Mi"))
    words = "Total cpu < 1 is not supported with concurrency > 1"
    refused(google, template(containers=[half], max_instance_request_concurrency=5), words)
    assert made(google, template=template(containers=[half])).template.max_instance_request_concurrency == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"timeout": Duration(seconds=3601)}, "between 1 and 3600 seconds"),
        ({"max_instance_request_concurrency": 1001}, "between 1 and 1000"),
    ],
)
def test_timeout_and_concurrency_have_limits(google: Emulated, more: dict[str, Any], words: str) -> None:
    """https://cloud.google.com/run/docs/configuring/request-timeout, …/about-concurrency"""
    refused(google, template(**more), words)


def test_there_are_at_least_as_many_at_most(google: Emulated) -> None:
    """goblet/goblet#287."""
    words = r"CreateServiceRequest\.service\.template\.scaling\.max_instance_count: must be greater or equal than min_"
    scaling = run_v2.RevisionScaling(min_instance_count=5, max_instance_count=2)
    refused(google, template(scaling=scaling), words)
    with pytest.raises(BadRequest, match=r"service\.scaling\.max_instance_count: must be greater or equal than min_"):
        created(google, scaling=run_v2.ServiceScaling(min_instance_count=3, max_instance_count=2))


@pytest.mark.parametrize(
    ("name", "probe"),
    [
        ("startup_probe", {"tcp_socket": {}, "timeout_seconds": 20, "period_seconds": 10}),
        ("startup_probe", {"tcp_socket": {}, "period_seconds": 241, "failure_threshold": 1}),
        ("startup_probe", {"tcp_socket": {}, "period_seconds": 100, "failure_threshold": 3}),
        ("startup_probe", {"tcp_socket": {}, "initial_delay_seconds": 241}),
        ("startup_probe", {"period_seconds": 10}),
        ("startup_probe", {"http_get": {"path": "ready"}}),
        ("liveness_probe", {"tcp_socket": {}}),
        ("liveness_probe", {"http_get": {}, "period_seconds": 3601}),
        ("liveness_probe", {"http_get": {"port": 70000}}),
    ],
)
def test_probes_follow_the_rules(google: Emulated, name: str, probe: dict[str, Any]) -> None:
    """https://cloud.google.com/run/docs/configuring/healthchecks"""
    camel = name.replace("_probe", "Probe")
    refused(google, with_container(**{name: run_v2.Probe(**probe)}), camel)


def test_a_good_probe_gets_its_defaults(google: Emulated) -> None:
    probe = run_v2.Probe(http_get=run_v2.HTTPGetAction())
    service = made(google, template=with_container(liveness_probe=probe, ports=[Port(container_port=9000)]))
    kept = service.template.containers[0].liveness_probe
    assert (kept.timeout_seconds, kept.period_seconds, kept.failure_threshold) == (1, 10, 3)
    assert (kept.http_get.path, kept.http_get.port) == ("/", 9000)


def test_one_of_several_containers_has_the_port(google: Emulated) -> None:
    """https://cloud.google.com/run/docs/deploying#sidecars"""
    main, side = container(name="main", ports=[Port(container_port=8080)]), container(name="side")
    service = made(google, template=run_v2.RevisionTemplate(containers=[main, side]))
    assert [len(each.ports) for each in service.template.containers] == [1, 0]
    both = [container(name="a", ports=[Port(container_port=1)]), container(name="b", ports=[Port(container_port=2)])]
    with pytest.raises(BadRequest, match="exactly one container with an exposed port"):
        created(google, template=run_v2.RevisionTemplate(containers=both))
    with pytest.raises(BadRequest, match="a name of its own"):
        created(google, template=run_v2.RevisionTemplate(containers=[main, main]))


@pytest.mark.parametrize("key", ["run.googleapis.com/a", "serving.knative.dev/a", "cloud.googleapis.com/a"])
def test_namespaces_of_the_system_are_refused(google: Emulated, key: str) -> None:
    """`labels` and `annotations` in the reference of Service: "they will be rejected"."""
    for where in ("labels", "annotations"):
        with pytest.raises(BadRequest, match=where):
            created(google, **{where: {key: "1"}})


@pytest.mark.parametrize("labels", [{"-a": "1"}, {"a": "b c"}, {"a": "x" * 64}, {f"k{n}": "1" for n in range(65)}])
def test_labels_follow_the_rules(google: Emulated, labels: dict[str, str]) -> None:
    """https://cloud.google.com/run/docs/configuring/services/labels"""
    with pytest.raises(BadRequest, match="label"):
        created(google, labels=labels)


@pytest.mark.parametrize(
    "access",
    [
        run_v2.VpcAccess(egress=run_v2.VpcAccess.VpcEgress.ALL_TRAFFIC),
        run_v2.VpcAccess(network_interfaces=[{"network": "a"}, {"network": "b"}]),
        run_v2.VpcAccess(network_interfaces=[{"tags": ["a"]}]),
    ],
    ids=["neither", "two", "empty"],
)
def test_a_way_into_the_network_follows_the_rules(google: Emulated, access: run_v2.VpcAccess) -> None:
    """hashicorp/terraform-provider-google#15568 and the reference of NetworkInterface."""
    refused(google, template(vpc_access=access), r"service\.template\.vpc_access\.(connector|network_interfaces)")


@pytest.mark.parametrize(
    "more",
    [
        {"volumes": [run_v2.Volume(name="v")]},
        {"volumes": [{"name": "v", "empty_dir": {}}, {"name": "v", "empty_dir": {}}]},
        {"containers": [container(volume_mounts=[run_v2.VolumeMount(name="none", mount_path="/v")])]},
        {
            "volumes": [{"name": "v", "empty_dir": {}}],
            "containers": [container(volume_mounts=[run_v2.VolumeMount(name="v", mount_path="v")])],
        },
    ],
    ids=["no source", "twice", "no such volume", "relative"],
)
def test_volumes_follow_the_rules(google: Emulated, more: dict[str, Any]) -> None:
    refused(google, template(**more), "volume")


def test_all_faults_are_told_together(google: Emulated) -> None:
    bad = container(env=[run_v2.EnvVar(name="PORT", value="1")], resources=limits("1", "8Gi"))
    error = refused(google, run_v2.RevisionTemplate(containers=[bad]), "reserved env names")
    assert "Invalid value specified for container memory" in error.message


def test_the_maximum_of_instances_is_what_the_quota_allows(google: Emulated) -> None:
    """Sources: googlecodelabs/feedback#1856 (20 CPUs); GoogleCloudPlatform/magic-modules#18394, #18526 (both)."""
    service = made(google)
    assert (service.template.scaling.max_instance_count, service.scaling.max_instance_count) == (20, 20)
    service.template.containers[0].resources.limits = {"cpu": "2", "memory": "8Gi"}
    service.template.scaling = run_v2.RevisionScaling()
    after = updated(google, service, update_mask={"paths": ["template"]})
    assert after.template.scaling.max_instance_count == 5
    words = r"Max instances must be set to 20 or fewer in order to set the requested total CPU\."
    refused(google, template(scaling=run_v2.RevisionScaling(max_instance_count=21)), words)


def test_a_named_revision_beside_a_change_of_the_services_scaling(google: Emulated) -> None:
    """Source: googleapis/google-cloud-python#14259: read, scaled, written back with a mask: 409."""
    service = made(google, template=template(revision="hello-one"))
    service.scaling.min_instance_count = 1
    with pytest.raises(Conflict, match="Revision named 'hello-one' with different configuration already exists"):
        updated(google, service, update_mask={"paths": ["scaling.min_instance_count"]})
    service.template.revision = ""
    after = updated(google, service, update_mask={"paths": ["scaling.min_instance_count", "template.revision"]})
    assert after.scaling.min_instance_count == 1
