"""Sessions of browsers: opaque tokens of which only a hash is stored."""

from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import SessionId, UserId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class Session:
    """One browser that is signed in."""

    id: SessionId
    user_id: UserId
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    browser: str
    address: str


_COLUMNS = "id, user_id, created_at, seen_at, expires_at, browser, address"
_OPEN = "expires_at > fleetcast_now() AND seen_at > fleetcast_now() - make_interval(secs => $2::float)"


def _session(row: Row) -> Session:
    return Session(**{**dict(row), "id": SessionId(row["id"]), "user_id": UserId(row["user_id"])})


async def insert(
    connection: Connection,
    user_id: UserId,
    token_sha256: bytes,
    *,
    seconds: float,
    waits_for_code: bool,
    browser: str,
    address: str,
) -> SessionId:
    """A new session that ends after so many seconds."""
    made: int = await connection.fetchval(
        """INSERT INTO sessions (user_id, token_sha256, expires_at, waits_for_code, browser, address)
        VALUES ($1, $2, fleetcast_now() + make_interval(secs => $3::float), $4, $5, $6) RETURNING id""",
        user_id,
        token_sha256,
        seconds,
        waits_for_code,
        browser,
        address,
    )
    return SessionId(made)


async def by_token(
    connection: Connection, token_sha256: bytes, *, idle_seconds: float, waits_for_code: bool = False
) -> Session | None:
    """The session of a token, unless it is over or was not used for `idle_seconds`."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM sessions WHERE token_sha256 = $1 AND {_OPEN} AND waits_for_code = $3",
        token_sha256,
        idle_seconds,
        waits_for_code,
    )
    return _session(row) if row else None


async def touch(connection: Connection, session_id: SessionId) -> None:
    """Note that it is in use, at most once a minute."""
    await connection.execute(
        """UPDATE sessions SET seen_at = fleetcast_now()
        WHERE id = $1 AND seen_at < fleetcast_now() - interval '1 minute'""",
        session_id,
    )


async def of_user(
    connection: Connection, user_id: UserId, before: int, limit: int, *, idle_seconds: float
) -> list[Session]:
    """Where a user is signed in, newest first, those with an id below `before`."""
    rows = await connection.fetch(
        f"""SELECT {_COLUMNS} FROM sessions WHERE user_id = $1 AND {_OPEN} AND NOT waits_for_code AND id < $3
        ORDER BY id DESC LIMIT $4""",
        user_id,
        idle_seconds,
        before,
        limit,
    )
    return [_session(r) for r in rows]


async def end(connection: Connection, user_id: UserId, session_id: SessionId) -> bool:
    """End one session of a user. False when there is none such."""
    gone: int | None = await connection.fetchval(
        "DELETE FROM sessions WHERE user_id = $1 AND id = $2 RETURNING 1", user_id, session_id
    )
    return gone is not None


async def end_token(connection: Connection, token_sha256: bytes) -> UserId | None:
    """End the session of a token, half-finished or not. The user if they were signed in by it."""
    row = await connection.fetchrow(
        "DELETE FROM sessions WHERE token_sha256 = $1 RETURNING user_id, waits_for_code", token_sha256
    )
    return None if row is None or row["waits_for_code"] else UserId(row["user_id"])


async def end_others(connection: Connection, user_id: UserId, keep: SessionId | None = None) -> int:
    """End all sessions of a user but one; how many there were. Half-finished ones too."""
    ended = await connection.fetch(
        "DELETE FROM sessions WHERE user_id = $1 AND id <> coalesce($2, 0) RETURNING 1", user_id, keep
    )
    return len(ended)


async def sweep(connection: Connection, *, idle_seconds: float) -> None:
    """Delete those that are over, but for rows that are just being used."""
    await connection.execute(
        """DELETE FROM sessions WHERE id IN (
          SELECT id FROM sessions WHERE expires_at <= fleetcast_now()
            OR seen_at <= fleetcast_now() - make_interval(secs => $1::float)
          FOR UPDATE SKIP LOCKED)""",
        idle_seconds,
    )
