"""A database and a Runtime that nobody else has; for one test, or for several that only look.

Separate from the fixtures, which own them for a single test each.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from uuid import uuid4

import asyncpg

from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.queue.client import connect
from fleetcast.queue.keys import Keys
from fleetcast.queue.nudges import Nudges
from fleetcast.runtime import Runtime
from fleetcast.settings import Settings
from fleetcast.store.connection import Database
from fleetcast.store.schema import migrate

TEMPLATE = "template_fleetcast"


class Databases:
    """Makes databases on a server and drops them, all on one connection: one for each of thousands of times would take
    half as long again.
    """

    def __init__(self, servers: EmbeddedServers) -> None:
        self._servers = servers
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        """Make the template, to be copied and never opened: a database with the newest schema and nothing in it."""
        address = with_name(self._servers.database_url, TEMPLATE)
        await self._execute(f"CREATE DATABASE {TEMPLATE}")
        await migrate(address)
        await execute(address, "VACUUM FULL")  # leaves fewer files, and these are what takes time to copy
        await self._execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.terminate()

    @asynccontextmanager
    async def fresh(self, *, schema: bool = True) -> AsyncIterator[str]:
        """postgresql://… of a new database, dropped afterwards: a copy of the template, or one without any schema."""
        name = f"test_{uuid4().hex}"
        copied = f" TEMPLATE {TEMPLATE}" if schema else ""
        await self._execute(f"CREATE DATABASE {name}{copied} STRATEGY FILE_COPY")
        yield with_name(self._servers.database_url, name)
        await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def _execute(self, statement: str) -> None:
        if self._connection is None or self._connection.is_closed():  # some tests have the server crash
            self._connection = await asyncpg.connect(self._servers.database_url)
        await self._connection.execute(statement)


@asynccontextmanager
async def fresh_runtime(db: Database, redis_url: str, folder: Path) -> AsyncIterator[Runtime]:
    """A Runtime with keys and a data directory of its own, below `folder`."""
    own = uuid4().hex[:12]
    data = folder / own
    (data / "run").mkdir(parents=True)
    settings = Settings(database_url=db.dsn, redis_url=redis_url, redis_prefix=f"test-{own}", data=data)
    keys = Keys(settings.redis_prefix)
    redis = connect(redis_url)
    try:
        yield Runtime(settings, db, redis, keys, Nudges(redis, keys))
    finally:
        if left := [key async for key in redis.scan_iter(match=f"{settings.redis_prefix}:*", count=1000)]:
            await redis.delete(*left)
        await redis.aclose()
        shutil.rmtree(data, ignore_errors=True)


@asynccontextmanager
async def whole_runtime(databases: Databases, redis_url: str, folder: Path) -> AsyncIterator[Runtime]:
    """A Runtime on a database of its own."""
    async with (
        databases.fresh() as url,
        Database(url) as db,
        fresh_runtime(db, redis_url, folder) as runtime,
    ):
        yield runtime


def with_name(url: str, name: str) -> str:
    """The address of another database on the same server."""
    return url.replace("/fleetcast?", f"/{name}?", 1)


async def execute(url: str, statement: str) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
