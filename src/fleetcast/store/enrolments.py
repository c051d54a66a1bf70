"""People in sequences: who is where, and how somebody comes to be there no more.

A stop changes the enrolment's row and nothing else: from its commit on no claim finds the message that may wait (T1 and
T2 ask for the enrolment), and the sequencer ends that message. What is due is in `sequencing`, who comes in in
`enrolling`. What people are counted by is written by triggers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from fleetcast.domain.identifiers import (
    DeviceId,
    EnrolmentId,
    LeadId,
    MessageId,
    Phone,
    SequenceId,
    StepId,
    WorkspaceId,
)
from fleetcast.domain.sequence import EnrolmentSource, EnrolmentState, StopReason
from fleetcast.store.connection import Connection, Row
from fleetcast.store.transition_statements import CLOCK


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One person in a sequence."""

    id: EnrolmentId
    sequence_id: SequenceId
    lead_id: LeadId
    device_id: DeviceId
    phone: Phone
    name: str
    state: EnrolmentState
    stop_reason: StopReason | None
    source: EnrolmentSource
    step_id: StepId | None
    """The step that is due, under way or to come; of somebody who is through, the last one."""
    done_step_id: StepId | None
    """The last step that ended."""
    message_id: MessageId | None
    """Of the step that is under way."""
    enrolled_at: datetime
    anchor: date
    """Day 0."""
    moment: datetime | None
    """When the step is due by the person's clock."""
    due_at: datetime | None
    """When something is to be done next; None: a message is under way, or all is over."""
    done_at: datetime | None
    replied_at: datetime | None
    ended_at: datetime | None
    time_zone: str | None
    """The person's own; None: the workspace's."""


_SELECT = """
SELECT e.id, e.sequence_id, e.lead_id, e.device_id, e.recipient AS phone, l.name, e.state::text, e.stop_reason,
  e.source, e.step_id, e.done_step_id, e.message_id, e.enrolled_at, e.anchor, e.moment, e.due_at, e.done_at,
  e.replied_at, e.ended_at, l.time_zone
FROM enrolments e JOIN leads l ON l.id = e.lead_id"""


def _enrolment(row: Row) -> Enrolment:
    facts = dict(row)
    facts["state"], facts["source"] = EnrolmentState(row["state"]), EnrolmentSource(row["source"])
    facts["stop_reason"] = None if row["stop_reason"] is None else StopReason(row["stop_reason"])
    return Enrolment(**facts)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which enrolments a list shows; None: any."""

    state: EnrolmentState | None = None
    device_id: DeviceId | None = None
    step_id: StepId | None = None
    """At this step; of those who are through or stopped, the last that they had."""
    stop_reason: StopReason | None = None


LOOK = 2_000
"""Enrolments of each state that a page with a further filter looks at."""

# Each state lies in the order of the numbers; so does each part of a page of all three. $4 the lowest number that is
# looked at.
_PAGE = f"""
WITH found AS MATERIALIZED (
  SELECT x.id FROM unnest(enum_range(NULL::enrolment_state)) AS k (state) CROSS JOIN LATERAL (
    SELECT p.id FROM enrolments p WHERE p.sequence_id = $2 AND p.state = k.state AND p.id < $3 AND p.id >= $4
      AND ($7::bigint IS NULL OR p.device_id = $7) AND ($9::text IS NULL OR p.stop_reason = $9)
      AND ($8::bigint IS NULL OR CASE WHEN p.state = 'active' THEN p.step_id ELSE p.done_step_id END = $8)
    ORDER BY p.id DESC LIMIT $5) x
  WHERE $6::text IS NULL OR k.state = $6::text::enrolment_state)
{_SELECT} JOIN found ON found.id = e.id WHERE e.workspace_id = $1 ORDER BY e.id DESC LIMIT $5"""

_FLOOR = """
SELECT max(low) FROM unnest(enum_range(NULL::enrolment_state)) AS k (state) CROSS JOIN LATERAL (
  SELECT min(id) AS low FROM (
    SELECT p.id FROM enrolments p WHERE p.sequence_id = $1 AND p.state = k.state AND p.id < $2
    ORDER BY p.id DESC LIMIT $4) x HAVING count(*) = $4) z
WHERE $3::text IS NULL OR k.state = $3::text::enrolment_state"""

_OF_PERSON = f"""{_SELECT} WHERE e.workspace_id = $1 AND e.recipient = $2 AND e.id < $3 ORDER BY e.id DESC LIMIT $4"""


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of enrolments."""

    enrolments: list[Enrolment]
    reached: int | None
    """Where looking for them ended although there may be more; None: it did not, or there was no room for more."""


async def page(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, wanted: Wanted, before: int, limit: int
) -> Listed:
    """A sequence's enrolments, newest first, those with an id below `before`. With a filter besides the state a page
    looks at so many, and says where it stopped.
    """
    floor = None
    if (wanted.device_id, wanted.step_id, wanted.stop_reason) != (None, None, None):
        floor = await connection.fetchval(_FLOOR, sequence_id, before, wanted.state, LOOK)
    rows = await connection.fetch(
        _PAGE,
        workspace_id,
        sequence_id,
        before,
        floor or 0,
        limit,
        wanted.state,
        wanted.device_id,
        wanted.step_id,
        wanted.stop_reason,
    )
    return Listed([_enrolment(r) for r in rows], floor if len(rows) < limit else None)


async def of_person(
    connection: Connection, workspace_id: WorkspaceId, phone: Phone, before: int, limit: int
) -> list[Enrolment]:
    """All that one person was and is enrolled in, newest first."""
    return [_enrolment(r) for r in await connection.fetch(_OF_PERSON, workspace_id, phone, before, limit)]


async def get(connection: Connection, workspace_id: WorkspaceId, enrolment_id: EnrolmentId) -> Enrolment | None:
    """One enrolment of the workspace."""
    row = await connection.fetchrow(f"{_SELECT} WHERE e.workspace_id = $1 AND e.id = $2", workspace_id, enrolment_id)
    return _enrolment(row) if row else None


async def existing(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, ids: Sequence[EnrolmentId]
) -> set[EnrolmentId]:
    """Those of these enrolments that are of the sequence."""
    rows = await connection.fetch(
        "SELECT id FROM enrolments WHERE workspace_id = $1 AND sequence_id = $2 AND id = ANY ($3::bigint[])",
        workspace_id,
        sequence_id,
        ids,
    )
    return {EnrolmentId(r["id"]) for r in rows}


@dataclass(frozen=True, slots=True)
class StepMessage:
    """What became of one step for one person."""

    step_id: StepId
    message_id: MessageId
    status: str
    delivery: str
    reason: str | None
    created_at: datetime
    not_before: datetime
    sent_at: datetime | None
    ended_at: datetime | None


async def messages(
    connection: Connection, workspace_id: WorkspaceId, enrolment_id: EnrolmentId
) -> dict[StepId, StepMessage]:
    """The messages of an enrolment by step, as long as they are kept."""
    rows = await connection.fetch(
        """SELECT b.step_id, b.id AS message_id, b.status::text, b.delivery::text, b.reason, b.created_at, b.not_before,
          b.sent_at, b.ended_at
        FROM broadcast_messages b WHERE b.dedupe_key > 's:' || $2::bigint || ':' AND b.dedupe_key < 's:' || $2::bigint
          || ';' AND b.workspace_id = $1""",
        workspace_id,
        enrolment_id,
    )
    return {StepId(r["step_id"]): StepMessage(**dict(r)) for r in rows}


def _stop(which: str, reason: str) -> str:
    """Stop active enrolments, locked in the order of their ids. `which` joins and restricts `enrolments e`."""
    return f"""
WITH {CLOCK},
pick AS MATERIALIZED (
  SELECT e.id FROM {which} AND e.state = 'active' ORDER BY e.id FOR NO KEY UPDATE OF e),
moved AS (
  UPDATE enrolments e SET state = 'stopped', stop_reason = {reason}, ended_at = clock.now, due_at = NULL
  FROM pick, clock WHERE e.id = pick.id AND e.state = 'active' RETURNING e.id)
SELECT count(*) FROM moved"""


_STOP_PEOPLE = _stop("enrolments e WHERE e.workspace_id = $1 AND e.recipient = ANY ($2::text[])", "$3")
_STOP_LEADS = _stop(
    "enrolments e WHERE e.workspace_id = $1 AND e.recipient = ANY ($2::text[]) AND e.lead_id = ANY ($4::bigint[])", "$3"
)
_STOP_SOME = _stop("enrolments e WHERE e.workspace_id = $1 AND e.sequence_id = $2 AND e.id = ANY ($4::bigint[])", "$3")
_STOP_FIRST = _stop(
    "(SELECT p.id FROM enrolments p WHERE p.sequence_id = $2 AND p.state = 'active' ORDER BY p.id LIMIT $4) first "
    "JOIN enrolments e ON e.id = first.id WHERE e.workspace_id = $1",
    "$3",
)
# Their standing has changed to one that the sequence is not for.
_STOP_CONVERTED = _stop(
    "unnest($2::bigint[]) AS changed (id) JOIN leads l ON l.id = changed.id JOIN enrolments e "
    "ON e.workspace_id = l.workspace_id AND e.recipient = l.phone AND e.lead_id = l.id AND e.state = 'active' "
    "JOIN sequences q ON q.id = e.sequence_id AND q.stop_on_conversion AND q.target_status <> l.target_status::text "
    "WHERE l.workspace_id = $1",
    "$3",
)
_REPLIED = f"""
WITH {CLOCK},
pick AS MATERIALIZED (
  SELECT e.id, q.stop_on_reply AS stops FROM enrolments e JOIN sequences q ON q.id = e.sequence_id
  WHERE e.workspace_id = $1 AND e.recipient = $2 AND e.state = 'active' ORDER BY e.id FOR NO KEY UPDATE OF e),
moved AS (
  UPDATE enrolments e SET replied_at = coalesce(e.replied_at, clock.now),
    state = CASE WHEN pick.stops THEN 'stopped'::enrolment_state ELSE e.state END,
    stop_reason = CASE WHEN pick.stops THEN $3 END,
    ended_at = CASE WHEN pick.stops THEN clock.now END,
    due_at = CASE WHEN NOT pick.stops THEN e.due_at END
  FROM pick, clock WHERE e.id = pick.id AND e.state = 'active' RETURNING pick.stops)
SELECT count(*) FROM moved WHERE stops"""


async def stop_people(
    connection: Connection, workspace_id: WorkspaceId, phones: Sequence[Phone], reason: StopReason
) -> int:
    """Stop all that these people are in; how many enrolments that ended."""
    count: int = await connection.fetchval(_STOP_PEOPLE, workspace_id, phones, reason)
    return count


async def stop_leads(
    connection: Connection, workspace_id: WorkspaceId, leads: Mapping[LeadId, Phone], reason: StopReason
) -> int:
    """Stop what these leads are in (id → phone), not what the same people are in as leads of other devices."""
    count: int = await connection.fetchval(_STOP_LEADS, workspace_id, list(leads.values()), reason, list(leads))
    return count


async def stop_some(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    enrolment_ids: Sequence[EnrolmentId],
    reason: StopReason,
) -> int:
    """Stop these enrolments of a sequence, those that are active."""
    count: int = await connection.fetchval(_STOP_SOME, workspace_id, sequence_id, reason, enrolment_ids)
    return count


async def stop_first(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, reason: StopReason, limit: int
) -> int:
    """Stop at most `limit` of those who are active in a sequence."""
    count: int = await connection.fetchval(_STOP_FIRST, workspace_id, sequence_id, reason, limit)
    return count


async def stop_converted(connection: Connection, workspace_id: WorkspaceId, lead_ids: Sequence[LeadId]) -> int:
    """Stop what leads are in whose standing has changed, where it is not meant for who they are now."""
    count: int = await connection.fetchval(_STOP_CONVERTED, workspace_id, lead_ids, StopReason.CONVERTED)
    return count


async def replied(connection: Connection, workspace_id: WorkspaceId, phone: Phone) -> int:
    """Somebody wrote: note it, and stop what stops then; how many enrolments that ended."""
    count: int = await connection.fetchval(_REPLIED, workspace_id, phone, StopReason.REPLIED)
    return count
