"""Processes that run at this moment: each keeps a row of its own up to date, and deletes it when it stops cleanly.

Separate from shards because schedulers and pages have a row too, and because nothing here is needed for correctness:
a row that is wrong or missing makes the shards unevenly shared, or readiness too hopeful, and no more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetcast.store.connection import Connection, Row

BEAT = """
INSERT INTO processes (name, kind, node, stuck, figures) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET beaten_at = fleetcast_now(), stuck = excluded.stuck, figures = excluded.figures"""

_DESCRIBED = """name, kind, node, started_at, stuck, figures,
  extract(epoch FROM fleetcast_now() - beaten_at)::float8 AS silent, drained_at, drained_by"""
KNOWN = f"SELECT {_DESCRIBED} FROM processes ORDER BY kind, name"
ALIVE = f"SELECT {_DESCRIBED} FROM processes WHERE beaten_at > fleetcast_now() - $1::interval ORDER BY kind, name"

# Idle from the next turn of its lease loop on; a second wish changes nothing.
DRAIN = """
UPDATE processes SET drained_at = fleetcast_now(), drained_by = $2
WHERE name = $1 AND kind = 'sender' AND drained_at IS NULL RETURNING name"""
RESUME = """
UPDATE processes SET drained_at = NULL, drained_by = NULL
WHERE name = $1 AND kind = 'sender' AND drained_at IS NOT NULL RETURNING name"""

SENDER = f"SELECT {_DESCRIBED} FROM processes WHERE name = $1 AND kind = 'sender'"

WITHDRAW = "UPDATE processes SET leasing_at = NULL WHERE name = $1"
LEAVE = "DELETE FROM processes WHERE name = $1"
# The last of its kind is never forgotten: somebody has to come in its place, or nobody does its work.
FORGET = """
DELETE FROM processes gone WHERE greatest(gone.beaten_at, gone.leasing_at) < fleetcast_now() - $1::interval
  AND EXISTS (SELECT FROM processes other WHERE other.kind = gone.kind
    AND other.beaten_at > fleetcast_now() - $1::interval)"""


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as it last described itself."""

    name: str
    kind: str
    node: str
    started_at: datetime
    stuck: tuple[str, ...]
    """Loops that have stood still for too long."""
    figures: Mapping[str, float]
    silent: float
    """Seconds since it was last heard of."""
    drained_at: datetime | None = None
    """Since when it is to own no shard, by a person's wish."""
    drained_by: str | None = None


async def beat(
    connection: Connection, name: str, kind: str, node: str, stuck: Sequence[str], figures: Mapping[str, float]
) -> None:
    """Say that this process is there, which of its loops stand still, and what it measures."""
    await connection.execute(BEAT, name, kind, node, list(stuck), dict(figures))


async def withdraw(connection: Connection, name: str) -> None:
    """This sender takes no part in sharing any more."""
    await connection.execute(WITHDRAW, name)


async def drain(connection: Connection, name: str, by: str) -> bool:
    """Have a sender own no shard any more. False when it was so already, or there is no such sender."""
    return await connection.fetchval(DRAIN, name, by) is not None


async def resume(connection: Connection, name: str) -> bool:
    """Have a sender take its share of the shards again. False when it does, or there is no such sender."""
    return await connection.fetchval(RESUME, name) is not None


async def sender(connection: Connection, name: str) -> Process | None:
    """A sender by its name."""
    row = await connection.fetchrow(SENDER, name)
    return None if row is None else _read(row)


async def alive(connection: Connection, seconds: float) -> list[Process]:
    """Processes that were heard of within so many seconds."""
    return [_read(row) for row in await connection.fetch(ALIVE, timedelta(seconds=seconds))]


async def known(connection: Connection) -> list[Process]:
    """Processes that did not stop cleanly, whether they live or not, as far as they are not forgotten."""
    return [_read(row) for row in await connection.fetch(KNOWN)]


def _read(row: Row) -> Process:
    return Process(row[0], row[1], row[2], row[3], tuple(row[4]), *row[5:])


async def leave(connection: Connection, name: str) -> None:
    """This process stops cleanly."""
    await connection.execute(LEAVE, name)


async def forget(connection: Connection, seconds: float) -> None:
    """Forget processes that were not heard of for so long and have been replaced by others of their kind."""
    await connection.execute(FORGET, timedelta(seconds=seconds))
