"""Users, their recovery codes, and how often somebody tried to be one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetcast.domain.access import UserId
from fleetcast.store.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class User:
    """A person with an account."""

    id: UserId
    email: str
    name: str
    password_hash: str
    created_at: datetime
    password_changed_at: datetime
    installation_owner: bool
    second_factor: bytes | None
    """Sealed; set up, and asked for once `second_factor_since` says so."""
    second_factor_since: datetime | None
    second_factor_step: int | None

    @property
    def needs_code(self) -> bool:
        """Whether signing in takes a code besides the password."""
        return self.second_factor_since is not None


_COLUMNS = """id, email, name, password_hash, created_at, password_changed_at, installation_owner, second_factor,
  second_factor_since, second_factor_step"""


def _user(row: Row | None) -> User | None:
    return None if row is None else User(**{**dict(row), "id": UserId(row["id"])})


async def await_first_owner(connection: Connection) -> None:
    """Wait until no other process is making the first owner."""
    await connection.execute("SELECT pg_advisory_xact_lock(7215305)")


async def insert(connection: Connection, email: str, name: str, password_hash: str) -> User | None:
    """A new user, or None when the address is taken, capitals aside."""
    row = await connection.fetchrow(
        f"""INSERT INTO users (email, name, password_hash) VALUES ($1, $2, $3)
        ON CONFLICT (lower(email)) DO NOTHING RETURNING {_COLUMNS}""",
        email,
        name,
        password_hash,
    )
    return _user(row)


async def by_email(connection: Connection, email: str) -> User | None:
    """The user with that address; capitals make no difference."""
    return _user(await connection.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE lower(email) = lower($1)", email))


async def by_id(connection: Connection, user_id: UserId, *, lock: bool = False) -> User | None:
    """The user with that id; `lock` until the transaction ends."""
    suffix = " FOR UPDATE" if lock else ""
    return _user(await connection.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE id = $1{suffix}", user_id))


async def every(connection: Connection) -> list[User]:
    """All users, by address. For the operator of the installation, never for a member."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM users ORDER BY lower(email)")
    return [user for row in rows if (user := _user(row))]


async def installation_owner(connection: Connection) -> User | None:
    """The first user of the installation."""
    return _user(
        await connection.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE installation_owner ORDER BY id LIMIT 1")
    )


async def own_installation(connection: Connection, user_id: UserId) -> None:
    """Make a user the one who may make workspaces."""
    await connection.execute("UPDATE users SET installation_owner = true WHERE id = $1", user_id)


async def write_name(connection: Connection, user_id: UserId, name: str) -> None:
    """Call a user something else."""
    await connection.execute("UPDATE users SET name = $2 WHERE id = $1", user_id, name)


async def write_password(connection: Connection, user_id: UserId, password_hash: str, *, changed: bool = True) -> None:
    """Store a password; `changed` False when only the way it is hashed is new."""
    await connection.execute(
        """UPDATE users SET password_hash = $2,
          password_changed_at = CASE WHEN $3 THEN fleetcast_now() ELSE password_changed_at END WHERE id = $1""",
        user_id,
        password_hash,
        changed,
    )


async def write_second_factor(connection: Connection, user_id: UserId, sealed: bytes | None) -> None:
    """Prepare a second factor that is not asked for yet, or with None take it away with its recovery codes."""
    await connection.execute(
        """UPDATE users SET second_factor = $2, second_factor_since = NULL, second_factor_step = NULL
        WHERE id = $1""",
        user_id,
        sealed,
    )
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)


async def with_second_factor(connection: Connection) -> list[UserId]:
    """Users who have something sealed, whether it is asked for or only prepared; locked until the transaction ends."""
    rows = await connection.fetch("SELECT id FROM users WHERE second_factor IS NOT NULL ORDER BY id FOR UPDATE")
    return [UserId(row["id"]) for row in rows]


async def turn_on_second_factor(connection: Connection, user_id: UserId) -> None:
    """From now on a code is asked for."""
    await connection.execute("UPDATE users SET second_factor_since = fleetcast_now() WHERE id = $1", user_id)


async def use_step(connection: Connection, user_id: UserId, step: int) -> bool:
    """Note that the code of a time step was used. False when it, or a later one, was used before."""
    used: int | None = await connection.fetchval(
        """UPDATE users SET second_factor_step = $2
        WHERE id = $1 AND second_factor IS NOT NULL AND coalesce(second_factor_step, -1) < $2 RETURNING 1""",
        user_id,
        step,
    )
    return used is not None


async def replace_recovery_codes(connection: Connection, user_id: UserId, hashes: Sequence[bytes]) -> None:
    """These codes and no others."""
    await connection.execute("DELETE FROM recovery_codes WHERE user_id = $1", user_id)
    await connection.execute(
        "INSERT INTO recovery_codes (user_id, code_sha256) SELECT $1, unnest($2::bytea[])", user_id, list(hashes)
    )


async def use_recovery_code(connection: Connection, user_id: UserId, code_sha256: bytes) -> bool:
    """Use up a recovery code. False when there is none such, or it was used."""
    used: int | None = await connection.fetchval(
        """UPDATE recovery_codes SET used_at = fleetcast_now()
        WHERE user_id = $1 AND code_sha256 = $2 AND used_at IS NULL RETURNING 1""",
        user_id,
        code_sha256,
    )
    return used is not None


async def recovery_codes_left(connection: Connection, user_id: UserId) -> int:
    """How many recovery codes were not used."""
    left: int = await connection.fetchval(
        "SELECT count(*) FROM recovery_codes WHERE user_id = $1 AND used_at IS NULL", user_id
    )
    return left


# Failures of a day ago are forgotten. From the free-th on each one doubles the time during which no other try counts.
_TRY = """
INSERT INTO sign_in_failures AS f (subject, failures, last_at) VALUES ($1, 1, fleetcast_now())
ON CONFLICT (subject) DO UPDATE SET
  failures = CASE WHEN f.last_at < fleetcast_now() - interval '1 day' THEN 1 ELSE f.failures + 1 END,
  last_at = fleetcast_now(),
  blocked_until = CASE WHEN f.last_at >= fleetcast_now() - interval '1 day' AND f.failures + 1 >= $2::int
    THEN fleetcast_now() + make_interval(secs => least(2.0 ^ least(f.failures + 1 - $2, 20), $3::float)) END
WHERE f.blocked_until IS NULL OR f.blocked_until <= fleetcast_now()
RETURNING failures"""


async def count_try(connection: Connection, subject: str, free: int, longest: float) -> int | None:
    """Count a try before it is looked at, as if it had failed. None when none is allowed now.

    The `free`-th failure blocks for a second, each further one for twice as long, at most `longest` seconds.
    """
    counted: int | None = await connection.fetchval(_TRY, subject, free, longest)
    return counted


async def blocked_for(connection: Connection, subject: str) -> float:
    """Seconds until the next try is allowed; 0 when it is now."""
    left: float | None = await connection.fetchval(
        "SELECT extract(epoch FROM blocked_until - fleetcast_now())::float FROM sign_in_failures WHERE subject = $1",
        subject,
    )
    return max(left or 0.0, 0.0)


async def forget_tries(connection: Connection, subject: str) -> None:
    """It was they: their failures no longer count."""
    await connection.execute("DELETE FROM sign_in_failures WHERE subject = $1", subject)


async def forgive_try(connection: Connection, subject: str) -> None:
    """The try just counted was no failure; earlier ones stay."""
    await connection.execute(
        """UPDATE sign_in_failures SET failures = greatest(failures - 1, 0), blocked_until = NULL WHERE subject = $1""",
        subject,
    )


async def sweep_tries(connection: Connection) -> None:
    """Delete what no longer counts, but for rows that are just being used."""
    await connection.execute(
        """DELETE FROM sign_in_failures WHERE subject IN (
          SELECT subject FROM sign_in_failures WHERE last_at < fleetcast_now() - interval '1 day'
          FOR UPDATE SKIP LOCKED)"""
    )
