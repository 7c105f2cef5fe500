"""`python -m blocks.host.serve`: the name of `blocks.server.serve` in the release before.

An `upgrade --self` from there runs that release's code, which starts this one's by the old name.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("blocks.server.serve", run_name="__main__", alter_sys=True)
