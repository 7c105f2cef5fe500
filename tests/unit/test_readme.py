"""The READMEs are the manual, so what they say is held against the code."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from cyclopts import App

from blocks import backups, clients, verification
from blocks.agent.spec import Condition, ServiceState
from blocks.automations import automations
from blocks.database_spec import CERTIFICATE
from blocks.host.home import Home
from blocks.server_objects import declared_deployments
from blocks.spec import Alerts, StackSpec, read_spec
from flows.cli.main import app
from tests.emulator.control import PATHS
from tests.spec_table import Key, keys

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("flows", "blocks", "tests", "nginx")
PAGES = {path: (ROOT / path).read_text("utf-8") for path in ("README.md", *(f"{name}/README.md" for name in FOLDERS))}
FRONT, FLOWS, BLOCKS, TESTS = "README.md", "flows/README.md", "blocks/README.md", "tests/README.md"
COMMANDS = [
    "bootstrap",
    "plan",
    "status",
    "backup",
    "expire",
    "start",
    "stop",
    "destroy",
    "connect",
    "logs",
    "open",
    "permissions",
    "restore",
    "upgrade",
    "workers",
    "rotate",
    "lease",
]


def fenced(page: str, language: str) -> list[str]:
    """Contents of a page's code blocks in one language; empty for those without one."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.M | re.S)


def calls() -> list[str]:
    """Every call of `selfhost` in a block of console lines, as it is typed after `uv run`."""
    lines = [line for page in PAGES for block in fenced(page, "console") for line in block.splitlines()]
    return [line.removeprefix("uv run ") for line in lines if line.removeprefix("uv run ").startswith("selfhost ")]


def chapter(page: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGES[page], re.M | re.S)
    assert found, f"{page} has no chapter {title}"
    return found[1]


def anchors(page: str) -> set[str]:
    """What a link may name in a page: each heading in small letters, hyphens for spaces, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", PAGES[page], re.M)
    return {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_says_both_commands_as_they_are() -> None:
    plain = "".join(fenced(FRONT, "")).splitlines()
    assert "pip install uv && uv run selfhost bootstrap" in plain
    assert "pip install uv && uv run pytest" in plain


def test_the_first_page_is_short() -> None:
    assert len(PAGES[FRONT].encode()) <= 12 * 1024


def test_the_first_page_has_a_line_for_every_command() -> None:
    rows = re.findall(r"^\| `selfhost (\w+)` \|", chapter(FRONT, "Commands"), re.M)
    assert sorted(rows) == sorted(COMMANDS)


def test_the_first_page_leads_to_all_others() -> None:
    links = set(re.findall(r"\]\(([^)#]+)\)", PAGES[FRONT]))
    assert links == set(PAGES) - {FRONT}


@pytest.mark.parametrize("call", calls())
def test_command_line_understands(call: str) -> None:
    command, bound, *_ = app.parse_args(shlex.split(call, comments=True)[1:], exit_on_error=False, print_error=False)
    assert callable(command)
    assert bound.arguments or call.count(" ") == 1


def test_examples_show_some_of_the_commands() -> None:
    assert len(calls()) >= 6


@pytest.mark.parametrize("name", COMMANDS)
def test_explains_every_option_of(name: str) -> None:
    text = chapter(FLOWS, "Commands")
    assert f"| `selfhost {name}` |" in text
    missing = [option for option in options(app[name]) if f"`{option}" not in text]
    assert not missing


POSITIONAL = {"--service", "--backup", "--what", "--worker", "--concurrency"}
"""Names of arguments which are given by place."""


def options(command: App) -> list[str]:
    """Options of a command, or of all commands below it, as they are typed, long and short; no hidden ones."""
    if command.default_command is None:
        return [name for each in command if not each.startswith("-") for name in options(command[each])]
    shown = [each for each in command.assemble_argument_collection() if each.parameter.show is not False]
    names = [name for argument in shown for name in argument.names]
    return [name for name in names if name.startswith("-") and name not in POSITIONAL]


def test_no_command_is_left_out() -> None:
    assert sorted(name for name in app if not name.startswith("-") and app[name].show) == sorted(COMMANDS)


@pytest.mark.parametrize("key", keys(), ids=lambda key: key.name)
def test_explains_key(key: Key) -> None:
    beginning = key.row().removesuffix(" |") + " "
    row = next((line for line in chapter(BLOCKS, "Spec").splitlines() if line.startswith(f"| `{key.name}` |")), "")
    assert row.startswith(beginning.rstrip() + " "), f"the table in {BLOCKS} wants a row that starts: {beginning}"
    assert row.removeprefix(beginning).strip(" |"), f"the row of {key.name} gives no reason"


def test_explains_no_key_that_is_not_there() -> None:
    explained = re.findall(r"^\| `([a-z_.\[\]]+)` \|", chapter(BLOCKS, "Spec"), re.M)
    assert explained == [key.name for key in keys()]


def test_spec_example_loads_whole(tmp_path: Path) -> None:
    (example,) = fenced(BLOCKS, "toml")
    path = tmp_path / "stack.toml"
    path.write_text(example, "utf-8")
    spec = read_spec(path)
    assert [worker.pool for worker in spec.workers] == ["maintenance", "reports"]
    shown = {re.sub(r".*[\[.]", "", key.name).rstrip("]") for key in keys()}
    assert not [name for name in shown if not re.search(rf"\b{name}\b", example)], "the example is said to be full"


def test_spec_example_loads_with_its_own_postgresql_too(tmp_path: Path) -> None:
    (example,) = fenced(BLOCKS, "toml")
    path = tmp_path / "stack.toml"
    authority = tmp_path / "authority.pem"
    authority.write_text(f"{CERTIFICATE}\n")
    theirs = re.sub(r"^# (\[database\]|url = |password_file = |ssl)", r"\1", example, flags=re.M)
    path.write_text(re.sub(r'"\S+/database-authority.pem"', f'"{authority}"', theirs), "utf-8")
    assert read_spec(path).database.sslmode == "verify-full"
    assert read_spec(path).database.url == "postgresql://prefect@db.example.org:5432/prefect"


def test_spec_example_loads_for_google_cloud_too(tmp_path: Path) -> None:
    (example,) = fenced(BLOCKS, "toml")
    path = tmp_path / "stack.toml"
    section = re.search(r"^# \[gcp\]\n(#.*\n)*", example, re.M)
    assert section
    path.write_text('target = "gcp"\n' + re.sub(r"^# ?", "", section[0], flags=re.M), "utf-8")
    assert read_spec(path).gcp.proxy.memory == "512Mi"


def test_status_example_has_the_stable_keys() -> None:
    (example,) = fenced(FLOWS, "json")
    status = json.loads(example)
    assert list(status) == [
        "name",
        "target",
        "url",
        "api_url",
        "auth_string_file",
        "prefect_version",
        "healthy",
        "generation",
        "observed_generation",
        "services",
        "conditions",
    ]
    assert list(status["services"][0]) == ["name", "state", "version"]
    assert list(status["conditions"][0]) == ["type", "status", "reason", "message"]
    assert set(status["conditions"][0]) < {each.name for each in fields(Condition)}


def test_names_every_condition() -> None:
    kinds = re.findall(r'kind = f?"(\w+)', inspect.getsource(verification))
    kinds += re.findall(r'Condition\("(\w+)', inspect.getsource(backups) + inspect.getsource(clients))
    assert len(kinds) >= 8
    assert not [kind for kind in kinds if f"`{kind}" not in chapter(FLOWS, "Commands")]


def test_says_which_prefects_may_call() -> None:
    wanted = clients.requirement(StackSpec().prefect_version)
    assert f"pip install '{wanted}'" in chapter(FLOWS, "From another laptop, or CI")


def test_names_every_state_of_a_service() -> None:
    assert not [state for state in get_args(ServiceState) if f"`{state}`" not in chapter(FLOWS, "Commands")]


def test_names_every_path_of_the_home() -> None:
    home = Home(Path("/home"))
    paths = {name: value for name, value in vars(Home).items() if isinstance(value, property)}
    named = {path.name for name in paths if isinstance(path := getattr(home, name), Path)}
    text = chapter(BLOCKS, "What is put where")
    assert not {name for name in named if f"`{name}" not in text}


def test_names_every_scheduled_deployment() -> None:
    text = chapter(FLOWS, "What runs on which schedule")
    for entry in declared_deployments():
        assert f"{entry['entrypoint'].rpartition('.')[2]}/{entry['name']}`" in text
        assert not [each["cron"] for each in entry.get("schedules", []) if f"`{each['cron']}`" not in text]


def test_names_every_automation() -> None:
    assert not [
        name for name in automations(Alerts()) if f'"{name}"' not in chapter(FLOWS, "What runs on which schedule")
    ]


def test_every_path_of_the_map_exists() -> None:
    (tree,) = fenced(BLOCKS, "text")
    paths = [line.split()[0] for line in tree.splitlines()]
    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_drawing_of_imports_is_what_the_linter_holds() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    held = [{each.strip().removeprefix("blocks.") for each in layer.split("|")} for layer in contracts[0]["layers"]]
    (drawing,) = fenced(BLOCKS, "layers")
    drawn = [{name for line in part.splitlines() for name in line.split("│")[0].split()} for part in drawing.split("▼")]
    assert drawn == held
    modules = {
        path.stem for path in (ROOT / "blocks").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert modules - {"__init__"} == set.union(*drawn) - {"flows"}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]*)\)", PAGES[page]) if "://" not in link]
    assert not [link for link in links if not leads_somewhere(page, link)]


def leads_somewhere(page: str, link: str) -> bool:
    """Whether the file is there and, where a heading is named, is a page that has it."""
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    if not anchor:
        return target.exists()
    named = target.resolve().relative_to(ROOT).as_posix()
    return named in PAGES and anchor in anchors(named)


@pytest.mark.parametrize("page", PAGES)
def test_files_it_names_are_there(page: str) -> None:
    named = re.findall(r"`((?:flows|blocks|tests|nginx|\.ci)/[\w./]+)`", PAGES[page])
    assert not [path for path in named if not (ROOT / path).exists()]


def test_installed_command_is_the_one_explained() -> None:
    assert app.name == ("selfhost",)


def test_names_the_paths_of_the_emulator() -> None:
    rows = re.findall(r"^\| `(GET|POST) (/_emulator/[^|]+) \|", chapter(TESTS, "Google Cloud without an account"), re.M)
    named = {(verb, path) for verb, row in rows for path in re.findall(r"/(?:_emulator/)?([a-z]+)`", f"{row}`")}
    assert named and not named - set(PATHS)
