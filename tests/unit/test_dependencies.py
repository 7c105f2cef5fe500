"""What our code imports is what we declare, and every part of it has a place in the order of imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

from blocks.spec import CEILING, FLOOR

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it, without extras, bounds and markers."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", name)[0]).lower()


def imported(path: Path) -> set[str]:
    """Top-level packages which a module imports, those inside functions and for the type checker included."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name.partition(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def third_party() -> set[str]:
    ours = [path for folder in ("flows", "blocks") for path in (ROOT / folder).rglob("*.py")]
    assert ours
    return set().union(*map(imported, ours)) - set(sys.stdlib_module_names) - {"flows", "blocks"}


def test_every_imported_package_is_declared() -> None:
    """One that only comes with another package goes when that one drops it."""
    declared = {normal(each) for each in PYPROJECT["project"]["dependencies"]}
    providers = packages_distributions()
    names = third_party()
    assert {"prefect", "yaml", "uvicorn"} <= names
    assert not {name for name in names if not declared & {normal(each) for each in providers.get(name, [name])}}, (
        "imported by flows/ or blocks/, and not among the dependencies in pyproject.toml"
    )


def test_no_dependency_is_declared_twice() -> None:
    runtime = [normal(each) for each in PYPROJECT["project"]["dependencies"]]
    everything = runtime + [normal(each) for each in PYPROJECT["dependency-groups"]["dev"]]
    assert sorted(everything) == sorted(set(everything))


def test_the_versions_a_spec_may_ask_for_are_those_we_can_be_installed_with() -> None:
    (bounds,) = [each for each in PYPROJECT["project"]["dependencies"] if normal(each) == "prefect"]
    below = ".".join(map(str, CEILING)).removesuffix(".0")
    assert bounds == f"prefect>={'.'.join(map(str, FLOOR))},<{below}"


def test_every_part_has_its_layer() -> None:
    """import-linter says nothing of a module that is in no layer."""
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    placed = {name.strip() for layer in layers for name in layer.split("|")}
    parts = [*(ROOT / "blocks").glob("*.py"), *(path.parent for path in (ROOT / "blocks").glob("*/__init__.py"))]
    names = {f"blocks.{path.stem}" for path in parts if path.stem != "__init__"}
    assert names
    assert names <= placed
