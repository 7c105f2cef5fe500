"""`selfhost` called in this process: what a process of its own would print, and its exit status, in milliseconds.

For calls which are refused: one that changes a stack makes this process a client of that stack's server for good.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main as cli
from flows.cli import progress


def selfhost(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Call it without a terminal, in that folder, with no home named by the environment."""
    out, err, before = io.StringIO(), io.StringIO(), dict(os.environ)
    with pytest.MonkeyPatch.context() as patch, Path(os.devnull).open() as nothing:
        patch.chdir(folder)
        patch.setenv("HOME", str(folder))
        for name in [each for each in os.environ if each.startswith(("SELFHOST_", "PREFECT_"))]:
            patch.delenv(name)
        patch.setattr(sys, "argv", ["selfhost", *arguments])
        patch.setattr(sys, "stdin", nothing)
        patch.setattr(progress, "_listeners", [])
        for name in ("execve", "execvp"):
            patch.setattr(os, name, _refuse)
        with redirect_stdout(out), redirect_stderr(err):
            status = _ended()
    os.environ.clear()  # a call may have set what no patch knows of
    os.environ.update(before)
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


def _ended() -> int:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Cyclopts application invoked")
        try:
            return cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)


def _refuse(*argv: Any) -> None:
    raise AssertionError(f"the test itself would have become {argv}")
