"""Predefined roles with the permissions that matter here; a `*` stands for any text.

Source: https://cloud.google.com/iam/docs/roles-permissions, one page a service. What a role holds there for services
that are not emulated is left out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A role's title and its permissions."""

    title: str
    permissions: tuple[str, ...]


ROLES: dict[str, Role] = {
    "roles/owner": Role("Owner", ("*",)),
}
