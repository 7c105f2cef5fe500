"""Machines with systemd on this machine: containers that boot as Google's Debian 12 image does.

`python -m tests.lab up` and `down` for a person, `machine` for tests.
"""
