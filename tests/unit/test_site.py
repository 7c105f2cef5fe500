"""What follows from a spec for the machine it is put on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from blocks import site
from blocks.site import Site
from blocks.spec import build_spec, read_spec

DATABASE = {"url": "postgresql://u@h:1/d", "password_file": "/p"}


def test_a_stack_has_a_home_of_its_own_name_where_its_spec_says_none() -> None:
    assert site.here(read_spec(None, {"name": "trial"})) == Site(site.default_home("trial"), os.geteuid() == 0)
    assert site.here(read_spec(None, {"local.home": "/srv/prefect"})).home == Path("/srv/prefect")
    assert site.default_home("trial").name == "trial"


def test_the_store_lies_in_the_home_unless_the_spec_says_where() -> None:
    where = Site(Path("/srv/prefect"), has_users=False)
    assert site.store(read_spec(None), where) == Path("/srv/prefect/store")
    assert site.store(read_spec(None, {"local.store": "/backups"}), where) == Path("/backups")


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:4200"),
        ("0.0.0.0", "http://127.0.0.1:4200"),
        ("192.0.2.7", "http://192.0.2.7:4200"),
    ],
)
def test_without_a_public_url_it_is_where_it_listens(listen: str, url: str) -> None:
    assert site.url(build_spec({"local": {"listen": listen}}, "test")) == url
    assert site.url(build_spec({"local": {"listen": listen}, "public_url": "https://x"}, "test")) == "https://x"


def test_every_port_that_is_ours_is_named_and_nobody_elses_database() -> None:
    ports = {"front door": ("0.0.0.0", 4200), "server": ("127.0.0.1", 4201), "database": ("127.0.0.1", 4202)}
    assert site.listening(build_spec({"local": {"listen": "0.0.0.0"}}, "test")) == ports
    assert site.listening(build_spec({"database": DATABASE}, "test")).keys() == {"front door", "server"}


def test_each_part_has_a_user_of_its_own_where_root_runs_the_stack() -> None:
    spec, home = read_spec(None), Path("/srv/prefect")
    users = ("selfhost-prefect", *(f"selfhost-prefect-{each}" for each in ("server", "nginx", "w-default")))
    assert site.all_users(spec, Site(home, has_users=True)) == users
    assert site.service_users(spec, Site(home, has_users=True)).keys() == {"server", "nginx", "worker-default"}
    assert site.all_users(spec, Site(home, has_users=False)) == ()
