"""The schema is brought to the code's version, whoever starts, in whatever order and however the address is written."""

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from fleetcast.errors import ConfigurationError
from fleetcast.store import schema, upgrade
from fleetcast.store.connection import Database
from fleetcast.store.health import schema_version


async def version(dsn: str) -> str:
    async with Database(dsn) as db, db.connection() as connection:
        return await schema_version(connection)


def test_the_version_read_from_the_file_names_is_the_one_of_the_migrations() -> None:
    assert schema.head() == upgrade.newest() != ""


async def test_many_processes_may_bring_a_new_database_to_its_schema_at_once(empty_database_url: str) -> None:
    assert await version(empty_database_url) == ""
    await asyncio.gather(*(schema.migrate(empty_database_url) for _ in range(4)))
    assert await version(empty_database_url) == schema.head()


async def test_an_address_with_options_of_the_driver_serves_the_migrations_too(empty_database_url: str) -> None:
    # Hosting platforms add `sslmode`, which SQLAlchemy's own reading of an address does not know.
    await schema.migrate(f"{empty_database_url}&sslmode=prefer&application_name=somebody")
    assert await version(empty_database_url) == schema.head()


async def test_a_schema_from_the_future_is_refused_and_left_alone(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE alembic_version SET version_num = '9999'")
    await connection.close()
    with pytest.raises(ConfigurationError, match="schema 9999"):
        await schema.migrate(database_url)
    assert await version(database_url) == "9999"


def test_a_schema_that_is_there_needs_no_migration_tool(database_url: str) -> None:
    asked = f"""
import asyncio, sys
from fleetcast.store.schema import migrate
asyncio.run(migrate({database_url!r}))
print(sorted({{name.split(".")[0] for name in sys.modules}} & {{"alembic", "sqlalchemy"}}))
"""
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
