from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blocks.errors import Blocked, WrongCall
from blocks.spec import StackSpec, build_spec, read_spec
from tests.spec_table import keys

MAINTENANCE = {"name": "maintenance", "pool": "maintenance"}
THEIRS: dict[str, object] = {"url": "postgresql://u@h:1/d", "password_file": "/p"}
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"


def refused(data: dict[str, Any]) -> str:
    with pytest.raises(WrongCall) as caught:
        build_spec(data, "stack.toml")
    assert caught.value.hint
    return caught.value.what


def ports_of(spec: StackSpec) -> tuple[int, int, int]:
    ports = spec.local.ports
    return ports.public, ports.of_server, ports.of_database


def test_defaults_are_a_whole_stack() -> None:
    spec = read_spec(None)
    assert (spec.name, spec.target, spec.local.listen) == ("prefect", "local", "127.0.0.1")
    assert ports_of(spec) == (4200, 4201, 4202)
    assert [(worker.name, worker.pool) for worker in spec.workers] == [
        ("maintenance", "maintenance"),
        ("default", "default"),
    ]


def test_options_lie_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "stack.toml"
    path.write_text('name = "from-file"\n[local.ports]\npublic = 5000\ndatabase = 6000\n')
    spec = read_spec(path, {"name": "from-option", "local.ports.public": 5100, "local.home": None})
    assert spec.name == "from-option"
    assert ports_of(spec) == (5100, 5101, 6000)


def test_option_makes_the_table_it_lies_in() -> None:
    assert ports_of(read_spec(None, {"local.ports.public": 4300})) == (4300, 4301, 4302)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"colour": "red"}, "stack.toml: colour: unknown key"),
        ({"ports": {"publik": 1}}, "local.ports.publik: unknown key"),
        ({"local": {"publik": 1}}, "local.publik: unknown key"),
        ({"local": 5}, "local: Input should be a valid dictionary"),
        ({"local": 5, "home": "/x"}, "local: Input should be a valid dictionary"),
        ({"local": {"home": "/x"}, "home": "/x"}, "home is given twice: at the top, where it was once, and in [local]"),
        ({"local": {"store": "backups"}}, "local.store: 'backups' is not an absolute path"),
        ({"local": {"home": "/x", "store": "/x/store"}}, "store /x/store lies in the home /x"),
        ({"store": "/x"}, "store: unknown key"),
        ({"workers": [MAINTENANCE, {"name": "x", "pool": "x", "queue": "y"}]}, "workers.1.queue: unknown key"),
        ({"ports": {"public": "4200"}}, "ports.public: Input should be a valid integer (given: '4200')"),
        ({"ports": {"public": True}}, "ports.public: Input should be a valid integer"),
        ({"ports": {"public": 0}}, "ports.public: Input should be greater than or equal to 1 (given: 0)"),
        ({"ports": {"public": 65534}}, "ports: public, server and database must differ and fit"),
        ({"ports": {"public": 4200, "server": 4200}}, "ports: public, server and database must differ"),
        ({"name": "Upper"}, "name: String should match pattern"),
        ({"name": "ends-"}, "name: String should match pattern"),
        ({"name": "n" * 33}, "name: String should match pattern"),
        ({"target": "moon"}, "target: Input should be 'local' or 'gcp' (given: 'moon')"),
        ({"home": "relative/path"}, "home: 'relative/path' is not an absolute path"),
        ({"prefect_version": "3.8.2"}, "prefect_version: 3.8.2 is below 3.8.3: behind an auth string"),
        ({"prefect_version": "2.20.1"}, "task runs are silently never stored"),
        ({"prefect_version": "3.9.0"}, "prefect_version: 3.9.0 is not known to work"),
        ({"prefect_version": "latest"}, "prefect_version: 'latest' is not a release such as 3.8.8"),
        ({"server": {"log_level": "info"}}, "server.log_level: Input should be 'DEBUG'"),
        ({"server": {"vacuum": ["everything"]}}, "server.vacuum.0: Input should be 'events'"),
        ({"workers": []}, "one must serve the pool 'maintenance'"),
        ({"workers": [{"name": "a", "pool": "a"}]}, "one must serve the pool 'maintenance'"),
        ({"workers": [MAINTENANCE, MAINTENANCE]}, "workers: two share a name"),
        ({"workers": [{"pool": "maintenance"}]}, "workers.0.name: Field required"),
        ({"workers": [MAINTENANCE | {"concurrency": 0}]}, "workers.0.concurrency: Input should be greater"),
        ({"workers": [MAINTENANCE | {"env": {"A": 1}}]}, "workers.0.env.A: Input should be a valid string"),
        ({"database": {"url": "postgresql://u@h:1/d"}}, "database: url and password_file go together"),
        (
            {"database": {"url": "postgresql://u@h:1/d", "password_file": "p"}},
            "database.password_file: 'p' is not an absolute path",
        ),
        ({"database": {"sslmode": "require"}}, "database: sslmode is for a url"),
        ({"database": THEIRS | {"sslmode": "prefer"}}, "database.sslmode: Input should be 'require'"),
        (
            {"database": THEIRS | {"sslmode": "verify-ca"}},
            "goes with sslrootcert: else any certificate at all would do",
        ),
        ({"database": THEIRS | {"sslmode": "require", "sslrootcert": PEM}}, "sslrootcert is looked at with sslmode"),
        ({"database": THEIRS | {"sslrootcert": PEM}}, "sslrootcert is looked at with sslmode"),
        (
            {"database": THEIRS | {"sslmode": "verify-ca", "sslrootcert": "ca.pem"}},
            "sslrootcert must be the absolute path of a file with certificates in PEM form",
        ),
        ({"listen": "localhost"}, "listen: 'localhost' is not an IPv4 address such as 127.0.0.1 or 0.0.0.0"),
        ({"listen": "::1"}, "listen: '::1' is not an IPv4 address"),
        ({"listen": "10.0.0.1/8"}, "listen: '10.0.0.1/8' is not an IPv4 address"),
        ({"listen": "10.0.0.1; deny all"}, "is not an IPv4 address"),
        ({"listen": ""}, "listen: '' is not an IPv4 address"),
        (
            {"workers": [MAINTENANCE, {"name": "server", "pool": "x"}]},
            "workers.1.name: 'server' is the name of a release",
        ),
        (
            {"workers": [MAINTENANCE, {"name": "tools", "pool": "x"}]},
            "workers.1.name: 'tools' is the name of a release",
        ),
        ({"workers": [MAINTENANCE | {"concurrency": 1}]}, "must be 2 or more: the status flow runs there and waits"),
        (
            {"database": {"url": "postgresql://u:secret@h:1/d", "password_file": "/p"}},
            "database.url: it holds a password, which belongs into the file",
        ),
        ({"backup": {"keep": 0}}, "backup.keep: Input should be greater than or equal to 1"),
        ({"alerts": {"notification_block": "no-slash"}}, "alerts.notification_block: String should match pattern"),
    ],
)
def test_refuses(data: dict[str, Any], text: str) -> None:
    assert text in refused(data)


def test_takes_the_certificates_out_of_their_file(tmp_path: Path) -> None:
    authority, file = tmp_path / "ca.pem", tmp_path / "stack.toml"
    authority.write_text(f"Subject: an authority\n{PEM}")
    lines = [
        f'{key} = "{value}"' for key, value in (THEIRS | {"sslmode": "verify-ca", "sslrootcert": authority}).items()
    ]
    file.write_text("\n".join(["[database]", *lines]))
    found = read_spec(file)
    authority.unlink()
    assert found.database.sslrootcert == PEM
    assert build_spec(found.model_dump(mode="json"), "the saved spec") == found
    with pytest.raises(WrongCall, match=r"ca\.pem cannot be read: .*No such file"):
        read_spec(file)


def test_takes_certificates_of_nobody_else(tmp_path: Path) -> None:
    authority, file = tmp_path / "ca.pem", tmp_path / "stack.toml"
    authority.write_text(PEM)
    authority.chmod(0o666)
    file.write_text(f'[database]\nsslrootcert = "{authority}"\n')
    with pytest.raises(Blocked, match="others may write to"):
        read_spec(file)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://host/prefect", "has the path '/prefect': Prefect's UI works at the root of a host alone and is 404"),
        ("https://host/prefect/", "has the path '/prefect/'"),
        ("https://host//", "has the path '//'"),
        ("https://host/?a=b", "it has a query or a fragment"),
        ("https://host?", "it has a query or a fragment"),
        ("https://host/#runs", "it has a query or a fragment"),
        ("https://admin:open-sesame@host", "it holds a user name"),
        ("https://@host", "it holds a user name"),
        ("ftp://host", "it must begin with http:// or https://"),
        ("host:4200", "its host must be a name"),
        ("host", "its host must be a name"),
        ("https://", "its host must be a name"),
        ("https:///runs", "its host must be a name"),
        ("https://host:99999", "its port must be a number from 1 to 65535"),
        ("https://host:0", "its port must be a number"),
        ("https://host:", "its port must be a number"),
        ("https://host:many", "its port must be a number"),
        ("https://[::1", "it is no URL"),
        ("https://host; x", "it has blanks in it"),
        ("https://ho\nst", "it has blanks in it"),
        ("https://bücher.example", "it has blanks in it, or what is not ASCII"),
        ('https://host";x', "its host must be a name"),
    ],
)
def test_refuses_a_public_url_under_which_the_ui_does_not_work(url: str, why: str) -> None:
    said = refused({"public_url": url})
    assert "stack.toml: public_url: " in said and why in said
    assert "open-sesame" not in said


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://prefect.example.org", "https://prefect.example.org"),
        ("https://prefect.example.org/", "https://prefect.example.org"),
        ("HTTPS://Prefect.example.org:8443/", "https://prefect.example.org:8443"),
        ("http://192.0.2.7:1", "http://192.0.2.7:1"),
        ("http://[::1]:65535", "http://[::1]:65535"),
    ],
)
def test_takes_a_public_url_and_drops_its_slash(url: str, origin: str) -> None:
    spec = build_spec({"public_url": url}, "test")
    assert spec.public_url == origin


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("postgresql://u@h:99999/d", "its port must be a number from 1 to 65535"),
        ("postgresql://u@h:/d", "its port must be a number"),
        ("postgresql://u@/d", "its host must be a name"),
        ("postgresql://u@h/d?sslmode=require", "sslmode and sslrootcert are keys beside it"),
        ("postgresql://u@h/d?x=1", "it has a query or a fragment"),
        ("postgresql://u@h/d#x", "it has a query or a fragment"),
        ("postgresql://u@h/d d", "it has blanks in it"),
        ("postgresql://u@h", "is not of the form postgresql://user@host:port/database"),
        ("postgresql://u@h/a/b", "is not of the form"),
        ("postgresql://h/d", "is not of the form"),
        ("mysql://u@h/d", "is not of the form"),
        ("postgresql://u:@h/d", "it holds a password"),
        ("postgresql://u:open-sesame@h/d", "it holds a password"),
    ],
)
def test_refuses_a_database_that_cannot_be_reached_by_its_url(url: str, why: str) -> None:
    said = refused({"database": {"url": url, "password_file": "/p"}})
    assert "stack.toml: database.url: " in said and why in said
    assert "open-sesame" not in said


def test_refuses_credentials_for_a_port_that_there_is_not() -> None:
    worker = MAINTENANCE | {"git_credentials": "secret/git@git.example.org:99999"}
    assert "workers.0.git_credentials: its port must be a number from 1 to 65535" in refused({"workers": [worker]})


def test_refuses_all_faults_in_one_text() -> None:
    said = refused({"colour": "red", "name": "UP", "ports": {"public": "x"}})
    assert "colour: unknown key" in said
    assert "name: String should match" in said
    assert "ports.public: Input should be a valid integer" in said


def test_refusal_is_one_line() -> None:
    assert "\n" not in refused({"name": "UP"})


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"[a]\n[a]\n"])
def test_refuses_what_is_not_toml(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stack.toml"
    path.write_bytes(content)
    with pytest.raises(WrongCall, match="cannot be read as TOML"):
        read_spec(path)


def test_refuses_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match=r"no spec file at .*absent\.toml"):
        read_spec(tmp_path / "absent.toml")


def test_is_frozen() -> None:
    spec = read_spec(None)
    with pytest.raises(ValidationError, match="frozen"):
        spec.local.ports.public = 1  # type: ignore[misc]


def test_reads_files_and_saved_specs_from_before_there_were_sections(tmp_path: Path) -> None:
    """Stacks that were made before December 2026 have them, and so have the files of those who made them."""
    path = tmp_path / "stack.toml"
    path.write_text('home = "/srv/prefect"\nlisten = "0.0.0.0"\n[ports]\npublic = 5000\n')
    now = {"home": "/srv/prefect", "listen": "0.0.0.0", "ports": {"public": 5000}}
    assert read_spec(path) == build_spec({"local": now}, "now")
    assert ports_of(read_spec(path, {"local.ports.public": 5100})) == (5100, 5101, 5102)
    saved = {
        "name": "trial",
        "home": None,
        "listen": "127.0.0.1",
        "ports": {"public": 1, "server": None, "database": None},
    }
    assert build_spec(saved, "saved") == read_spec(None, {"name": "trial", "local.ports.public": 1})
    assert build_spec({**saved, "local": {"store": "/backups"}}, "saved").local.store == "/backups"


def test_two_workers_of_one_slot_each_serve_the_maintenance_pool() -> None:
    workers = [MAINTENANCE | {"name": name, "concurrency": 1} for name in ("one", "two")]
    assert [each.name for each in build_spec({"workers": workers}, "test").workers] == ["one", "two"]


@given(
    name=st.from_regex(r"\A[a-z]([a-z0-9-]{0,30}[a-z0-9])?\Z"),
    port=st.integers(1, 65533),
    days=st.integers(1, 10_000),
    env=st.dictionaries(st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]*\Z"), st.text()),
)
def test_survives_the_way_through_json(name: str, port: int, days: int, env: dict[str, str]) -> None:
    worker = {"name": "maintenance", "pool": "maintenance", "env": env}
    data = {"name": name, "ports": {"public": port}, "server": {"retention_days": days}, "workers": [worker]}
    spec = build_spec(data, "test")
    assert build_spec(spec.model_dump(mode="json"), "JSON") == spec


def test_every_key_is_explained() -> None:
    assert not [key.name for key in keys() if len(key.what) < 10]
