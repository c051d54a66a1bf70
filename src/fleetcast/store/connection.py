"""Connections to PostgreSQL: the pool for use cases, single connections for the hot loops, and the checks at start.

Separate from the statements because how we connect (versions, features, poolers, names of servers in errors) changes
for other reasons than what we ask.
"""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg

from fleetcast.errors import ConfigurationError, FleetcastError, InvalidInput, Unavailable, Uncertain

Connection = asyncpg.Connection | asyncpg.pool.PoolConnectionProxy
"""What every store function takes: an open connection, usually inside a transaction."""
Row = asyncpg.Record
T = TypeVar("T")

MINIMUM_VERSION = (15, 0)

ANSWER_SECONDS = 8.0
"""How long a process that stays waits for an answer: a connection may be half open, and silence would last for ever."""
CLOSE_SECONDS = 5.0

HOT_SESSION = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_bitmapscan": "off",
    "enable_sort": "off",
    "jit": "off",
}
"""For the loops that move messages: keyed access only, planned once, whatever ANALYZE saw of transient states."""

_LOST = (
    ConnectionError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,  # no disk, no memory, no connection left
    asyncpg.PostgresSystemError,  # its disk fails
    asyncpg.ReadOnlySQLTransactionError,  # a standby took its place
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a statement met the remains of one that was just being torn down
    TimeoutError,
)
"""What the driver raises when the server goes away, or asks for another try, in the middle of our own code."""
_TROUBLE = (*_LOST, OSError, TimeoutError)
"""The same while connecting, when no other code runs."""
_CUT = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)
"""What the server says when it goes away. Everything else that it says to a commit means that it did not commit."""


def server_name(dsn: str) -> str:
    """Where a DSN points, for people: host and database, never user or password."""
    parts = urlsplit(dsn)
    host = parts.hostname or parse_qs(parts.query).get("host", ["localhost"])[0]
    return f"{host}:{parts.port}" if parts.port else host


@contextlib.contextmanager
def reachable(name: str, trouble: tuple[type[Exception], ...] = _TROUBLE) -> Iterator[None]:
    """Turn the driver's many ways of saying "not there" into one sentence."""
    try:
        yield
    except FleetcastError:
        raise
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError):
        raise ConfigurationError(f"PostgreSQL at {name} refused the user or password: correct DATABASE_URL.") from None
    except asyncpg.InvalidCatalogNameError:
        raise ConfigurationError(
            f"PostgreSQL at {name} has no such database: create it, or correct the name in DATABASE_URL."
        ) from None
    except asyncpg.ClientConfigurationError as error:
        raise ConfigurationError(f"DATABASE_URL, which names {name}, cannot be used: {error}.") from None
    except socket.gaierror as error:
        raise Unavailable(f"PostgreSQL at {name}: no such host is known. Correct DATABASE_URL, or wait.") from error
    except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError):
        raise InvalidInput("text", "a text contains a NUL character, which no text has; delete it") from None
    except trouble as error:
        if "rejected SSL upgrade" in str(error):
            raise ConfigurationError(
                f"PostgreSQL at {name} does not speak TLS: turn it on there, or take sslmode out of DATABASE_URL."
            ) from None
        raise Unavailable(_sentence(name, error)) from error


def _sentence(name: str, error: Exception) -> str:
    if isinstance(error, asyncpg.DeadlockDetectedError | asyncpg.SerializationError):
        return "Two changes met at the same rows, and this one was undone: try again."
    if isinstance(error, asyncpg.DiskFullError):
        return f"PostgreSQL at {name} has no space left on its disk: make room there. Until then everything waits."
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
        return f"PostgreSQL at {name} takes no changes: point DATABASE_URL at the primary, or wait."
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError | asyncpg.LockNotAvailableError):
        return f"PostgreSQL at {name} does not answer in time ({type(error).__name__})."
    return f"PostgreSQL at {name} does not answer ({type(error).__name__})."


_decode_json = json.JSONDecoder().raw_decode


def _from_jsonb(text: str) -> Any:
    return _decode_json(text)[0]  # `json.loads` also looks for blanks around it, which PostgreSQL never writes


async def _prepare_connection(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=_from_jsonb, schema="pg_catalog")


async def _nothing_to_undo(connection: asyncpg.Connection) -> None:
    """In place of the driver's round trip after each use: whoever borrows a connection of the pool sets, locks and
    declares for a transaction only. What needs more has a connection of its own (`dedicated`).
    """


class Database:
    """One PostgreSQL database. Open with `async with Database(dsn)`.

    `patience` bounds each statement of the pool, in seconds; None where a person waits and may press Ctrl-C.
    """

    def __init__(self, dsn: str, *, pool_size: int = 8, patience: float | None = None) -> None:
        self.dsn = dsn
        self.name = server_name(dsn)
        self._pool_size = pool_size
        self._patience = patience
        self._pool: asyncpg.Pool | None = None

    async def __aenter__(self) -> Self:
        with reachable(self.name):
            self._pool = await asyncpg.create_pool(
                self.dsn,
                min_size=0,
                max_size=self._pool_size,
                init=_prepare_connection,
                reset=_nothing_to_undo,
                timeout=10,
                command_timeout=self._patience,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        if kind is not None:
            pool.terminate()
            return
        with contextlib.suppress(TimeoutError):  # it has dropped what does not answer
            async with asyncio.timeout(CLOSE_SECONDS):
                await pool.close()

    @property
    def pool(self) -> asyncpg.Pool:
        """The pool; an error of the programmer when the database is not open."""
        if self._pool is None:
            raise RuntimeError("the database is not open: use `async with`")
        return self._pool

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection without a transaction: each statement commits by itself."""
        with reachable(self.name):
            connection = await self.pool.acquire(timeout=10)
        try:
            with reachable(self.name, _LOST):
                yield connection
        except Unavailable:
            await self.distrust()
            with contextlib.suppress(asyncpg.InterfaceError):  # the pool has it back: it saw the end before we did
                connection.terminate()
            raise
        finally:
            with contextlib.suppress(*_TROUBLE):  # it was dropped then, and what was asked of it has its answer
                await self.pool.release(connection, timeout=CLOSE_SECONDS)

    async def distrust(self) -> None:
        """A connection was lost: the pool's may be as dead, and each would cost whoever gets it the same wait."""
        if self._pool is not None:
            await self._pool.expire_connections()

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction; commits at the end, rolls back on any error. Raises Uncertain when a commit has no answer."""
        async with self.connection() as connection:
            committing = False
            try:
                async with connection.transaction():
                    yield connection
                    committing = True
            except _LOST as error:
                if committing and (isinstance(error, _CUT) or not isinstance(error, asyncpg.PostgresError)):
                    raise Uncertain(
                        f"PostgreSQL at {self.name} went away in the middle of a change ({type(error).__name__}): look "
                        "whether it was made before you ask again."
                    ) from error
                raise

    async def dedicated(self, *, hot: bool = False, application: str = "fleetcast") -> asyncpg.Connection:
        """A connection of one's own for a loop. `hot` plans for keyed access. The caller closes it."""
        named = {"application_name": application}
        with reachable(self.name):
            connection: asyncpg.Connection = await asyncpg.connect(self.dsn, server_settings=named, timeout=10)
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await _prepare_connection(connection)
                    if hot:  # not while connecting: a pooler in session mode takes no settings there
                        settings = (f"SET {name} = {value}" for name, value in HOT_SESSION.items())
                        await connection.execute("; ".join(settings))
            except BaseException:
                connection.terminate()
                raise
        return connection


# A statement whose connection was lost may still be at work on the server, behind a lock or a slow disk.
_END_BACKEND = """
SELECT bool_and(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE pid = $1 AND application_name = $2"""


class Line:
    """One connection of a loop's own, made anew when it was lost.

    A failure is reported as `Unavailable` and never repeated here: only the caller knows whether what was asked may
    have happened, and whether asking twice is harmless. But when the next `run` asks, it is decided: whatever an
    earlier connection had under way has been committed by then, or never will be. `patience`: seconds for one `run`,
    `ANSWER_SECONDS` if none are given.
    """

    def __init__(self, db: Database, *, hot: bool, application: str, patience: float | None = None) -> None:
        self._db = db
        self._hot = hot
        self._application = application
        self._patience = ANSWER_SECONDS if patience is None else patience
        self._connection: asyncpg.Connection | None = None
        self._backend = 0
        self._left_behind = 0
        """The server's process of a connection that was lost in the middle of a statement."""

    async def run(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Run `work` on the connection, connecting first if need be."""
        try:
            with reachable(self._db.name):
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                async with asyncio.timeout(self._patience):
                    return await work(self._connection)
        except Unavailable:
            await self._db.distrust()
            if self._connection is not None:
                self._left_behind = self._backend
                self._connection.terminate()
                self._connection = None
            raise

    async def _connect(self) -> asyncpg.Connection:
        connection = await self._db.dedicated(hot=self._hot, application=self._application)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                backend = await connection.fetchval("SELECT pg_backend_pid()")  # the driver may know a pooler's number
                if self._left_behind and self._left_behind != backend:
                    ended = await connection.fetchval(_END_BACKEND, self._left_behind, self._application)
                    if ended is False:
                        raise Unavailable(f"PostgreSQL at {self._db.name} is still at work for a lost connection.")
        except BaseException:
            connection.terminate()
            raise
        self._backend, self._left_behind = backend, 0
        return connection

    async def close(self) -> None:
        """Close politely, or drop what does not answer."""
        if self._connection is not None and not self._connection.is_closed():
            try:
                await self._connection.close(timeout=2)
            except _TROUBLE:
                self._connection.terminate()
        self._connection = None


async def check_server(dsn: str) -> str:
    """Try the server: version, features, no transaction pooler in between. Returns the version for people.

    Raises ConfigurationError with what is wrong and what to do, Unavailable when nothing answers.
    """
    name = server_name(dsn)
    with reachable(name):
        try:
            connection = await asyncpg.connect(dsn, timeout=10, statement_cache_size=0)
        except (asyncpg.UndefinedObjectError, asyncpg.DataError) as error:  # what follows the ? are its settings
            raise ConfigurationError(f"PostgreSQL at {name} refuses an option in DATABASE_URL: {error}.") from None
        try:
            version = connection.get_server_version()
            if (version.major, version.minor) < MINIMUM_VERSION:
                raise ConfigurationError(
                    f"PostgreSQL at {name} is version {version.major}.{version.minor}; "
                    f"Fleetcast needs {MINIMUM_VERSION[0]} or newer."
                )
            await _refuse_pooler(dsn, connection, name)
            encoding = await connection.fetchval("SHOW server_encoding")
            if encoding != "UTF8":
                raise ConfigurationError(f"The database at {name} has encoding {encoding}; Fleetcast needs UTF8.")
            if await connection.fetchval("SELECT pg_is_in_recovery()"):
                raise ConfigurationError(
                    f"PostgreSQL at {name} is a read-only standby: point DATABASE_URL at the primary."
                )
            if not await connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')"):
                raise ConfigurationError(f"The user in DATABASE_URL may not create tables in the database at {name}.")
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close(timeout=5)


async def _refuse_pooler(dsn: str, connection: asyncpg.Connection, name: str) -> None:
    """A transaction pooler gives every statement another backend: locks and prepared statements do not survive.

    An idle pooler hands out the backend it got back last, so a second connection takes that one away meanwhile.
    """
    complaint = ConfigurationError(
        f"Between Fleetcast and PostgreSQL at {name} stands a transaction pooler (such as PgBouncer in transaction "
        "mode): use the direct address, or a pooler in session mode."
    )
    other = await asyncpg.connect(dsn, timeout=10, statement_cache_size=0)
    try:
        async with asyncio.timeout(10):
            first = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("SET fleetcast.probe = 'here'")
            for _ in range(3):
                async with other.transaction():
                    await other.fetchval("SELECT pg_backend_pid()")
                    row = await connection.fetchrow(
                        "SELECT pg_backend_pid() AS pid, current_setting('fleetcast.probe', true) AS probe"
                    )
                if row is None or row["pid"] != first or row["probe"] != "here":
                    raise complaint
    except (
        asyncpg.InvalidSQLStatementNameError,
        asyncpg.DuplicatePreparedStatementError,
        asyncpg.ProtocolViolationError,
        asyncpg.ConnectionDoesNotExistError,  # in statement mode it ends whoever opens a transaction
    ):
        raise complaint from None
    finally:
        await other.close(timeout=5)


async def clock_offset(connection: Connection) -> timedelta:
    """The test-only offset of `fleetcast_now()`."""
    offset: timedelta = await connection.fetchval("SELECT clock_offset FROM installation")
    return offset
