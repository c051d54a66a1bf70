"""Runs the migrations that a database lacks.

Alembic keeps the order and the record; the migrations themselves are SQL. Any number of processes may start at once:
an advisory lock lets one of them migrate while the others wait. A database that is newer than the code is refused.
"""

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fleetcast.errors import ConfigurationError
from fleetcast.store.schema import MIGRATIONS

_LOCK = 7_215_301  # any number; ours alone in this database


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def newest() -> str:
    """The newest schema version as Alembic sees it."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
    try:
        current = MigrationContext.configure(connection).get_current_revision()
        connection.commit()
        scripts = ScriptDirectory.from_config(_config())
        if current == scripts.get_current_head():
            return
        if current is not None and current not in {s.revision for s in scripts.walk_revisions()}:
            raise ConfigurationError(
                f"The database has schema {current}, which this version of Fleetcast does not know: "
                "start the newer version that made it, or restore the backup from before."
            )
        command.upgrade(_config(connection), "head")
        connection.commit()
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
        connection.commit()


async def upgrade(dsn: str) -> None:
    """Run what the database behind `dsn` lacks. The address is read by our own driver, as everywhere else."""
    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(dsn, timeout=10)
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()
