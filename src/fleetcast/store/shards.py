"""Leases on shards: who may claim which devices' rows, until when, and under which epoch.

All comparisons are made by the database's clock. An epoch only grows; a takeover writes the shard's row, so it waits
for the claims that hold it FOR SHARE and every later claim under the old epoch matches nothing.

Whoever locks several shards, here or in a claim, locks them in the order of their ids: else a renewal and a claim wait
for each other until the server ends one of them, a second later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

from fleetcast.domain.message import PRIORITY_REPLY
from fleetcast.store.connection import Connection
from fleetcast.store.transition_statements import ANSWERS_ONLY, HELD, TURN_OF

ACQUIRE = """
UPDATE shards SET owner = $1, epoch = epoch + 1, expires_at = fleetcast_now() + $2::interval
WHERE id IN (
  SELECT id FROM shards WHERE (owner IS NULL OR expires_at <= fleetcast_now()) AND home_node IS NOT DISTINCT FROM $3
  ORDER BY id LIMIT $4 FOR UPDATE)
RETURNING id, epoch"""

# Everything a lease loop does at each turn, in one statement: say that this sender takes part, renew what it holds, see
# who else takes part and where shards are at home. Who is to rest (`processes.drained_at`) has no share of them. $1
# sender, $2 length of a lease, $3 node.
TURN = """
WITH present AS (
  INSERT INTO processes (name, kind, node, leasing_at) VALUES ($1, 'sender', $3, fleetcast_now())
  ON CONFLICT (name) DO UPDATE SET leasing_at = excluded.leasing_at),
kept AS (
  UPDATE shards SET expires_at = fleetcast_now() + $2::interval
  WHERE id IN (SELECT id FROM shards WHERE owner = $1 AND expires_at > fleetcast_now() ORDER BY id FOR NO KEY UPDATE)
  RETURNING id, epoch),
others AS (
  SELECT name, node FROM processes
  WHERE kind = 'sender' AND leasing_at > fleetcast_now() - $2::interval AND name <> $1 AND drained_at IS NULL)
SELECT ARRAY(SELECT id FROM kept ORDER BY id) AS held, ARRAY(SELECT epoch FROM kept ORDER BY id) AS epochs,
  ARRAY(SELECT id FROM shards ORDER BY id) AS shards, ARRAY(SELECT home_node FROM shards ORDER BY id) AS homes,
  ARRAY(SELECT name FROM others ORDER BY name) AS names, ARRAY(SELECT node FROM others ORDER BY name) AS nodes,
  EXISTS (SELECT FROM processes WHERE name = $1 AND drained_at IS NOT NULL) AS drained"""

RELEASE = """
UPDATE shards SET owner = NULL, expires_at = fleetcast_now()
WHERE id IN (
  SELECT id FROM shards WHERE owner = $1 AND ($2::smallint[] IS NULL OR id = ANY ($2::smallint[]))
  ORDER BY id FOR NO KEY UPDATE)"""

# Shards whose older epochs may have left rows in `sending`, or whose lease is over by more than the shortest grace.
TO_RECOVER = """
SELECT id, epoch FROM shards
WHERE recovered_epoch < epoch OR (owner IS NOT NULL AND expires_at < fleetcast_now() - $1::interval) ORDER BY id"""
RECOVERED = """
UPDATE shards s SET recovered_epoch = u.epoch
FROM (
  SELECT s.id, u.epoch FROM unnest($1::smallint[], $2::bigint[]) AS u (id, epoch) JOIN shards s USING (id)
  ORDER BY s.id FOR NO KEY UPDATE OF s) u
WHERE s.id = u.id AND s.recovered_epoch < u.epoch"""

ABANDONED = """
SELECT id FROM shards WHERE (owner IS NULL AND epoch > 0 OR owner IS NOT NULL)
  AND expires_at < fleetcast_now() - $1::interval ORDER BY id"""

_LANE = """
SELECT d.id, d.shard_id, d.transport, d.phone, d.min_delay, d.max_delay, d.may_answer,
  d.state NOT IN ('unpaired', 'pairing', 'logged_out', 'banned') AND d.deleted_at IS NULL AS wants_session,
  extract(epoch FROM greatest(fleetcast_now(), d.last_send_at) - d.last_send_at)::float8 AS rested,
  (SELECT extract(epoch FROM p.changed_at)::float8 FROM device_proxies p WHERE p.device_id = d.id) AS way
FROM devices d"""
LANES = f"{_LANE} WHERE d.shard_id = ANY ($1::smallint[]) AND ($2::bigint[] IS NULL OR d.id = ANY ($2::bigint[]))"
ORDERED = f"{_LANE} WHERE d.ordered_at > fleetcast_now() - $2::interval AND d.shard_id = ANY ($1::smallint[])"

# Rows still in `sending` under an older epoch: their lanes stay closed until T5 has settled them.
ORPHANS = """
SELECT b.device_id, b.id FROM shards s JOIN devices d ON d.shard_id = s.id
  JOIN broadcast_messages b ON b.device_id = d.id AND b.is_open AND b.status = 'sending' AND b.lease_epoch < s.epoch
WHERE s.id = ANY ($1::smallint[])"""
STILL_SENDING = "SELECT id FROM broadcast_messages WHERE id = ANY ($1::bigint[]) AND status = 'sending'"
# Claims whose answer the database never gave: ours by epoch, and certainly not sent.
UNCERTAIN = """
SELECT id, attempts, lease_epoch FROM broadcast_messages
WHERE id = ANY ($1::bigint[]) AND status = 'sending' AND lease_epoch = ANY ($2::bigint[])"""

# The queued rows of a device stand in front of its part of the index, so a short look at each queue finds them. What is
# in doubt, and what waits for that, stays there for an hour or a day and is looked past.
_IN_TURN = f"p.is_open AND p.status <> 'in_doubt' AND NOT (p.status = 'pending' AND {HELD.format(m='p')})"
_FRONT = f"""
  SELECT f.* FROM (
    (SELECT p.id, p.status, p.campaign_id, p.sequence_id, p.priority, p.not_before, p.expires_at
     FROM broadcast_messages p WHERE p.device_id = d.id AND p.campaign_id IS NULL AND {_IN_TURN}
     ORDER BY p.priority, p.not_before, p.id LIMIT 64)
    UNION ALL
    (SELECT r.* FROM campaigns c CROSS JOIN LATERAL (
       SELECT p.id, p.status, p.campaign_id, p.sequence_id, p.priority, p.not_before, p.expires_at
       FROM broadcast_messages p WHERE p.device_id = d.id AND p.campaign_id = c.id AND {_IN_TURN}
       ORDER BY p.priority, p.not_before, p.id LIMIT 64) r
     WHERE c.workspace_id = d.workspace_id AND c.status = 'running')) f"""
QUEUED = f"""
SELECT d.id AS device_id, q.id, {TURN_OF.format(m="q")} AS turn
FROM unnest($1::bigint[]) AS asked (device_id) JOIN devices d ON d.id = asked.device_id AND d.may_answer
CROSS JOIN LATERAL ({_FRONT} WHERE f.status = 'queued') q"""

# What the dispatcher sees of a device: rows in its window, and whether any wait that are due; urgent are those without
# a campaign.
ROOM = f"""
SELECT d.id AS device_id, d.workspace_id, d.min_delay, d.max_delay, q.in_window, q.urgent_in_window, q.urgent_due,
  q.answers_in_window, q.answers_due
FROM (
  SELECT d.* FROM devices d WHERE $1::bigint[] IS NULL AND d.id NOT IN (SELECT unnest($2::bigint[]))
  UNION ALL SELECT d.* FROM unnest($1::bigint[]) AS asked (device_id) JOIN devices d ON d.id = asked.device_id) d
JOIN shards s ON s.id = d.shard_id AND s.owner IS NOT NULL AND s.expires_at > (SELECT fleetcast_now())
CROSS JOIN LATERAL (
  SELECT count(*) FILTER (WHERE q.status IN ('queued', 'sending')) AS in_window,
    count(*) FILTER (WHERE q.status IN ('queued', 'sending') AND q.campaign_id IS NULL) AS urgent_in_window,
    count(*) FILTER (WHERE q.status = 'pending' AND q.campaign_id IS NULL AND q.not_before <= (SELECT fleetcast_now())
      AND (q.expires_at IS NULL OR q.expires_at > (SELECT fleetcast_now()))) AS urgent_due,
    count(*) FILTER (WHERE q.status IN ('queued', 'sending') AND q.priority = {PRIORITY_REPLY}) AS answers_in_window,
    count(*) FILTER (WHERE q.status = 'pending' AND q.priority = {PRIORITY_REPLY}
      AND q.not_before <= (SELECT fleetcast_now()) AND q.expires_at > (SELECT fleetcast_now())) AS answers_due,
    count(*) FILTER (WHERE q.status = 'pending' AND q.not_before <= (SELECT fleetcast_now())
      AND NOT ({ANSWERS_ONLY.format(m="q")})) AS due
  FROM ({_FRONT}) q) q
WHERE d.may_answer AND q.due > 0"""

PACES = """
SELECT id, min_delay, max_delay FROM campaigns WHERE id = ANY ($1::bigint[]) UNION ALL
SELECT -id, min_delay, max_delay FROM sequences WHERE id IN (SELECT -turn FROM unnest($1::bigint[]) AS t (turn))"""


class LaneRow(NamedTuple):
    """A device as its owner needs it. `rested`: seconds since its last attempt ended, by database time; 0 where its
    clock was set back meanwhile, so that a device rests for its delay and not for as long as the clock was wrong.
    """

    id: int
    shard: int
    transport: str
    phone: str | None
    min_delay: float
    max_delay: float
    may_answer: bool
    """Whether it may be given anything; what it may be given, the guards know."""
    wants_session: bool
    rested: float | None
    way: float | None = None
    """Since when it connects in another way; a session that was opened before is opened anew."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What a lease loop sees at one turn."""

    held: dict[int, int]
    """Shard → epoch of the leases that were renewed."""
    homes: dict[int, str | None]
    """Shard → the node whose senders alone may own it, or None."""
    senders: dict[str, str]
    """Sender → node of all that share the shards; this one among them, unless it is to rest."""


@dataclass(frozen=True, slots=True)
class Room:
    """A device with due rows and what stands in its window already."""

    device: int
    workspace: int
    min_delay: float
    max_delay: float
    in_window: int
    urgent_in_window: int
    """Of them, those without a campaign."""
    urgent_due: int
    """Rows without a campaign that wait and are due."""
    answers_in_window: int
    answers_due: int
    """Of both, those to people who wrote lately."""

    def room(self, window: int) -> int:
        """How many rows to add to a window of this size.

        Rows without a campaign do not wait until those of campaigns leave room, nor answers until the others do: they
        find windows of their own.
        """
        own = min(self.urgent_due, window - self.urgent_in_window, 2 * window - self.in_window)
        answers = min(self.answers_due, window - self.answers_in_window, 3 * window - self.in_window)
        return max(window - self.in_window, own, answers)


async def acquire(connection: Connection, owner: str, home: str | None, seconds: float, most: int) -> dict[int, int]:
    """Take at most `most` shards that nobody holds, of those at home on a node or of those without a home.

    Returns shard → new epoch.
    """
    rows = await connection.fetch(ACQUIRE, owner, timedelta(seconds=seconds), home, most)
    return {row["id"]: row["epoch"] for row in rows}


async def turn(connection: Connection, owner: str, node: str, seconds: float) -> Turn:
    """Renew the leases of a sender and see with whom it shares: senders whose last turn is not older than a lease."""
    row = await connection.fetchrow(TURN, owner, timedelta(seconds=seconds), node)
    assert row is not None
    return Turn(
        held=dict(zip(row["held"], row["epochs"], strict=True)),
        homes=dict(zip(row["shards"], row["homes"], strict=True)),
        senders=dict(zip(row["names"], row["nodes"], strict=True)) | ({} if row["drained"] else {owner: node}),
    )


async def release(connection: Connection, owner: str, shards: Sequence[int] | None = None) -> None:
    """Give these shards back, or all of them at a clean stop."""
    await connection.execute(RELEASE, owner, shards)


async def to_recover(connection: Connection, shortest_grace: float) -> dict[int, int]:
    """Shards that may hold orphans, with their epochs as read before the orphans are looked for."""
    rows = await connection.fetch(TO_RECOVER, timedelta(seconds=shortest_grace))
    return {row["id"]: row["epoch"] for row in rows}


async def recovered(connection: Connection, epochs: dict[int, int]) -> None:
    """Note that every epoch older than these has no rows in `sending` any more."""
    await connection.execute(RECOVERED, list(epochs), list(epochs.values()))


async def abandoned(connection: Connection, seconds: float) -> list[int]:
    """Shards without an owner for so long."""
    return [row["id"] for row in await connection.fetch(ABANDONED, timedelta(seconds=seconds))]


async def lanes(connection: Connection, shards: Sequence[int], devices: Sequence[int] | None = None) -> list[LaneRow]:
    """The devices of these shards, or those of them that are named."""
    return [LaneRow(*row) for row in await connection.fetch(LANES, shards, devices)]


async def ordered(connection: Connection, shards: Sequence[int], seconds: float) -> list[LaneRow]:
    """The devices of these shards whose state, pace or wanted state changed within so many seconds."""
    return [LaneRow(*row) for row in await connection.fetch(ORDERED, shards, timedelta(seconds=seconds))]


async def orphans(connection: Connection, shards: Sequence[int]) -> dict[int, list[int]]:
    """Device → messages that an earlier owner left in `sending`."""
    found: dict[int, list[int]] = {}
    for device, message in await connection.fetch(ORPHANS, shards):
        found.setdefault(device, []).append(message)
    return found


async def still_sending(connection: Connection, messages: Sequence[int]) -> set[int]:
    """Which of these are still in `sending`."""
    return {row["id"] for row in await connection.fetch(STILL_SENDING, messages)}


async def uncertain_claims(
    connection: Connection, messages: Sequence[int], epochs: Sequence[int]
) -> list[tuple[int, int, int]]:
    """(message, attempt, epoch) of claims that were committed although the answer never came."""
    return [tuple(row) for row in await connection.fetch(UNCERTAIN, messages, epochs)]


async def unix_now(connection: Connection) -> float:
    """Database time in Unix seconds, as results carry it."""
    now: float = await connection.fetchval("SELECT extract(epoch FROM fleetcast_now())::float8")
    return now


async def queued(connection: Connection, devices: Sequence[int]) -> list[tuple[int, list[tuple[int, int]]]]:
    """What stands in the windows of these devices, in order, whatever hints were lost: (device, its rows).

    A row is (message, turn): its campaign, minus its sequence, or 0 for neither.
    """
    found: dict[int, list[tuple[int, int]]] = {}
    for device, message, turn in await connection.fetch(QUEUED, devices):
        found.setdefault(device, []).append((message, turn))
    return list(found.items())


async def room(
    connection: Connection, devices: Sequence[int] | None = None, *, without: Sequence[int] = ()
) -> list[Room]:
    """Devices that are ready and have due rows: the named ones, or all but `without`."""
    return [Room(*row) for row in await connection.fetch(ROOM, devices, without)]


async def paces(connection: Connection, turns: Sequence[int]) -> dict[int, tuple[float, float] | None]:
    """Campaign, or minus a sequence → its own (min, max) delay in seconds, or None where the device's counts."""
    rows = await connection.fetch(PACES, turns)
    return {r[0]: None if r["min_delay"] is None else (r["min_delay"], r["max_delay"]) for r in rows}
