"""The host agent: converges one machine to its `HostSpec` and reports a `HostStatus`.

Standard library only, Python 3.11+: it runs as a zip file under `python -I -S`, before anything else is
installed on the machine and after everything else has failed.
"""
