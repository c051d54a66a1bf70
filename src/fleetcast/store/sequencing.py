"""What there is to do for people in sequences: the birth of their messages (T0), and what follows the end of each.

Each function is part of one short transaction. Rows are locked in the order of their ids, the workspace's suppressions
before the enrolments and those before their messages, so that a stop never meets one of these half-way. Nothing is done
for who is merely enrolled: due steps, ends, windows that are over and messages to take back have each an index.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from fleetcast.domain.identifiers import DeviceId, EnrolmentId, MessageId, SequenceId, StepId, WorkspaceId
from fleetcast.domain.message import PRIORITY_SEQUENCE
from fleetcast.domain.sequence import EnrolmentState, FailureRule, StopReason
from fleetcast.store import transitions
from fleetcast.store.audience import missing
from fleetcast.store.connection import Connection
from fleetcast.store.leads import LEAD_VARIABLES_SQL
from fleetcast.store.sequences import COLUMNS, Sequence, read
from fleetcast.store.transition_statements import CLOCK

CHUNK = 1_000
"""Enrolments looked at in one transaction."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Somebody who waits for a step, locked."""

    id: EnrolmentId
    device_id: DeviceId
    step_id: StepId
    message_id: MessageId | None
    """It is to be tried again."""
    enrolled_at: datetime
    anchor: date
    moment: datetime
    due_at: datetime
    done_step_id: StepId | None
    done_at: datetime | None
    done_moment: datetime | None
    tries: int
    revision: int
    zone: str
    """Of the person, else of the workspace."""


_FACTS = """e.id, e.device_id, e.step_id, e.message_id, e.enrolled_at, e.anchor, e.moment, e.due_at, e.done_step_id,
  e.done_at, e.done_moment, e.tries, e.revision, coalesce(l.time_zone, w.time_zone) AS zone"""
# `pick` has the ids; it comes first, so that no plan walks over everybody who waits.
_PICKED = f"""
SELECT {_FACTS} FROM pick JOIN enrolments e ON e.id = pick.id JOIN leads l ON l.id = e.lead_id
  JOIN workspaces w ON w.id = e.workspace_id
WHERE e.sequence_id = $1 AND e.due_at IS NOT NULL"""

_DUE_SEQUENCES = """
SELECT q.workspace_id, q.id FROM sequences q WHERE q.status = 'active' AND EXISTS (
  SELECT FROM enrolments e WHERE e.sequence_id = q.id AND e.due_at <= fleetcast_now()) ORDER BY q.id"""
_TAKE = f"SELECT {COLUMNS} FROM sequences q WHERE q.id = $1 AND q.status = 'active' FOR NO KEY UPDATE SKIP LOCKED"
_TAKE_CHANGED = f"""SELECT {COLUMNS} FROM sequences q WHERE q.id = $1 AND q.retime_cursor IS NOT NULL
FOR NO KEY UPDATE SKIP LOCKED"""
# The longest due, locked in the order of their ids like everything.
_DUE = f"""
WITH pick AS MATERIALIZED (
  SELECT d.id FROM enrolments d WHERE d.sequence_id = $1 AND d.due_at <= fleetcast_now()
  ORDER BY d.due_at, d.id LIMIT $2)
{_PICKED} AND e.due_at <= fleetcast_now() ORDER BY e.id FOR NO KEY UPDATE OF e"""
_PLACED_BEFORE = f"""
WITH pick AS MATERIALIZED (SELECT unnest($2::bigint[]) AS id)
{_PICKED} AND e.message_id IS NULL AND e.revision < $3 ORDER BY e.id FOR NO KEY UPDATE OF e"""
_WALK = "SELECT id FROM enrolments WHERE sequence_id = $1 AND state = 'active' AND id > $2 ORDER BY id LIMIT $3"

# T0. $1 enrolments, $2 when the window of each is over; both in the order of the enrolments.
_BIRTH = f"""
WITH {CLOCK},
u AS MATERIALIZED (SELECT * FROM unnest($1::bigint[], $2::timestamptz[]) AS u (id, expires_at)),
made AS (
  INSERT INTO broadcast_messages (workspace_id, device_id, lead_id, content_id, not_before, expires_at, created_at,
    shard_id, priority, shared, recipient, dedupe_key, variables, sequence_id, enrolment_id, step_id)
  SELECT e.workspace_id, e.device_id, e.lead_id, s.content_id, e.due_at, u.expires_at, clock.now, d.shard_id,
    {PRIORITY_SEQUENCE}, l.shared, e.recipient, 's:' || e.id || ':' || e.step_id, {LEAD_VARIABLES_SQL}, e.sequence_id,
    e.id, e.step_id
  FROM clock, u JOIN enrolments e ON e.id = u.id AND e.state = 'active' JOIN sequence_steps s ON s.id = e.step_id
    JOIN leads l ON l.id = e.lead_id JOIN devices d ON d.id = e.device_id
  ORDER BY e.id
  ON CONFLICT (dedupe_key) DO NOTHING
  RETURNING id, sequence_id, enrolment_id, step_id, device_id, expires_at),
tally AS (
  INSERT INTO sequence_tallies (sequence_id, step_id, device_id, counter, n)
  SELECT sequence_id, step_id, device_id, 'pending', count(*) FROM made GROUP BY 1, 2, 3),
moved AS (
  UPDATE enrolments e SET message_id = m.id, due_at = NULL, expires_at = m.expires_at FROM made m
  WHERE e.id = m.enrolment_id)
SELECT id, enrolment_id, device_id FROM made"""

# Who had that step before has its message; what came of it decides what follows.
_HAD = """
WITH had AS (
  UPDATE enrolments e SET message_id = b.id, due_at = NULL FROM broadcast_messages b
  WHERE e.id = ANY ($1::bigint[]) AND e.due_at IS NOT NULL AND b.dedupe_key = 's:' || e.id || ':' || e.step_id
  RETURNING e.id, b.id AS message_id, b.is_open)
INSERT INTO sequence_ends (enrolment_id, message_id) SELECT id, message_id FROM had WHERE NOT is_open"""

_LACKING = f"""
SELECT b.id FROM broadcast_messages b JOIN contents c ON c.id = b.content_id
WHERE b.id = ANY ($1::bigint[]) AND b.status = 'pending' AND b.attempts = 0
  AND {missing("b.variables", "c.required_variables")} ORDER BY b.id"""
_RETRIED = "UPDATE enrolments SET due_at = NULL WHERE id = ANY ($1::bigint[]) AND due_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Place:
    """Where somebody is from now on. The row is locked by whoever says so."""

    id: EnrolmentId
    step_id: StepId | None
    """None: the step stays what it is."""
    moment: datetime | None
    due_at: datetime | None
    done_step_id: StepId | None
    done_at: datetime | None
    done_moment: datetime | None
    revision: int
    message_id: MessageId | None = None
    tries: int = 0
    state: EnrolmentState = EnrolmentState.ACTIVE
    stop_reason: StopReason | None = None


_PLACE = f"""
WITH {CLOCK},
u AS MATERIALIZED (
  SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::bigint[],
    $6::timestamptz[], $7::timestamptz[], $8::int[], $9::bigint[], $10::smallint[], $11::enrolment_state[], $12::text[])
  AS u (id, step, moment, due, done, done_at, done_moment, revision, message, tries, state, reason))
UPDATE enrolments e SET step_id = coalesce(u.step, e.step_id), moment = coalesce(u.moment, e.moment), due_at = u.due,
  done_step_id = u.done, done_at = u.done_at, done_moment = u.done_moment, revision = u.revision,
  message_id = u.message, expires_at = NULL, tries = u.tries, state = u.state, stop_reason = u.reason,
  ended_at = CASE WHEN u.state <> 'active' THEN coalesce(e.ended_at, clock.now) END
FROM u, clock WHERE e.id = u.id"""


@dataclass(frozen=True, slots=True)
class Ended:
    """A step that has ended for somebody, whose row is locked."""

    id: EnrolmentId
    workspace_id: WorkspaceId
    sequence_id: SequenceId
    state: EnrolmentState
    stop_reason: StopReason | None
    step_id: StepId
    message_id: MessageId
    enrolled_at: datetime
    anchor: date
    moment: datetime
    done_step_id: StepId | None
    done_at: datetime | None
    done_moment: datetime | None
    tries: int
    zone: str
    status: str
    reason: str | None
    at: datetime
    """When it was sent, or else ended."""
    on_failure: FailureRule
    late_by: timedelta
    revision: int
    """Of the sequence's timeline."""


_TAKE_ENDS = """
DELETE FROM sequence_ends WHERE id IN (SELECT id FROM sequence_ends ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING enrolment_id"""
_ENDED = """
SELECT e.id, e.workspace_id, e.sequence_id, e.state::text, e.stop_reason, e.step_id, e.message_id, e.enrolled_at,
  e.anchor, e.moment, e.done_step_id, e.done_at, e.done_moment, e.tries, coalesce(l.time_zone, w.time_zone) AS zone,
  b.status::text, b.reason,
  coalesce(b.sent_at, b.ended_at, b.created_at) AS at, q.on_failure, q.late_by, q.revision
FROM enrolments e JOIN broadcast_messages b ON b.id = e.message_id AND NOT b.is_open
  JOIN sequences q ON q.id = e.sequence_id JOIN leads l ON l.id = e.lead_id JOIN workspaces w ON w.id = e.workspace_id
WHERE e.id = ANY ($1::bigint[]) AND e.due_at IS NULL ORDER BY e.id FOR NO KEY UPDATE OF e"""

# Those that wait are cancelled, and what has ended already is not under way any more.
_OVER = """
SELECT e.id, e.message_id, b.is_open FROM enrolments e JOIN broadcast_messages b ON b.id = e.message_id
WHERE e.message_id IS NOT NULL AND e.state <> 'active' AND (b.status IN ('pending', 'queued') OR NOT b.is_open)
ORDER BY e.id LIMIT $1"""

_RECALLING = "SELECT workspace_id, id FROM sequences WHERE recall ORDER BY id"
# What was made and never tried, and is not to be sent now: its sequence is paused, or it says what nobody is to read.
_RECALLED = """
SELECT e.id, e.message_id FROM enrolments e JOIN sequences q ON q.id = e.sequence_id
  JOIN broadcast_messages b ON b.id = e.message_id JOIN sequence_steps s ON s.id = e.step_id
WHERE e.sequence_id = $1 AND e.message_id IS NOT NULL AND e.state = 'active' AND e.due_at IS NULL
  AND b.status IN ('pending', 'queued') AND b.attempts = 0
  AND (q.status = 'paused' OR b.content_id <> s.content_id OR s.deleted_at IS NOT NULL)
ORDER BY e.id LIMIT $2 FOR NO KEY UPDATE OF e"""
_TAKE_BACK = """
WITH pick AS MATERIALIZED (
  SELECT b.id, b.enrolment_id, b.not_before, b.status FROM broadcast_messages b
  WHERE b.id = ANY ($1::bigint[]) AND b.status IN ('pending', 'queued') AND b.attempts = 0 ORDER BY b.id FOR UPDATE),
gone AS (
  DELETE FROM broadcast_messages b USING pick WHERE b.id = pick.id
  RETURNING b.sequence_id, b.step_id, b.device_id, pick.enrolment_id, pick.not_before, pick.status),
tally AS (
  INSERT INTO sequence_tallies (sequence_id, step_id, device_id, counter, n)
  SELECT sequence_id, step_id, device_id, status::text, -count(*) FROM gone GROUP BY 1, 2, 3, 4)
UPDATE enrolments e SET message_id = NULL, expires_at = NULL, due_at = gone.not_before FROM gone
WHERE e.id = gone.enrolment_id"""


async def due_sequences(connection: Connection) -> list[tuple[WorkspaceId, SequenceId]]:
    """Active sequences in which something is due."""
    return [(WorkspaceId(r[0]), SequenceId(r[1])) for r in await connection.fetch(_DUE_SEQUENCES)]


async def take(connection: Connection, sequence_id: SequenceId) -> Sequence | None:
    """Lock an active sequence for one chunk; None when it is not active any more, or another sequencer has it."""
    row = await connection.fetchrow(_TAKE, sequence_id)
    return read(row) if row else None


async def due(connection: Connection, sequence_id: SequenceId) -> list[Waiting]:
    """Who is due in a sequence, those that are so for longest."""
    return [Waiting(*row) for row in await connection.fetch(_DUE, sequence_id, CHUNK)]


async def give_birth(
    connection: Connection, expiries: Listed[tuple[EnrolmentId, datetime]], late: frozenset[EnrolmentId]
) -> list[DeviceId]:
    """T0 for due steps, each with when its window is over; those that are `late` expire as they are made.

    Consent and suppression are asked as for a message to one person. Returns the devices that got rows.
    """
    ordered = sorted(expiries)
    rows = await connection.fetch(_BIRTH, [e[0] for e in ordered], [e[1] for e in ordered])
    if len(rows) < len(ordered):
        await connection.execute(_HAD, [e[0] for e in ordered])
    if too_late := sorted(row["id"] for row in rows if row["enrolment_id"] in late):
        await transitions.skip_late(connection, too_late)
    fresh = sorted(row["id"] for row in rows if row["enrolment_id"] not in late)
    await _filter(connection, fresh)
    return [DeviceId(row["device_id"]) for row in rows if row["enrolment_id"] not in late]


async def retry(connection: Connection, again: Listed[tuple[EnrolmentId, MessageId]]) -> None:
    """T8 by the rule: let steps that were not sent wait once more."""
    waiting = await transitions.retry_steps(connection, sorted(message for _, message in again))
    await connection.execute(_RETRIED, [enrolment for enrolment, _ in again])
    await _filter(connection, sorted(waiting))


async def _filter(connection: Connection, ids: Listed[int]) -> None:
    if not ids:
        return
    await transitions.skip_unwanted(connection, ids)
    if lacking := [row["id"] for row in await connection.fetch(_LACKING, ids)]:
        await transitions.skip_missing_variable(connection, lacking)


async def place(connection: Connection, places: Listed[Place]) -> None:
    """Write where people are from now on."""
    if not places:
        return
    await connection.execute(
        _PLACE,
        [p.id for p in places],
        [p.step_id for p in places],
        [p.moment for p in places],
        [p.due_at for p in places],
        [p.done_step_id for p in places],
        [p.done_at for p in places],
        [p.done_moment for p in places],
        [p.revision for p in places],
        [p.message_id for p in places],
        [p.tries for p in places],
        [p.state for p in places],
        [p.stop_reason for p in places],
    )


async def ended(connection: Connection) -> tuple[int, list[Ended]]:
    """Steps that have ended and were not followed yet; and how many ends were taken, some of which tell nothing."""
    taken = [row["enrolment_id"] for row in await connection.fetch(_TAKE_ENDS, CHUNK)]
    if not taken:
        return 0, []
    found = []
    for row in await connection.fetch(_ENDED, taken):
        facts = dict(row)
        facts["state"], facts["on_failure"] = EnrolmentState(row["state"]), FailureRule(row["on_failure"])
        facts["stop_reason"] = None if row["stop_reason"] is None else StopReason(row["stop_reason"])
        found.append(Ended(**facts))
    return len(taken), found


async def clear_stopped(connection: Connection) -> int:
    """End the waiting messages of people who are in their sequence no more; how many were looked at."""
    rows = await connection.fetch(_OVER, CHUNK)
    if waiting := sorted(row["message_id"] for row in rows if row["is_open"]):
        await transitions.cancel_steps(connection, waiting)
    if closed := [row["id"] for row in rows if not row["is_open"]]:
        await connection.execute(
            "UPDATE enrolments SET message_id = NULL, expires_at = NULL "
            "WHERE id = ANY ($1::bigint[]) AND state <> 'active'",
            closed,
        )
    return len(rows)


async def recalling(connection: Connection) -> list[tuple[WorkspaceId, SequenceId]]:
    """Sequences some of whose waiting messages may be to be taken back."""
    return [(WorkspaceId(r[0]), SequenceId(r[1])) for r in await connection.fetch(_RECALLING)]


async def take_back(connection: Connection, sequence_id: SequenceId) -> bool:
    """Take back messages that were made, never tried, and are not to be sent now. Whether there may be more.

    Their people wait for the step again, at the time they had.
    """
    locked = await connection.fetchval(
        "SELECT id FROM sequences WHERE id = $1 AND recall FOR NO KEY UPDATE SKIP LOCKED", sequence_id
    )
    if locked is None:
        return False
    rows = await connection.fetch(_RECALLED, sequence_id, CHUNK)
    if rows:
        await connection.execute(_TAKE_BACK, sorted(row["message_id"] for row in rows))
    if len(rows) == CHUNK:
        return True
    await connection.execute("UPDATE sequences SET recall = false WHERE id = $1", sequence_id)
    return False


async def retiming(connection: Connection) -> list[SequenceId]:
    """Sequences whose people are to be placed anew."""
    rows = await connection.fetch("SELECT id FROM sequences WHERE retime_cursor IS NOT NULL ORDER BY id")
    return [SequenceId(r["id"]) for r in rows]


async def take_for_retiming(connection: Connection, sequence_id: SequenceId) -> Sequence | None:
    """Lock such a sequence for one chunk; None when another has it or is through."""
    row = await connection.fetchrow(_TAKE_CHANGED, sequence_id)
    return read(row) if row else None


async def placed_before(connection: Connection, sequence: Sequence) -> list[Waiting]:
    """The next people of a walk who wait by the timeline as it was; the walk is noted as having passed them."""
    ids = [row["id"] for row in await connection.fetch(_WALK, sequence.id, sequence.retime_cursor or 0, CHUNK)]
    await connection.execute(
        "UPDATE sequences SET retime_cursor = $2 WHERE id = $1", sequence.id, ids[-1] if len(ids) == CHUNK else None
    )
    return [Waiting(*row) for row in await connection.fetch(_PLACED_BEFORE, sequence.id, ids, sequence.revision)]


async def ending(connection: Connection) -> list[tuple[WorkspaceId, SequenceId]]:
    """Archived sequences that still have people in them."""
    rows = await connection.fetch(
        "SELECT q.workspace_id, q.id FROM sequences q WHERE q.status = 'archived' AND EXISTS ("
        "SELECT FROM enrolments e WHERE e.sequence_id = q.id AND e.state = 'active') ORDER BY q.id"
    )
    return [(WorkspaceId(r[0]), SequenceId(r[1])) for r in rows]
