"""The core knows no service: a kind is added without a change to it. Only the control paths name a few."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import tests.emulator

CORE = sorted(Path(str(tests.emulator.__file__)).parent.glob("*.py"))


def imported(module: Path) -> set[str]:
    """What a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
    return found


@pytest.mark.parametrize("module", [each for each in CORE if each.stem != "control"], ids=lambda each: each.stem)
def test_a_core_module_imports_no_service(module: Path) -> None:
    assert [each for each in imported(module) if each.startswith("tests.emulator.services.")] == []


def test_the_map_names_every_core_module() -> None:
    told = str(tests.emulator.__doc__)
    assert [each.stem for each in CORE if each.stem != "__init__" and each.stem not in told] == []
