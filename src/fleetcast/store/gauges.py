"""What the whole installation measures: read once a scrape, cheap with ten million messages stored.

No message is counted: sums come from the campaigns' tallies, ages from the fronts of small partial indexes. Separate
from `health`, which a person asks for now and then and may cost more.
"""

from dataclasses import dataclass

import asyncpg

from fleetcast.store.audience import KEYED
from fleetcast.store.connection import Connection
from fleetcast.store.transition_statements import HELD

DEVICES_LOOKED_AT = 10_000
"""Ready devices whose queues are looked at for the age, each with one probe for each running campaign."""
LOOK_SECONDS = 2
"""A look at the queues that takes longer is given up."""

OPEN = """
SELECT counter, sum(n)::bigint AS n FROM campaign_tallies
WHERE counter IN ('pending', 'queued', 'sending', 'in_doubt') GROUP BY counter"""

REST = """
SELECT
  (SELECT coalesce(extract(epoch FROM fleetcast_now() - min(in_doubt_since)), 0)::float8
   FROM broadcast_messages WHERE in_doubt_since IS NOT NULL) AS in_doubt_age,
  (SELECT count(*) FROM shards WHERE owner IS NULL OR expires_at <= fleetcast_now()) AS shards_unowned,
  i.n AS inbox_waiting, coalesce(extract(epoch FROM fleetcast_now() - i.oldest), 0)::float8 AS inbox_age
FROM (SELECT count(*) AS n, min(received_at) AS oldest FROM inbox WHERE processed_at IS NULL) i"""

LEASES = """
SELECT owner, count(*) AS n FROM shards WHERE owner IS NOT NULL AND expires_at > fleetcast_now() GROUP BY owner"""

# One probe for each queue of a device finds the row in front. A device that has just sent, or just come back, has not
# kept it waiting: what counts is how long the row in front has been waiting for nothing but its device, and what waits
# for the end of a doubt does not. `campaign_id` is in the order for the planner, which does not know that IS NULL
# leaves only one.
_FRONT = (
    f"AND p.is_open AND p.status IN ('pending', 'queued') AND NOT ({HELD.format(m='p')}) "
    "ORDER BY p.campaign_id, p.priority, p.not_before, p.id LIMIT 1"
)
QUEUE_AGE = f"""
WITH clock AS MATERIALIZED (SELECT fleetcast_now() AS now)
SELECT coalesce(
  max(extract(epoch FROM clock.now - greatest(front.not_before, d.last_send_at, d.state_since))), 0)::float8
FROM clock
CROSS JOIN (
  SELECT id, workspace_id, transport, last_send_at, state_since FROM devices WHERE is_ready ORDER BY id LIMIT $1) d
CROSS JOIN LATERAL (
  (SELECT p.not_before FROM broadcast_messages p WHERE p.device_id = d.id AND p.campaign_id IS NULL {_FRONT})
  UNION ALL
  (SELECT r.not_before FROM campaigns c CROSS JOIN LATERAL (
     SELECT p.not_before FROM broadcast_messages p WHERE p.device_id = d.id AND p.campaign_id = c.id {_FRONT}) r
   WHERE c.workspace_id = d.workspace_id AND c.status = 'running')) front
WHERE front.not_before <= clock.now"""


@dataclass(frozen=True, slots=True)
class Gauges:
    """One reading. Ages in seconds; 0 where there is nothing that could be old."""

    open: dict[str, int]
    """Messages by status, of those statuses that something still follows on."""
    in_doubt_age: float
    """Of the message that has been in doubt for longest."""
    shards_unowned: int
    leases: dict[str, int]
    """Shards by the name of the sender that holds them."""
    inbox_waiting: int
    inbox_age: float
    """Of the event that has waited for its message for longest."""
    # How many senders are wanted belongs here, beside the leases.


async def look(connection: Connection) -> Gauges:
    """Everything but the age of the queue."""
    counted = {row["counter"]: row["n"] for row in await connection.fetch(OPEN)}
    rest = await connection.fetchrow(REST)
    assert rest is not None
    return Gauges(
        open={status: counted.get(status, 0) for status in ("pending", "queued", "sending", "in_doubt")},
        leases={row["owner"]: row["n"] for row in await connection.fetch(LEASES)},
        **dict(rest),
    )


async def queue_age(connection: Connection) -> float | None:
    """How long the row in front of a queue has been waiting at most, in seconds, whatever else the device could do:
    since it was due, its device's last message ended, or the device became ready, whichever came last. At real pacing
    that is at most the longest delay. 0: nothing waits. None: it took too long to find out.

    Needs a transaction of its own.
    """
    await connection.execute(f"{KEYED}; SET LOCAL statement_timeout = '{LOOK_SECONDS}s'")
    try:
        age: float = await connection.fetchval(QUEUE_AGE, DEVICES_LOOKED_AT)
    except asyncpg.QueryCanceledError:
        return None
    return age
