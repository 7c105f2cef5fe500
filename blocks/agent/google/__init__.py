"""What the host agent does on a VM at Google, as the VM's own account and by the standard library.

The home's mark says in which bucket the stack's objects lie. The startup script fetches the agent by its sha256 and
calls `agent.pyz settle`, which makes the home, fetches uv, and writes how far it is to `boot/` in the bucket. From then
on the agent, beside converging, so that what runs goes on without Google:

- fetches what a release is made of, and drops it once that is installed: the disk is small;
- keeps the versions of secrets that its spec names in a folder in memory, anew after each boot;
- looks into `ledger/inbox` every 3 seconds and carries a request out as a job of its own, whose log it sends;
- sends its report when that changes, and every 45 seconds: with the looks about 0.65 dollars a month.
"""
