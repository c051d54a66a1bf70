"""What a workspace sent over time, in slots of a quarter of an hour.

Separate from tallies, which it reads and never writes. `roll` is the only statement that adds to it: it compares the
sums of campaigns with those that were added before and takes away the tallies that belong to no campaign, in one
transaction that holds the one row of `history_looks`. So whoever looks, how often, and wherever one was cut short, the
sum over all slots is the sum of all tallies of the last look.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection

SOON = timedelta(seconds=60)
"""Differences since a look that is not longer ago belong to when that was; else they belong to now."""
RECENT = timedelta(days=3)
"""Campaigns that ended within it are looked at each time: receipts still come. Older ones have their turn."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What happened in a time. A difference may be negative: what failed before was tried again, and does not count as
    failed any more.
    """

    sent: int = 0
    delivered: int = 0
    """Reached the phone, those that were then read included."""
    read: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    replied: int = 0
    """Messages that came back."""
    opted_out: int = 0
    """People who asked for no more."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, name) + getattr(other, name) for name in NAMES))


NAMES = tuple(field.name for field in fields(Counts))
_OF_CAMPAIGNS = NAMES[:6]


def _each(form: str, names: Sequence[str] = NAMES) -> str:
    return ", ".join(form.format(c=name) for name in names)


# Skipped where another scheduler is just looking.
LOCK = "SELECT looked_at FROM history_looks FOR UPDATE SKIP LOCKED"

# $1 the last campaign of the turn before, $2 how many have their turn now, $3 when the last look was, $4 how long ago
# "soon" is, $5 since when campaigns ended lately. A campaign that nobody has looked at before, as after an upgrade, is
# written where it ended, or began.
ROLL = f"""
WITH clock AS MATERIALIZED (SELECT fleetcast_now() AS now),
turn AS MATERIALIZED (SELECT id FROM campaigns WHERE id > $1 ORDER BY id LIMIT $2),
looked AS MATERIALIZED (
  SELECT id FROM campaigns WHERE status IN ('running', 'paused') UNION
  SELECT id FROM campaigns WHERE ended_at > (SELECT now FROM clock) - $5::interval UNION
  SELECT id FROM turn),
moved AS MATERIALIZED (
  SELECT c.id, c.workspace_id, m.campaign_id IS NULL AS is_new, coalesce(c.ended_at, c.started_at) AS known_from,
    {_each("t.{c}", _OF_CAMPAIGNS)}, {_each("t.{c} - coalesce(m.{c}, 0) AS more_{c}", _OF_CAMPAIGNS)}
  FROM looked JOIN campaigns c ON c.id = looked.id
  CROSS JOIN LATERAL (
    SELECT count(*) AS entries,
      {_each("coalesce(sum(n) FILTER (WHERE counter = '{c}'), 0)::bigint AS {c}", _OF_CAMPAIGNS)}
    FROM campaign_tallies WHERE campaign_id = c.id) t
  LEFT JOIN history_marks m ON m.campaign_id = c.id
  WHERE t.entries > 0 AND (m.campaign_id IS NULL OR
    ({_each("t.{c}", _OF_CAMPAIGNS)}) IS DISTINCT FROM ({_each("m.{c}", _OF_CAMPAIGNS)}))),
marked AS (
  INSERT INTO history_marks (campaign_id, {_each("{c}", _OF_CAMPAIGNS)})
  SELECT id, {_each("{c}", _OF_CAMPAIGNS)} FROM moved
  ON CONFLICT (campaign_id) DO UPDATE SET {_each("{c} = excluded.{c}", _OF_CAMPAIGNS)}),
single AS (DELETE FROM workspace_tallies RETURNING workspace_id, counter, n),
noted AS (
  SELECT workspace_id, CASE WHEN is_new THEN known_from END AS at, {_each("more_{c} AS {c}", _OF_CAMPAIGNS)},
    0::bigint AS replied, 0::bigint AS opted_out
  FROM moved
  UNION ALL
  SELECT workspace_id, NULL, {_each("coalesce(sum(n) FILTER (WHERE counter = '{c}'), 0)::bigint")}
  FROM single GROUP BY workspace_id),
written AS (
  INSERT INTO workspace_history AS h (workspace_id, slot, {_each("{c}")})
  SELECT workspace_id, date_bin('15 minutes', least(coalesce(at,
      CASE WHEN $3::timestamptz > clock.now - $4::interval THEN $3::timestamptz ELSE clock.now END), clock.now),
    '2000-01-01 00:00+00'), {_each("sum({c})")}
  FROM noted, clock GROUP BY 1, 2
  HAVING ({_each("sum({c})")}) IS DISTINCT FROM ({_each("0")})
  ON CONFLICT (workspace_id, slot) DO UPDATE SET {_each("{c} = h.{c} + excluded.{c}")}),
noticed AS (UPDATE history_looks SET looked_at = clock.now FROM clock)
SELECT clock.now, (SELECT CASE WHEN count(*) = $2 THEN max(id) ELSE 0 END FROM turn) AS last FROM clock"""

# $2 when each period begins and, at last, when the last one ends.
PERIODS = f"""
SELECT width_bucket(slot, $2::timestamptz[]) AS period, {_each("sum({c})::bigint AS {c}")}
FROM workspace_history
WHERE workspace_id = $1 AND slot >= ($2::timestamptz[])[1] AND slot < ($2::timestamptz[])[cardinality($2)]
GROUP BY 1"""

NOTE = "INSERT INTO workspace_tallies (workspace_id, counter, n) VALUES ($1, $2, $3)"


@dataclass(frozen=True, slots=True)
class Look:
    """One look of the historian."""

    at: datetime
    last: int
    """The last campaign that had its turn; 0: the next turn begins with the first."""


async def roll(connection: Connection, after: int, many: int) -> Look | None:
    """Add what is new since the last look; None while another scheduler is at it.

    In a transaction of its own, with keyed plans. Of the campaigns that are long over, `many` behind `after` have their
    turn.
    """
    row = await connection.fetchrow(LOCK)
    if row is None:
        return None
    # A statement of its own, so that it sees all that was committed by whoever held the row before.
    done = await connection.fetchrow(ROLL, after, many, row["looked_at"], SOON, RECENT)
    assert done is not None
    return Look(done["now"], done["last"])


async def note(connection: Connection, workspace_id: WorkspaceId, counter: str, n: int) -> None:
    """Something happened that no campaign counts: `replied`, `opted_out`. It waits for the next look."""
    await connection.execute(NOTE, workspace_id, counter, n)


async def periods(connection: Connection, workspace_id: WorkspaceId, begins: Sequence[datetime]) -> list[Counts]:
    """What happened in each period. The last of `begins` is when the last period ends."""
    found = [Counts()] * (len(begins) - 1)
    for row in await connection.fetch(PERIODS, workspace_id, begins):
        found[row["period"] - 1] = Counts(*row[1:])
    return found


async def looked_at(connection: Connection) -> datetime | None:
    """Up to when the history tells; None before the first look."""
    at: datetime | None = await connection.fetchval("SELECT nullif(looked_at, '-infinity') FROM history_looks")
    return at
