"""`host_spec` is pure: what a host should run follows from the spec alone, and the host agent accepts it."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path

import pytest

from blocks.agent.config import AgentConfig
from blocks.agent.service_manager import stop_levels
from blocks.agent.spec import File, HostSpec, from_json, to_json
from blocks.agent.systemd import units
from blocks.agent.validation import faults, read_spec
from blocks.host.home import Home
from blocks.local.proxy import LocalProxy
from blocks.resource import in_order
from blocks.spec import build_spec
from blocks.stack import Stack, StackBlock, host_spec
from tests.unit.composed import SECRETS, rendered, service, stack_of, stack_with_secrets


@pytest.fixture
def stack(home: Home) -> Stack:
    return stack_with_secrets(home)


@pytest.fixture
def spec(stack: Stack) -> HostSpec:
    return host_spec(stack, generation=7)


def test_host_agent_accepts_it(spec: HostSpec) -> None:
    assert list(faults(spec)) == []
    assert read_spec(to_json(spec)) == spec
    assert (spec.stack, spec.generation) == ("prefect", 7)


def test_the_same_stack_gives_the_same_text(stack: Stack) -> None:
    assert to_json(host_spec(stack, 1)) == to_json(host_spec(stack, 1))


def test_no_secret_is_in_it(stack: Stack, spec: HostSpec) -> None:
    shipped = to_json(spec) + stack.block().model_dump_json()
    assert not [value for value in SECRETS.values() if value.split(":")[-1] in shipped]


def test_every_secret_it_refers_to_is_one_the_stack_makes(stack: Stack, spec: HostSpec) -> None:
    in_files = {name for file in spec.files for name in re.findall(r"\$\{secret:([^}]+)\}", file.content)}
    in_services = {name for each in spec.services for name in each.secrets.values()}
    assert in_files == {"auth-string@1", "auth-grace@1", "database-login@1"}
    assert in_services == {"encryption-key@1"}
    assert {each.partition("@")[0] for each in in_files | in_services} <= set(stack.secret_makers())


def test_files_with_secrets_are_closed_to_others(spec: HostSpec) -> None:
    open_ones = [each.path for each in spec.files if "${secret:" in each.content and each.mode & 0o077]
    assert open_ones == []


def test_every_file_is_read_by_a_service_and_lies_in_the_home(stack: Stack, spec: HostSpec) -> None:
    read = {path for each in spec.services for path in each.files}
    looked_at = str(stack.host.home.etc / "server-blue/auth-grace.json")
    assert read | {looked_at} == {each.path for each in spec.files}
    assert looked_at not in read, "a change of it would restart the server, which looks at it as it runs"
    assert Path(looked_at).parent == Path(service(spec, "server-blue").cwd), "that is where the server looks for it"
    home = stack.host.home
    assert all(Path(path).is_relative_to(home.etc) or Path(path).is_relative_to(home.state) for path in read)


def test_each_worker_has_a_folder_of_its_own_for_temporary_files(stack: Stack, spec: HostSpec) -> None:
    """In /tmp a runner's folder is that of the first user who ran a worker: those of others could not start."""
    folders = [each.env["TMPDIR"] for each in spec.services if each.name.startswith("worker-")]
    assert len(set(folders)) == len(stack.spec.workers)
    assert {each.path for each in spec.folders} >= set(folders), "nobody makes it"


def test_services_come_in_the_order_they_depend_on_each_other(spec: HostSpec) -> None:
    names = [each.name for each in spec.services]
    assert names == ["postgres", "server-blue", "nginx", "worker-maintenance", "worker-default"]


def test_a_service_is_stopped_before_what_it_works_with(spec: HostSpec) -> None:
    definitions = {each.name: {"stop_level": each.stop_level} for each in spec.services}
    workers = ["worker-maintenance", "worker-default"]
    assert stop_levels(definitions) == [workers, ["server-blue"], ["nginx"], ["postgres"]]


def test_held_socket_is_the_server_port_on_loopback(stack: Stack, spec: HostSpec) -> None:
    (socket,) = spec.sockets
    assert (socket.name, socket.host, socket.port) == ("server", "127.0.0.1", 4201)
    assert socket.backlog >= 1024


def test_the_server_believes_its_own_front_door_and_is_started_as_before_where_that_is_beside_it(
    stack: Stack, spec: HostSpec
) -> None:
    class Elsewhere(LocalProxy):
        def trusted(self) -> str:
            return "10.60.1.0/26"

    assert isinstance(stack.proxy, LocalProxy)
    proxy = Elsewhere(**{each.name: getattr(stack.proxy, each.name) for each in dataclasses.fields(LocalProxy)})
    before, after = service(spec, "server-blue").argv, host_spec(dataclasses.replace(stack, proxy=proxy), 1)
    assert service(after, "server-blue").argv == (*before, "--forwarded-allow-ips", "10.60.1.0/26")


def test_server_reads_its_settings_and_the_key_from_its_environment_alone(spec: HostSpec) -> None:
    server = service(spec, "server-blue")
    toml = rendered(spec, "etc/server-blue/prefect.toml")
    assert server.cwd == str(Path(server.files[0]).parent)  # only the working folder's prefect.toml is read
    assert toml["server"]["api"]["auth_string"] == "${secret:auth-string@1}"
    assert toml["server"]["ui"]["api_url"] == "http://127.0.0.1:4200/api"
    assert toml["server"]["database"]["connection_url"].startswith("postgresql+asyncpg://${secret:database-login@1}@")
    assert server.secrets == {"PREFECT_SERVER_ENCRYPTION_KEY": "encryption-key@1"}
    assert server.env["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"


@pytest.mark.parametrize("public_url", [None, "https://prefect.example.org", "http://prefect:8080/"])
def test_links_of_server_and_workers_lead_to_the_public_url(home: Home, public_url: str | None) -> None:
    spec = host_spec(stack_of(home, public_url=public_url), 1)
    wanted = (public_url or "http://127.0.0.1:4200").rstrip("/")
    assert rendered(spec, "etc/server-blue/prefect.toml")["ui_url"] == wanted
    assert rendered(spec, "etc/server-blue/prefect.toml")["server"]["ui"]["api_url"] == f"{wanted}/api"
    assert rendered(spec, "etc/worker-default/prefect.toml")["ui_url"] == wanted


def test_workers_talk_to_the_port_directly_and_are_replaced_when_idle(spec: HostSpec) -> None:
    assert rendered(spec, "etc/worker-default/prefect.toml")["api"]["url"] == "http://127.0.0.1:4201/api"
    worker = service(spec, "worker-default")
    assert worker.restart == "when-idle"
    program = ("-m", "blocks.worker_start", "--type", "process")
    assert worker.argv[1:] == (*program, "--name", "default", "--pool", "default"), "a limit would never be free again"
    assert "SELFHOST_HOME" not in worker.env


def test_the_maintenance_worker_is_a_program_of_ours_that_knows_its_home(home: Home, spec: HostSpec) -> None:
    """What its flows do is found in the home, never in what the server says."""
    worker = service(spec, "worker-maintenance")
    assert worker.argv[1:] == (
        "-P",
        "-m",
        "blocks.maintenance_worker",
        *("--name", "maintenance"),
        *("--pool", "maintenance"),
    )
    assert worker.env["SELFHOST_HOME"] == str(home.root)


def test_spec_reaches_the_services(home: Home) -> None:
    workers = [
        {"name": "maintenance", "pool": "maintenance"},
        {"name": "reports", "pool": "heavy", "concurrency": 3, "packages": ["pandas"], "env": {"TZ": "Asia/Tokyo"}},
    ]
    server = {"log_level": "DEBUG", "retention_days": 30, "event_retention_days": 2, "vacuum": ["flow_runs"]}
    spec = host_spec(stack_of(home, workers=workers, server=server, ports={"public": 9000}), 1)
    assert (
        service(spec, "server-blue").env
        | {
            "PREFECT_SERVER_LOGGING_LEVEL": "DEBUG",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P30D",
            "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P2D",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "flow_runs",
        }
        == service(spec, "server-blue").env
    )
    worker = service(spec, "worker-reports")
    assert worker.argv[0].endswith("/releases/reports-0123456789ab/bin/python")
    assert worker.argv[worker.argv.index("--pool") :][:2] == ("--pool", "heavy")
    assert worker.env["TZ"] == "Asia/Tokyo"
    assert spec.sockets[0].port == 9001
    assert sorted(each.id.split("-")[0] for each in spec.releases) == ["3.8.8", "reports", "tools"]


def test_git_in_a_workers_runs_asks_our_helper_and_no_other(home: Home) -> None:
    """Another helper might store what it is told of on the disk."""
    workers = [{"name": "maintenance", "pool": "maintenance", "git_credentials": "secret/git@git.example.org:8443"}]
    env = service(host_spec(stack_of(home, workers=workers), 1), "worker-maintenance").env
    assert (env["GIT_CONFIG_KEY_0"], env["GIT_CONFIG_VALUE_0"]) == ("credential.helper", "")
    python = home.releases / "3.8.8-0123456789ab/bin/python"
    assert env["GIT_CONFIG_VALUE_1"] == f"!{python} -P -m blocks.git_credentials secret/git@git.example.org:8443"
    assert (env["GIT_CONFIG_COUNT"], env["GIT_TERMINAL_PROMPT"]) == ("2", "0")


def test_a_workers_environment_cannot_lead_it_to_another_stack(home: Home) -> None:
    env = {"SELFHOST_HOME": "/theirs", "PREFECT_HOME": "/theirs"}
    workers = [{"name": "maintenance", "pool": "maintenance", "env": env}]
    found = service(host_spec(stack_of(home, workers=workers), 1), "worker-maintenance").env
    assert found["SELFHOST_HOME"] == str(home.root)
    assert found["PREFECT_HOME"].startswith(str(home.root))


def test_somebody_elses_postgresql_is_no_service_of_ours(home: Home) -> None:
    database = {"url": "postgresql://me@db.example.org:5433/mine", "password_file": "/p"}
    stack = stack_of(home, database=database)
    spec = host_spec(stack, 1)
    assert next(each.name for each in spec.services) == "server-blue"
    url = rendered(spec, "etc/server-blue/prefect.toml")["server"]["database"]["connection_url"]
    assert url == "postgresql+asyncpg://${secret:database-login@1}@db.example.org:5433/mine"
    assert sorted(stack.secret_makers()) == ["auth-grace", "auth-string", "database-login", "encryption-key"]
    assert "database cluster" not in [each.name for each in stack.on_host()]


def by_tls(home: Home, mode: str, authority: str | None = None) -> HostSpec:
    database = {"url": "postgresql://me@db.example.org/mine", "password_file": "/p", "sslmode": mode}
    return host_spec(stack_of(home, database=database | ({"sslrootcert": authority} if authority else {})), 1)


@pytest.mark.parametrize(("mode", "looks_at_the_name"), [("verify-ca", False), ("verify-full", True)])
def test_the_server_is_told_whose_certificates_its_database_may_have(
    home: Home, mode: str, looks_at_the_name: bool
) -> None:
    spec = by_tls(home, mode, "-----BEGIN CERTIFICATE-----\none")
    settings = rendered(spec, "etc/server-blue/prefect.toml")["server"]["database"]
    told = settings["sqlalchemy"]["connect_args"]["tls"]
    (file,) = [each for each in spec.files if each.path.endswith(".pem")]
    assert told == {"enabled": True, "check_hostname": looks_at_the_name, "ca_file": file.path}
    assert file.content == "-----BEGIN CERTIFICATE-----\none"
    assert settings["connection_url"].endswith("@db.example.org/mine")
    # Another authority is another configuration, and so the server is started anew.
    another = by_tls(home, mode, "-----BEGIN CERTIFICATE-----\ntwo")
    assert rendered(another, "etc/server-blue/prefect.toml")["server"]["database"] != settings


def test_a_server_that_verifies_nothing_is_told_so_in_its_url(home: Home) -> None:
    settings = rendered(by_tls(home, "require"), "etc/server-blue/prefect.toml")["server"]["database"]
    assert settings["connection_url"].endswith("@db.example.org/mine?ssl=require") and "sqlalchemy" not in settings


def test_systemd_renders_every_unit_without_a_secret(stack: Stack, spec: HostSpec) -> None:
    config = AgentConfig(home=str(stack.host.home.root), manager="systemd", units="selfhost-main-")
    texts = [units.render_service(each, config, ["/usr/bin/python3", "/agent.pyz"]) for each in spec.services]
    texts += [units.render_socket(each, config) for each in spec.sockets]
    assert all("[Service]" in unit or "[Socket]" in unit for unit in texts)
    assert not [unit for unit in texts for value in SECRETS.values() if value.split(":")[-1] in unit]


def test_resources_have_an_order_and_come_without_looking_at_anything(stack: Stack) -> None:
    names = [each.name for each in in_order(stack.on_host())]
    place = {name: index for index, name in enumerate(names)}
    assert place["home"] < place["secret auth-string"] < place["host services"] < place["database"]
    assert place["database cluster"] < place["host services"]
    assert not stack.host.home.agent.exists()


def test_a_change_is_named_by_its_part(stack: Stack) -> None:
    from blocks.stack import _parts

    before = _parts(host_spec(stack, 1))
    changed = dataclasses.replace(
        stack,
        spec=build_spec(
            {
                **stack.spec.model_dump(mode="json"),
                "workers": [{"name": "maintenance", "pool": "maintenance", "env": {"TZ": "Asia/Tokyo"}}],
            },
            "test",
        ),
    )
    after = _parts(host_spec(changed, 2))
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    home = stack.host.home
    folders = {f"folder {home.state}/worker-default", f"folder {home.state}/worker-default/tmp"}
    file = f"file {home.etc}/worker-default/prefect.toml"
    assert differing == {"service worker-maintenance", "service worker-default", *folders, file, "parts"}


def test_the_block_shows_where_everything_lies_and_nothing_that_is_wanted(stack: Stack) -> None:
    """A copy of what is wanted would come back with a restored database."""
    home = stack.host.home
    assert {name: getattr(stack.block(), name) for name in StackBlock.model_fields} == {
        "ledger": str(home.store),
        "home": str(home.root),
        "front_door": "http://127.0.0.1:4200",
        "database": "postgresql://127.0.0.1:4202/prefect-db",
        "releases": str(home.releases),
    }
    assert StackBlock.get_block_type_slug() == "selfhost-stack"


def test_a_files_content_is_text_the_agent_can_ship(spec: HostSpec) -> None:
    assert all(from_json(File, to_json(each)) == each for each in spec.files)


def test_server_and_workers_write_to_folders_of_their_own(stack: Stack, spec: HostSpec) -> None:
    users = stack.machine.users()
    owners = {Path(each.path).name: each.user for each in spec.folders if Path(each.path).name != "tmp"}
    expected = {"server": users.get("server", ""), "worker-default": users.get("worker-default", "")}
    assert owners == {**expected, "worker-maintenance": ""}
    assert {each.mode for each in spec.folders} == {0o700}
    for name, user in (("server-blue", expected["server"]), ("worker-default", expected["worker-default"])):
        files = [each for each in spec.files if each.path in service(spec, name).files]
        assert {service(spec, name).user, *(each.user for each in files)} == {user}
    assert (os.geteuid() == 0) == bool(users), "as root none of them is root; else all are one"
