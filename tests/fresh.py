"""A database and a Runtime that nobody else has; for one test, or for several that only look.

Separate from the fixtures, which own them for a single test each.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import asyncpg

from fleetcast.embedded.servers import EmbeddedServers
from fleetcast.queue.client import connect
from fleetcast.queue.keys import Keys
from fleetcast.queue.nudges import Nudges
from fleetcast.runtime import Runtime
from fleetcast.settings import Settings
from fleetcast.store.connection import Database


@asynccontextmanager
async def fresh_database(servers: EmbeddedServers, template: str | None = None) -> AsyncIterator[str]:
    """postgresql://… of a new database, dropped afterwards: a copy of `template`, or one without any schema."""
    name = f"test_{uuid4().hex}"
    copied = f" TEMPLATE {template}" if template else ""
    await execute(servers.database_url, f"CREATE DATABASE {name}{copied} STRATEGY FILE_COPY")
    yield with_name(servers.database_url, name)
    await execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


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
async def whole_runtime(servers: EmbeddedServers, template: str, folder: Path) -> AsyncIterator[Runtime]:
    """A Runtime on a database of its own."""
    async with (
        fresh_database(servers, template) as url,
        Database(url) as db,
        fresh_runtime(db, servers.redis_url, folder) as runtime,
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
