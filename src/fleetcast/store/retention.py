"""What is deleted when its time is over: messages of campaigns, sequences and single sends that ended long ago, events,
imports.

Deleting is done in chunks, each a short transaction of its own, so that it stalls nobody; whatever was interrupted goes
on by itself. A campaign keeps its row and its counts. It is marked before its first row goes, in the same statement
that checks that it has ended: from then on nothing can be retried, and its rows no longer have to add up.
"""

from datetime import timedelta
from typing import NamedTuple

from fleetcast.domain.identifiers import CampaignId
from fleetcast.store.connection import Connection

CHUNK = 2_000
"""Rows looked at in one transaction."""

_MARK = """
UPDATE campaigns SET retiring_at = fleetcast_now() WHERE id IN (
  SELECT id FROM campaigns WHERE status IN ('finished', 'cancelled') AND retiring_at IS NULL
    AND ended_at < fleetcast_now() - $1::interval ORDER BY id FOR UPDATE SKIP LOCKED)"""
_MARKED = "SELECT id FROM campaigns WHERE retiring_at IS NOT NULL AND retired_at IS NULL ORDER BY id"
_DONE = "UPDATE campaigns SET retired_at = fleetcast_now() WHERE id = $1"

# In the order of the keys, and each chunk begins behind the one before: entries of rows that are gone stay in the
# index until they are vacuumed, and are not walked over again.
_MESSAGES = """
WITH looked AS MATERIALIZED (
  SELECT b.id, b.dedupe_key FROM broadcast_messages b
  WHERE b.dedupe_key > $2 AND b.dedupe_key < 'c:' || $1::bigint || ';'
  ORDER BY b.dedupe_key LIMIT $3),
gone AS (DELETE FROM broadcast_messages b USING looked WHERE b.id = looked.id AND NOT b.is_open RETURNING b.id),
attempts AS (DELETE FROM message_attempts a USING gone WHERE a.message_id = gone.id)
SELECT count(*) AS seen, max(dedupe_key) AS last, (SELECT count(*) FROM gone) AS gone FROM looked"""

# Numbers grow with time, so the walk ends at the first message that is young enough to stay. Those of sequences go the
# same way. What a single send says is nobody else's and goes with it.
_SINGLE = """
WITH past AS MATERIALIZED (SELECT fleetcast_now() - $1::interval AS at),
looked AS MATERIALIZED (
  SELECT b.id, b.created_at < past.at AS old,
    b.sequence_id IS NOT NULL OR b.dedupe_key >= 'm:' AND b.dedupe_key < 'm;' AS single,
    NOT b.is_open AND greatest(b.created_at, b.sent_at, b.ended_at) < past.at AS over
  FROM past, broadcast_messages b WHERE b.id > $2 ORDER BY b.id LIMIT $3),
gone AS (
  DELETE FROM broadcast_messages b USING looked
  WHERE b.id = looked.id AND looked.single AND looked.over AND NOT b.is_open
  RETURNING b.id, b.workspace_id, b.content_id, b.sequence_id),
attempts AS (DELETE FROM message_attempts a USING gone WHERE a.message_id = gone.id),
texts AS (
  DELETE FROM contents t USING gone WHERE t.id = gone.content_id AND gone.sequence_id IS NULL AND NOT EXISTS (
    SELECT 1 FROM campaigns c WHERE c.workspace_id = gone.workspace_id AND c.content_id = t.id))
SELECT count(*) FILTER (WHERE old) AS seen, max(id) AS last, (SELECT count(*) FROM gone) AS gone,
  min(id) FILTER (WHERE single AND NOT EXISTS (SELECT 1 FROM gone WHERE gone.id = looked.id)) AS kept
FROM looked"""

# Ids of the inbox grow with time, so the walk ends at the first event that is young enough to stay.
_INBOX = """
WITH looked AS MATERIALIZED (
  SELECT i.id, i.received_at < fleetcast_now() - $1::interval AS old, i.processed_at IS NOT NULL AS processed
  FROM inbox i WHERE i.id > $2 ORDER BY i.id LIMIT $3),
gone AS (DELETE FROM inbox i USING looked WHERE i.id = looked.id AND looked.old AND looked.processed RETURNING i.id)
SELECT count(*) FILTER (WHERE old) AS seen, max(id) AS last, (SELECT count(*) FROM gone) AS gone FROM looked"""

_IMPORTS = "DELETE FROM lead_imports WHERE finished_at < fleetcast_now() - $1::interval"


async def mark_campaigns(connection: Connection, keep: timedelta) -> None:
    """Mark the campaigns that ended longer ago than `keep`: their messages go from now on."""
    await connection.execute(_MARK, keep)


async def marked_campaigns(connection: Connection) -> list[CampaignId]:
    """Campaigns that are marked and may still have messages."""
    return [CampaignId(row["id"]) for row in await connection.fetch(_MARKED)]


async def delete_messages(connection: Connection, campaign_id: CampaignId, after: str | None) -> tuple[int, str | None]:
    """Delete the next messages of a marked campaign, with their attempts: how many, and where to go on.

    None: these were the last, and the campaign is done.
    """
    row = await connection.fetchrow(_MESSAGES, campaign_id, after or f"c:{campaign_id}:", CHUNK)
    assert row is not None
    if row["seen"] == CHUNK:
        return row["gone"], row["last"]
    await connection.execute(_DONE, campaign_id)
    return row["gone"], None


class SingleChunk(NamedTuple):
    """One step of the walk over single sends."""

    gone: int
    following: int | None
    """Where to go on; None: what follows is young enough to stay."""
    kept: int | None
    """The first single send that stays for now."""


async def delete_single(connection: Connection, keep: timedelta, after: int) -> SingleChunk:
    """Delete the next single sends that ended longer ago than `keep`, with their attempts and texts."""
    row = await connection.fetchrow(_SINGLE, keep, after, CHUNK)
    assert row is not None
    return SingleChunk(row["gone"], row["last"] if row["seen"] == CHUNK else None, row["kept"])


async def delete_events(connection: Connection, keep: timedelta, after: int) -> tuple[int, int | None]:
    """Delete the next events received longer ago than `keep` and dealt with: how many, and where to go on."""
    row = await connection.fetchrow(_INBOX, keep, after, CHUNK)
    assert row is not None
    return row["gone"], row["last"] if row["seen"] == CHUNK else None


async def delete_imports(connection: Connection, keep: timedelta) -> None:
    """Delete the reports of imports that ended longer ago than `keep`."""
    await connection.execute(_IMPORTS, keep)
