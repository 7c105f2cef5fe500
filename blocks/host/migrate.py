"""`python -m blocks.host.migrate`: the name of `blocks.server.migrate` in the release before.

An `upgrade --self` from there runs that release's code, which starts this one's by the old name.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("blocks.server.migrate", run_name="__main__", alter_sys=True)
