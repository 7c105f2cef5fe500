"""Becoming a program: what a definition says of argv, environment, secrets, sockets and user is made so, then exec.

Every service and job starts through here, so this imports little (no pathlib, no dataclasses).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Any, NoReturn

from . import secret_value
from .handover import hand_over

WAKE_SIGNAL = signal.SIGCONT
"""Wakes a waiting exec wrapper. Harmless to the service, should it be one by the time the signal arrives."""

_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_DROP = 24


class CannotStart(Exception):
    """The definition cannot be carried out: no such user, folder, secret, program. One line for the log."""


def become(definition: dict[str, Any], sockets: Mapping[str, int], *others: int) -> NoReturn:
    """Replace this process by the program of the definition; secrets enter its environment here only.

    `sockets` are descriptors by name; `others` are descriptors which stay open, unannounced.

    Raises:
        CannotStart: it cannot be started as defined.
    """
    try:
        environment = _environment(definition)
        environment |= hand_over({name: sockets[name] for name in definition["sockets"]}, *others)
        if definition["user"]:
            _change_user(definition["user"])
        os.chdir(definition["cwd"])
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.execvpe(definition["argv"][0], definition["argv"], environment)
    except KeyError as error:
        raise CannotStart(f"socket {error} was not handed over") from error
    except OSError as error:
        raise CannotStart(f"{definition['argv'][0]}: {error}") from error


def _environment(definition: dict[str, Any]) -> dict[str, str]:
    """Nothing is inherited: what the definition says, the user's own HOME, and the secrets."""
    environment = {"HOME": _home_of(definition["user"]), **definition["base_env"], **definition["env"]}
    for variable, path in definition["secrets"].items():
        try:
            environment[variable] = secret_value.read(path)
        except secret_value.UnusableSecret as error:
            raise CannotStart(str(error)) from error
    return environment


def _change_user(user: str) -> None:
    import pwd

    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise CannotStart(f"there is no user {user} on this host") from error
    _give_up_privileges()
    if entry.pw_uid == os.geteuid():
        return
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)  # from root: all capabilities go with it


def _give_up_privileges() -> None:
    """For this process and all it becomes or starts: no set-uid program and no file's capabilities count any more."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    capability = 0
    while os.geteuid() == 0 and libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1  # until the kernel knows no further one


def _home_of(user: str) -> str:
    import pwd

    with contextlib.suppress(KeyError):
        return pwd.getpwnam(user).pw_dir if user else pwd.getpwuid(os.getuid()).pw_dir
    return "/"


def reset_dispositions() -> None:
    """All signals to their defaults: an ignored SIGINT is inherited, and makes a worker deaf to SIGTERM."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals() - {WAKE_SIGNAL})
