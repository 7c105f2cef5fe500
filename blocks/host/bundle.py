"""What the host gets as bytes: the agent as one file that runs under `python -I -S`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

_EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The first time a zip file can hold: equal sources give equal bytes."""

_MAIN = b"from agent.__main__ import main\n\nmain()\n"


def build_agent() -> bytes:
    """The host agent as a zip file, to be run as `python -I -S agent.pyz`. Equal sources give equal bytes."""
    folder = _agent_folder()
    sources = {f"agent/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*.py")}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted({**sources, "__main__.py": _MAIN}.items()):
            entry = zipfile.ZipInfo(name, _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, data)
    return content.getvalue()


def _agent_folder() -> Path:
    return Path(__file__).parent.parent / "agent"
