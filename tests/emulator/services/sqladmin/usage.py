"""What only SQL can tell of an instance: who is connected to a database, and who owns what in it.

A real part is asked; where there is none, `POST /_emulator/usage` says it.
"""

from __future__ import annotations

from typing import Any, cast

from tests.emulator.backing import SqlBacking
from tests.emulator.cloud import Cloud
from tests.emulator.world import Record

COLLECTION = "sql.databases"


def part_of(cloud: Cloud) -> SqlBacking | None:
    """The real part behind instances; None where there is none."""
    return cast(SqlBacking, cloud.backings.of("sql.instances")) if cloud.backings.real("sql.instances") else None


def sessions(cloud: Cloud, instance: Record, database: Record) -> int:
    """How many sessions use a database now."""
    if part := part_of(cloud):
        return part.sessions(instance.name, database.body["name"])
    return int(database.hidden.get("sessions", 0))


def owned(cloud: Cloud, instance: Record, user: str) -> dict[str, int]:
    """Objects that belong to a user, by database; a database that is the user's own counts as one."""
    if part := part_of(cloud):
        return part.owned(instance.name, user)
    databases = cloud.world.under(f"{instance.name}/", COLLECTION)
    counts = {each.body["name"]: int(each.hidden.get("owners", {}).get(user, 0)) for each in databases}
    return {name: count for name, count in counts.items() if count}


def tell(cloud: Cloud, sent: dict[str, Any]) -> dict[str, Any]:
    """The control path; KeyError for a database that is not there."""
    name = f"sql/projects/{sent['project']}/instances/{sent['instance']}/databases/{sent['database']}"
    hidden = cloud.world.records[name].hidden
    hidden["sessions"] = int(sent.get("sessions", hidden.get("sessions", 0)))
    hidden["owners"] = {str(user): int(count) for user, count in sent.get("owners", hidden.get("owners", {})).items()}
    return {"sessions": hidden["sessions"], "owners": hidden["owners"]}
