"""The check of a PostgreSQL of one's own, and what is said when it is not what it should be."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from fleetcast.errors import ConfigurationError, Unavailable, Uncertain
from fleetcast.store import connection
from fleetcast.store.connection import HOT_SESSION, Database, check_server
from tests.store.pooler import pooler


@asynccontextmanager
async def behind_a_pooler(database_url: str, *, by_transaction: bool) -> AsyncIterator[str]:
    """The address of the database with a pooler in between."""
    parts = urlsplit(database_url)
    folder = parse_qs(parts.query)["host"][0]
    async with pooler(f"{folder}/.s.PGSQL.5432", by_transaction=by_transaction) as port:
        yield f"postgresql://{parts.username}:s3cret@127.0.0.1:{port}{parts.path}?sslmode=disable"


async def test_a_transaction_pooler_is_refused_and_the_way_out_is_named(database_url: str) -> None:
    async with behind_a_pooler(database_url, by_transaction=True) as url:
        with pytest.raises(ConfigurationError, match=r"transaction pooler .* use the direct address"):
            await check_server(url)


async def test_a_pooler_in_session_mode_is_no_obstacle_to_the_hot_loops_either(database_url: str) -> None:
    async with behind_a_pooler(database_url, by_transaction=False) as url:
        assert (await check_server(url)).startswith("18.")
        async with Database(url) as db:
            hot = await db.dedicated(hot=True)
            assert {name: await hot.fetchval(f"SHOW {name}") for name in HOT_SESSION} == HOT_SESSION
            await hot.close()


async def test_the_direct_address_is_taken(database_url: str) -> None:
    assert (await check_server(database_url)).startswith("18.")


async def test_a_server_too_old_is_refused_with_both_versions(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MINIMUM_VERSION", (99, 0))
    with pytest.raises(ConfigurationError, match=r"is version 18\..*needs 99 or newer"):
        await check_server(database_url)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0", "needs UTF8"),
        ("CREATE DATABASE {name}; REVOKE ALL ON DATABASE {name} FROM public; CREATE ROLE {name} LOGIN", "may not"),
    ],
)
async def test_a_database_that_cannot_hold_the_schema_is_refused(
    database_url: str, statement: str, sentence: str
) -> None:
    parts = urlsplit(database_url)
    name = parts.path.removeprefix("/test_").join(("unfit_", ""))
    mine = f"postgresql://{name if 'ROLE' in statement else parts.username}@/{name}?{parts.query}"
    async with Database(database_url) as db, db.connection() as boss:
        for part in statement.format(name=name).split("; "):
            await boss.execute(part)
        if "ROLE" in statement:
            await boss.execute(f"GRANT CONNECT ON DATABASE {name} TO {name}")
        try:
            with pytest.raises(ConfigurationError, match=sentence):
                await check_server(mine)
        finally:
            await boss.execute(f"DROP DATABASE {name} WITH (FORCE)")
            await boss.execute(f"DROP ROLE IF EXISTS {name}")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("/test_", "/no_"), "has no such database: create it"),
        (("?", "?nonsense=1&"), 'refuses an option in DATABASE_URL: .*"nonsense"'),
        (("?", "?sslmode=bogus&"), "cannot be used: .*sslmode"),
    ],
)
async def test_an_address_that_does_not_fit_says_why(database_url: str, change: tuple[str, str], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        await check_server(database_url.replace(*change, 1))


async def test_a_host_that_nobody_knows_is_told_from_a_server_that_is_away() -> None:
    with pytest.raises(Unavailable, match="no such host is known"):
        await check_server("postgresql://me:s3cret@nowhere.invalid/name")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 does not answer"):
        await check_server("postgresql://me:s3cret@127.0.0.1:1/name")


async def at_commit(db: Database, what: str) -> None:
    """Let something happen in the middle of the commit of whoever inserts a workspace."""
    async with db.connection() as connection:
        await connection.execute(
            f"CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {what}; RETURN NULL; END $$; "
            "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON workspaces DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION at_commit()"
        )


async def commit_something(db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute("INSERT INTO workspaces (name) VALUES ('committed')")


async def test_a_server_that_goes_away_in_the_middle_of_a_commit_leaves_it_open_whether_it_was_done(
    db: Database,
) -> None:
    await at_commit(db, "PERFORM pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(Uncertain, match="look whether it was made"):
        await commit_something(db)
    async with db.connection() as connection:  # another connection is there
        assert await connection.fetchval("SELECT count(*) FROM workspaces") == 0


async def test_a_commit_that_the_server_refuses_was_certainly_not_done(db: Database) -> None:
    await at_commit(db, "RAISE EXCEPTION 'No space left on device' USING ERRCODE = '53100'")
    with pytest.raises(Unavailable) as refused:
        await commit_something(db)
    assert not isinstance(refused.value, Uncertain)


async def test_a_server_that_goes_away_before_the_commit_has_certainly_not_done_it(db: Database) -> None:
    with pytest.raises(Unavailable) as lost:
        async with db.transaction() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert not isinstance(lost.value, Uncertain)


async def at_once(db: Database, statements: str) -> None:
    async with db.transaction() as connection:
        await connection.execute(statements)


async def test_what_a_transaction_set_and_locked_is_over_when_its_connection_is_used_again(database_url: str) -> None:
    async with Database(database_url, pool_size=1) as db:
        async with db.transaction() as connection:
            await connection.execute("SET LOCAL enable_sort = off; SET LOCAL statement_timeout = '5s'")
            await connection.execute("SELECT pg_advisory_xact_lock(1)")
            first = connection.get_server_pid()
        with pytest.raises(asyncpg.DivisionByZeroError):
            await at_once(db, "SET LOCAL enable_sort = off; SELECT pg_advisory_xact_lock(1); SELECT 1 / 0")
        async with db.connection() as connection:
            assert connection.get_server_pid() == first
            assert not connection.is_in_transaction()
            assert await connection.fetchval("SHOW enable_sort") == "on"
            assert await connection.fetchval("SHOW statement_timeout") == "0"
            assert (
                await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = $1", first
                )
                == 0
            )
