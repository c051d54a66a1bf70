"""What happened between a workspace and one person, each kind of it newest first and no further than a page goes.

Separate from the tables it reads, each of which is asked through its own index: messages by their keys, replies by
their sender, enrolments by their person, decisions by their subject.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from fleetcast.domain.identifiers import LeadId, Phone, WorkspaceId
from fleetcast.store.connection import Connection, Row


class Happened(NamedTuple):
    """One thing that happened."""

    at: datetime
    kind: str
    """message, reply, enrolled, ended, decided, changed or imported."""
    facts: Mapping[str, Any]


# A look-up per campaign, and the single sends and the steps of each enrolment, whose keys lie side by side.
_MESSAGES = """
SELECT coalesce(b.sent_at, b.ended_at, b.created_at) AS at, b.id, b.status::text, b.delivery::text, b.reason,
  b.campaign_id, c.title AS campaign, b.sequence_id, q.name AS sequence, b.device_id,
  d.name AS device, b.delivered_at, b.read_at
FROM (
  SELECT m.id FROM campaigns o JOIN broadcast_messages m ON m.dedupe_key = 'c:' || o.id || ':' || $2
  WHERE o.workspace_id = $1
  UNION ALL
  SELECT m.id FROM broadcast_messages m
  WHERE m.dedupe_key > 'm:' || $1::bigint || ':' || $2 || ':' AND m.dedupe_key < 'm:' || $1::bigint || ':' || $2 || ';'
  UNION ALL
  SELECT m.id FROM enrolments e JOIN broadcast_messages m
    ON m.dedupe_key > 's:' || e.id || ':' AND m.dedupe_key < 's:' || e.id || ';'
  WHERE e.workspace_id = $1 AND e.recipient = $2
) theirs JOIN broadcast_messages b ON b.id = theirs.id JOIN devices d ON d.id = b.device_id
  LEFT JOIN campaigns c ON c.id = b.campaign_id LEFT JOIN sequences q ON q.id = b.sequence_id
WHERE b.workspace_id = $1 AND coalesce(b.sent_at, b.ended_at, b.created_at) < $3 ORDER BY 1 DESC LIMIT $4"""

_REPLIES = """
SELECT i.occurred_at AS at, i.body, i.effect, i.device_id, d.name AS device
FROM inbox i JOIN devices d ON d.id = i.device_id
WHERE i.workspace_id = $1 AND i.sender = $2 AND i.kind = 'reply' AND i.occurred_at < $3 ORDER BY i.id DESC LIMIT $4"""

_ENROLLED = """
SELECT e.enrolled_at AS at, e.id, q.name AS sequence, e.source
FROM enrolments e JOIN sequences q ON q.id = e.sequence_id
WHERE e.workspace_id = $1 AND e.recipient = $2 AND e.enrolled_at < $3 ORDER BY e.enrolled_at DESC LIMIT $4"""

_ENDED = """
SELECT e.ended_at AS at, e.id, q.name AS sequence, e.state::text, e.stop_reason
FROM enrolments e JOIN sequences q ON q.id = e.sequence_id
WHERE e.workspace_id = $1 AND e.recipient = $2 AND e.ended_at < $3 ORDER BY e.ended_at DESC LIMIT $4"""

_DECIDED = """
SELECT at, actor, action, before, after FROM audit
WHERE workspace_id = $1 AND subject = $2 AND starts_with(action, 'lead.') AND at < $3 ORDER BY id DESC LIMIT $4"""

_CHANGED = """
SELECT e.started_at AS at, e.id, e.actor, e.action, e.value, c.was FROM bulk_edits e JOIN bulk_edit_changes c
  ON c.edit_id = e.id AND c.lead_id = $2 AND c.device_id = (SELECT device_id FROM leads WHERE id = $2)
WHERE e.workspace_id = $1 AND e.started_at < $3 ORDER BY e.id DESC LIMIT $4"""

# The import that was under way when the lead came, while its report is kept.
_CAME = """
SELECT l.created_at AS at, i.id, i.filename, i.actor FROM leads l LEFT JOIN LATERAL (
  SELECT i.id, i.filename, i.actor FROM lead_imports i
  WHERE i.workspace_id = l.workspace_id AND i.device_id = l.device_id AND i.status = 'done'
    AND i.started_at <= l.created_at AND i.finished_at >= l.created_at
  ORDER BY i.id LIMIT 1) i ON true
WHERE l.workspace_id = $1 AND l.id = $2 AND l.created_at < $3 LIMIT $4"""


def _happened(kind: str, row: Row) -> Happened:
    facts = dict(row)
    return Happened(facts.pop("at"), kind, facts)


async def of_person(
    connection: Connection,
    workspace_id: WorkspaceId,
    lead_id: LeadId,
    phone: Phone,
    subject: str,
    *,
    before: datetime,
    limit: int,
) -> list[Happened]:
    """What happened before an instant, newest first. `subject`: how the log of decisions names the lead."""
    found: list[Happened] = []
    for kind, statement, whom in (
        ("message", _MESSAGES, phone),
        ("reply", _REPLIES, phone),
        ("enrolled", _ENROLLED, phone),
        ("ended", _ENDED, phone),
        ("decided", _DECIDED, subject),
        ("changed", _CHANGED, lead_id),
        ("imported", _CAME, lead_id),
    ):
        rows = await connection.fetch(statement, workspace_id, whom, before, limit)
        found += [_happened(kind, row) for row in rows]
    found.sort(key=lambda each: each.at, reverse=True)
    return found
