"""Which numbers messages of a span of time can have. There is no index on time: every message would pay for it.

Numbers grow as messages are made, so two of them bound a span, and each is found by halving over the primary key. What
a row says of time is only a bound: a campaign's row carries the campaign's start as its time and may be made long after
it. So a number is taken as a bound only when the row there proves it; where rows prove little, the bounds are wide, and
the list still filters by the time itself.
"""

from datetime import datetime, timedelta

from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.store.connection import Connection

LAST_ID = 2**63 - 1
SLACK = timedelta(minutes=10)
"""Statements that run side by side take numbers in another order than that of their times, by less than this."""
CLOSE_ENOUGH = 1_000
"""Numbers that a bound may be off: so many rows are read in a moment."""

# `made_before`: by then the row was there; NULL where nothing has happened to it.
_AT = """
SELECT id, created_at AS made_after,
  CASE WHEN campaign_id IS NULL THEN created_at ELSE least(queued_at, claimed_at, ended_at) END AS made_before
FROM broadcast_messages WHERE id >= $1 ORDER BY id LIMIT 1"""
_LAST = "SELECT coalesce(max(id), 0) FROM broadcast_messages"

# Rows of a campaign may be made until it has ended.
_MADE_UNTIL = """
SELECT bool_or(ended_at IS NULL) AS open, max(ended_at) AS ended_at FROM campaigns
WHERE workspace_id = $1 AND ($2::timestamptz IS NULL OR started_at >= $2)
  AND ($3::timestamptz IS NULL OR started_at < $3)"""


async def last(connection: Connection) -> int:
    """The highest number that a message has; 0 when there is none."""
    found: int = await connection.fetchval(_LAST)
    return found


async def bounds(
    connection: Connection, workspace_id: WorkspaceId, since: datetime | None, until: datetime | None
) -> tuple[int, int]:
    """(low, high): every message of the workspace whose time is in [since, until) has a number between them."""
    low, high = 0, LAST_ID
    if since is None and until is None:
        return low, high
    top = await last(connection)
    if since is not None:
        low = await _last_made_before(connection, since - SLACK, top)
    if until is not None:
        row = await connection.fetchrow(_MADE_UNTIL, workspace_id, since, until)
        assert row is not None
        if not row["open"]:
            ended = row["ended_at"]
            high = await _first_made_after(connection, max(until, ended or until) + SLACK, top)
    return low, high


async def _last_made_before(connection: Connection, at: datetime, top: int) -> int:
    """A number below which every message was there at that time."""
    low, high = 0, top + 1
    while high - low > CLOSE_ENOUGH:
        middle = (low + high) // 2
        row = await connection.fetchrow(_AT, middle)
        if row is not None and row["id"] < high and row["made_before"] is not None and row["made_before"] <= at:
            low = row["id"]
        else:
            high = middle
    return low


async def _first_made_after(connection: Connection, at: datetime, top: int) -> int:
    """A number from which on no message was there at that time."""
    low, high = 0, top + 1
    proven = LAST_ID
    while high - low > CLOSE_ENOUGH:
        middle = (low + high) // 2
        row = await connection.fetchrow(_AT, middle)
        if row is None or row["id"] >= high:
            high = middle  # no row in between
        elif row["made_after"] >= at:
            proven, high = row["id"], middle
        else:
            low = row["id"] + 1
    return proven
