"""Stands for the job that moves a schema: `stand_in_migration.py URL -P -m MODULE --to REVISION`."""

import asyncio
import sys

import asyncpg


async def migrate(url: str, revision: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE alembic_version SET version_num = $1", revision)
    await connection.close()


asyncio.run(migrate(sys.argv[1], sys.argv[-1]))
print("{}")
