"""`agent.pyz …`. The exec wrapper is told apart here, before anything else is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line in `sys.argv`; ends the process."""
    if sys.argv[1:2] == ["exec"] and len(sys.argv) >= 5:
        from .execution import main as become

        become(sys.argv[2:])
    from .cli import main as command

    sys.exit(command(sys.argv[1:]))


if __name__ == "__main__":
    main()
