"""`python -m blocks.host.rehearse`: the name of `blocks.server.rehearse` in the release before.

An `upgrade --self` from there runs that release's code, which starts this one's by the old name.
"""

import runpy

if __name__ == "__main__":
    runpy.run_module("blocks.server.rehearse", run_name="__main__", alter_sys=True)
