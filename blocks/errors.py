"""The errors of this project, each named after what its reader should do."""

from __future__ import annotations

from collections.abc import Mapping


class SelfhostError(Exception):
    """A failure said in one line.

    Args:
        what: What failed, which one, and the value against the rule.
        hint: What the reader can do about it; empty where nothing is to be done.
    """

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})" if self.hint else self.what


class Blocked(SelfhostError):
    """A person must act before this can go on; the hint says how."""


class WrongCall(Blocked):
    """The call or the spec is wrong: nothing was touched, exit status 2."""


class NotReady(SelfhostError):
    """Wait and try again: nothing is wrong yet, or no longer."""


class Conflict(SelfhostError):
    """Someone else holds what this needs; the text says who and since when."""


KINDS: tuple[type[SelfhostError], ...] = (WrongCall, Blocked, NotReady, Conflict, SelfhostError)
"""Kinds that are told apart across processes, the narrowest first."""


def as_data(error: SelfhostError) -> dict[str, str]:
    """An error as plain data, for another process."""
    kind = next(each.__name__ for each in KINDS if isinstance(error, each))
    return {"kind": kind, "what": error.what, "hint": error.hint}


def from_data(data: Mapping[str, str]) -> SelfhostError:
    """The error which `as_data` told."""
    kind = next((each for each in KINDS if each.__name__ == data["kind"]), SelfhostError)
    return kind(data["what"], data["hint"])
