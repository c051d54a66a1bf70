"""Which version the database's schema has, which one this code was written for, and bringing the one to the other.

Every command asks this first, and nearly always the answer is that there is nothing to do. Alembic, which brings half
of a process's memory with it, is loaded only when there is.
"""

from functools import cache
from pathlib import Path

import asyncpg

from fleetcast.store.connection import reachable, server_name
from fleetcast.store.health import schema_version

MIGRATIONS = Path(__file__).parent / "migrations"


@cache
def head() -> str:
    """The newest schema version this code knows: the number of the last migration's file."""
    return max(path.stem[1:5] for path in (MIGRATIONS / "versions").glob("v[0-9]*.py"))


async def migrate(dsn: str) -> None:
    """Bring the database behind `dsn` (postgresql://…) to the newest schema, or leave it as it is if it is there.

    Raises ConfigurationError for a schema newer than this code, Unavailable when nothing answers.
    """
    with reachable(server_name(dsn)):
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            if await schema_version(connection) == head():
                return
        finally:
            await connection.close(timeout=5)
    from fleetcast.store.upgrade import upgrade

    await upgrade(dsn)
