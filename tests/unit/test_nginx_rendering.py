"""What the local target renders for nginx, and that the image's Dockerfile and the template agree."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from blocks import nginx_files
from blocks.local import nginx

TEMPLATE = nginx.template_text()
DOCKERFILE = Path("nginx/Dockerfile")


def names_in(template: str) -> set[str]:
    return set(re.findall(r"\$\{?([A-Z_]+)\}?", template))


@pytest.fixture
def dockerfile(request: pytest.FixtureRequest) -> str:
    return (request.config.rootpath / DOCKERFILE).read_text(encoding="utf-8")


def test_every_name_of_the_template_has_a_default_and_no_default_is_unused() -> None:
    assert names_in(TEMPLATE) == set(nginx.defaults())


def test_rendering_leaves_no_name_of_ours_and_all_of_nginxs() -> None:
    rendered = nginx.render(TEMPLATE, nginx.variables("127.0.0.1", 4200, "127.0.0.1", 4201))
    assert not names_in(rendered)
    own = re.compile(r"\$\{?[a-z_]+")
    assert own.findall(rendered) == own.findall(TEMPLATE)
    assert "listen 127.0.0.1:4200 " in rendered
    assert "server 127.0.0.1:4201 " in rendered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${PORT}", "80"),
        ("$PORT;", "80;"),
        ("$PORTS ${PORTS}", "$PORTS ${PORTS}"),
        ("$host ${holds}. $1 $ $$PORT", "$host ${holds}. $1 $ $80"),
        ("${PORT", "${PORT"),
    ],
)
def test_render_replaces_what_envsubst_replaces(text: str, expected: str) -> None:
    assert nginx.render(text, {"PORT": "80", "unused": "x"}) == expected


@pytest.mark.skipif(shutil.which("envsubst") is None, reason="no envsubst (gettext) on this machine")
def test_the_images_entrypoint_renders_the_same() -> None:
    variables = nginx.defaults()
    names = " ".join(f"${{{name}}}" for name in variables)
    done = subprocess.run(
        ["envsubst", names],
        input=TEMPLATE,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    assert done.stdout == nginx.render(TEMPLATE, variables)


def test_the_image_lets_exactly_our_names_into_the_template(dockerfile: str) -> None:
    found = re.search(r"^ENV NGINX_ENVSUBST_FILTER=(\S+)$", dockerfile, re.MULTILINE)
    assert found is not None
    pattern = re.compile(found.group(1))
    assert all(pattern.search(name) for name in nginx.defaults())
    assert not any(pattern.search(name) for name in ("PATH", "HOST", "host", "scheme", "MY_PORT"))


def test_the_image_is_unversioned_and_listens_on_80(dockerfile: str) -> None:
    assert "FROM nginx:alpine\n" in dockerfile
    assert not re.search(r"\d+\.\d+", dockerfile.replace("0.0.0.0", "").replace("127.0.0.1", ""))
    assert nginx.defaults()["PORT"] == "80"


def test_no_path_of_the_template_ends_so_that_google_would_answer_it_itself() -> None:
    """On Cloud Run it answers public paths that end in z with a 404 of its own."""
    paths = re.findall(r"^    location =? ?(/\S*)", TEMPLATE, re.MULTILINE)
    assert "/startup" in paths and "/health" in paths
    assert not [each for each in paths if each.endswith("z")]


def test_dockerfile_env_reads_the_first_instruction_over_its_lines() -> None:
    text = "FROM x\nENV A=1 \\\n    B_C=2s\nENV D=3\n"
    assert nginx.dockerfile_env(text) == {"A": "1", "B_C": "2s"}


def test_dockerfile_env_refuses_a_file_without_defaults() -> None:
    with pytest.raises(ValueError, match="no ENV"):
        nginx.dockerfile_env("FROM x\n")


def load_copy(blocks: Path) -> ModuleType:
    """The module as it would be in an installation of its own."""
    source = blocks / "nginx_files.py"
    source.parent.mkdir(parents=True)
    shutil.copy(str(nginx_files.__file__), source)
    spec = importlib.util.spec_from_file_location("installed_nginx_files", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_installed_wheel_finds_its_own_copy(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    module = load_copy(tmp_path / "blocks")
    shutil.copytree(request.config.rootpath / "nginx", tmp_path / "blocks" / "assets" / "nginx")
    assert module.context() == nginx_files.context()


def test_a_damaged_installation_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="damaged"):
        load_copy(tmp_path / "blocks").context()


def test_main_conf_keeps_everything_inside_the_run_folder() -> None:
    conf = nginx.main_conf(Path("/run folder"), Path("/etc/site.conf"), "nobody nogroup", 2)
    assert conf.startswith("user nobody nogroup;\n")
    assert "worker_processes 2;" in conf
    assert 'include "/etc/site.conf";' in conf
    paths = re.findall(r'(?:_temp_path|pid) "([^"]+)"', conf)
    assert len(paths) == 6
    assert all(path.startswith("/run folder/") for path in paths)


def test_main_conf_names_no_user_when_unprivileged() -> None:
    assert "\nuser " not in "\n" + nginx.main_conf(Path("/r"), Path("/s"))
