"""An audience seen through a few thousand of the workspace's leads: quick enough to be asked while somebody types.

The range of the workspace's lead numbers is cut into equal strata and the first leads of each are read by the index of
the walk, so the cost does not grow with the leads. What comes out are shares, of leads as they lie in that range; how
many leads there are is another question, and has an exact answer (`leads_by_device`). What counts as addressed,
suppressed or lacking is `audience`'s own text: a sample must not have rules of its own.
"""

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import asyncpg

from fleetcast.domain.identifiers import CampaignId, DeviceId, LeadId, WorkspaceId
from fleetcast.errors import Unavailable
from fleetcast.store.audience import ADDRESSED, SUPPRESSED, WRITABLE, Audience, lacks
from fleetcast.store.connection import Connection

STRATA, RUN = 256, 8
"""Parts of the range, and leads that are read of each."""
QUICK = timedelta(milliseconds=1_500)
"""Past this a look is given up: nobody who types waits for longer."""

_WALKED = """
span AS (SELECT (SELECT id FROM leads WHERE workspace_id = $1 ORDER BY id LIMIT 1) AS low,
  (SELECT id FROM leads WHERE workspace_id = $1 ORDER BY id DESC LIMIT 1) AS high),
strata AS (SELECT n, low + (high - low + 1) * n / {strata} AS start, low + (high - low + 1) * (n + 1) / {strata} AS stop
  FROM span, generate_series(0, {strata} - 1) n),
walked AS MATERIALIZED (SELECT s.n, s.start, s.stop, l.* FROM strata s CROSS JOIN LATERAL (
  SELECT * FROM leads x WHERE x.workspace_id = $1 AND x.id >= s.start AND x.id < s.stop ORDER BY x.id LIMIT {run}) l),
weights AS MATERIALIZED (SELECT n, CASE WHEN count(*) < {run} OR max(id) = max(stop) - 1 THEN 1.0
  ELSE (max(stop) - max(start))::float8 / (max(id) - max(start) + 1) END AS weight FROM walked GROUP BY n)"""

# A person who is several leads counts once, a part with each of them.
_SAMPLE = f"""
WITH {_WALKED.format(strata=STRATA, run=RUN)},
seen AS MATERIALIZED (
  SELECT w.weight, l.id, l.device_id, l.consent = 'refused' AS refused, {SUPPRESSED} AS suppressed, l.time_zone,
    CASE WHEN l.shared THEN 1.0 / (SELECT count(*) FROM leads o
      WHERE o.workspace_id = l.workspace_id AND o.phone = l.phone AND o.deleted_at IS NULL) ELSE 1.0 END AS part,
    cardinality($7::text[]) > 0 AND {lacks("$7::text[]")} AS lacking
  FROM walked l JOIN weights w USING (n), devices d WHERE {ADDRESSED}),
reached AS MATERIALIZED (SELECT * FROM seen WHERE NOT (refused OR suppressed))
SELECT (SELECT coalesce(sum(weight), 0)::float8 FROM walked JOIN weights USING (n)) AS every,
  coalesce(sum(weight), 0)::float8 AS leads,
  (SELECT coalesce(sum(weight * part), 0)::float8 FROM reached) AS recipients,
  coalesce(sum(weight * part) FILTER (WHERE suppressed), 0)::float8 AS suppressed,
  coalesce(sum(weight * part) FILTER (WHERE refused AND NOT suppressed), 0)::float8 AS refused,
  (SELECT coalesce(sum(weight * part), 0)::float8 FROM reached WHERE lacking) AS lacking,
  (SELECT coalesce(jsonb_object_agg(zone, n), '{{}}') FROM (
    SELECT coalesce(time_zone, '') AS zone, sum(weight * part)::float8 AS n FROM reached
    GROUP BY 1 ORDER BY 2 DESC LIMIT 50) z) AS zones,
  (SELECT coalesce(jsonb_object_agg(device_id, n), '{{}}') FROM (
    SELECT device_id, count(*) AS n FROM walked GROUP BY 1) d) AS looked_at,
  (SELECT coalesce(jsonb_object_agg(device_id, n), '{{}}') FROM (
    SELECT device_id, sum(part)::float8 AS n FROM reached GROUP BY 1) d) AS hits,
  ARRAY(SELECT id FROM reached ORDER BY lacking, id LIMIT 100) AS readers
FROM seen"""

_MANY = "SELECT count(*) > $2 FROM (SELECT FROM leads WHERE workspace_id = $1 LIMIT $2 + 1) l"

_NICHES = f"""
WITH {_WALKED.format(strata=512, run=4)}
SELECT niche, sum(weight)::float8 AS n FROM walked JOIN weights USING (n), unnest(niches) niche
WHERE deleted_at IS NULL GROUP BY niche ORDER BY n DESC, niche LIMIT $2"""

# Without the inner OFFSET the planner would walk all leads in the order of their numbers until one of few matches.
_NEXT = f"""SELECT min(id) FROM (
  SELECT l.id FROM leads l, devices d WHERE {ADDRESSED} AND {WRITABLE} AND l.id > $7 OFFSET 0) found"""

_NEXT_RECIPIENT = """
SELECT m.lead_id FROM broadcast_messages m
WHERE m.workspace_id = $1 AND m.lead_id IS NOT NULL AND m.dedupe_key < 'c:' || $2::bigint || ';'
  AND m.dedupe_key > 'c:' || $2::bigint || ':' || coalesce(
    (SELECT l.phone FROM leads l WHERE l.workspace_id = $1 AND l.id = $3), '')
ORDER BY m.dedupe_key LIMIT 1"""

_MARK = """
SELECT coalesce((SELECT id FROM leads WHERE workspace_id = $1 ORDER BY id DESC LIMIT 1), 0)::bigint,
  count(*) FILTER (WHERE deleted_at IS NULL), coalesce(sum(leads_version), 0)::bigint
FROM devices WHERE workspace_id = $1"""

_OWN_COUNTS = """
SELECT device_id, count(*) AS n FROM leads WHERE workspace_id = $1 GROUP BY device_id"""


@dataclass(frozen=True, slots=True)
class Sample:
    """An audience as the sample has it: only how the figures stand to each other means something."""

    every: float
    """Leads of the workspace."""
    leads: float
    """Of them, those that match."""
    recipients: float
    """People, as all that follows."""
    suppressed: float
    refused: float
    lacking: float
    zones: Mapping[str, float]
    """Recipients by their time zone, '' where it is not known."""
    looked_at: Mapping[DeviceId, float]
    """Leads of each device that were read."""
    hits: Mapping[DeviceId, float]
    """Recipients among them."""
    readers: Sequence[LeadId]
    """Some recipients, by number, those first who lack nothing."""


class Sender(NamedTuple):
    """A device as an estimate sees it."""

    id: DeviceId
    name: str
    gap: float
    """Seconds between two of its messages, on average."""
    is_ready: bool
    """It can send now."""


class LeadsMark(NamedTuple):
    """Where the leads of a workspace stand, read without looking at them. One that is the same means no change."""

    newest_lead: int
    """Its number; numbers of other workspaces lie between."""
    devices: int
    changes: int
    """Grows with every change of a lead."""


async def be_quick(connection: Connection) -> None:
    """Bound what the transaction asks, and plan each question for what it names."""
    await connection.execute(
        f"SET LOCAL statement_timeout = '{QUICK // timedelta(milliseconds=1)}ms'; "
        "SET LOCAL plan_cache_mode = 'force_custom_plan'; SET LOCAL jit = 'off'"
    )


@contextlib.asynccontextmanager
async def in_time(connection: Connection) -> AsyncIterator[None]:
    """Ask quickly, or give up and let the transaction go on. Raises Unavailable."""
    try:
        async with connection.transaction():
            await be_quick(connection)
            yield
    except asyncpg.QueryCanceledError:
        raise Unavailable("Counting took too long: try again when there is less to do.") from None


async def sample(
    connection: Connection, workspace_id: WorkspaceId, audience: Audience, required: Sequence[str]
) -> Sample:
    """Look at an audience. `required`: variables that the text cannot do without."""
    row = await connection.fetchrow(_SAMPLE, workspace_id, *audience.arguments(), list(required))
    assert row is not None
    facts = dict(row)
    for name in ("looked_at", "hits"):
        facts[name] = {DeviceId(int(device)): n for device, n in facts[name].items()}
    return Sample(**facts)


async def has_more_leads_than(connection: Connection, workspace_id: WorkspaceId, few: int) -> bool:
    """Whether the workspace has more leads than that, removed ones included."""
    found: bool = await connection.fetchval(_MANY, workspace_id, few)
    return found


async def niches(connection: Connection, workspace_id: WorkspaceId, limit: int) -> list[str]:
    """Niches that leads have, the most frequent first; one that few have may not be among them."""
    return [row["niche"] for row in await connection.fetch(_NICHES, workspace_id, limit)]


async def next_of_few(
    connection: Connection, workspace_id: WorkspaceId, audience: Audience, after: int
) -> LeadId | None:
    """The first with an id above `after` who may be written to, of an audience that an index finds or that is small;
    None where there is none, or it takes too long.
    """
    try:
        async with connection.transaction():
            found: int | None = await connection.fetchval(_NEXT, workspace_id, *audience.arguments(), after)
    except asyncpg.QueryCanceledError:
        return None
    return None if found is None else LeadId(found)


async def next_recipient(
    connection: Connection, workspace_id: WorkspaceId, campaign_id: CampaignId, after: int
) -> LeadId | None:
    """The lead of a campaign's first message, or of the next one after that of the lead `after`, by phone."""
    found: int | None = await connection.fetchval(_NEXT_RECIPIENT, workspace_id, campaign_id, after)
    return None if found is None else LeadId(found)


async def senders(connection: Connection, workspace_id: WorkspaceId) -> list[Sender]:
    """Every device of the workspace, and no more of it than an estimate needs: thousands are read at each look."""
    rows = await connection.fetch(
        "SELECT id, name, (min_delay + max_delay) / 2.0::float8 AS gap, is_ready FROM devices "
        "WHERE workspace_id = $1 AND deleted_at IS NULL",
        workspace_id,
    )
    return [Sender(*row) for row in rows]


async def leads_mark(connection: Connection, workspace_id: WorkspaceId) -> LeadsMark:
    """Where the leads of the workspace stand."""
    row = await connection.fetchrow(_MARK, workspace_id)
    assert row is not None
    return LeadsMark(*row)


async def leads_by_device(connection: Connection, workspace_id: WorkspaceId) -> dict[DeviceId, int]:
    """How many leads each device has, removed ones included: read from an index alone, and as long as that takes."""
    rows = await connection.fetch(_OWN_COUNTS, workspace_id)
    return {DeviceId(r["device_id"]): r["n"] for r in rows}
