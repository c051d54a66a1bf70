"""How people come into sequences: who fits, who is in already, and the walk through many, chunk by chunk.

Separate from planning campaigns because an enrolment is no message: it is made once a person and sequence, and its
first step has a time of its own. Whom a sequence is for is the same predicate as a campaign's (`store.audience`), and
one person who is several leads is one person here, too.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import date, datetime

import asyncpg

from fleetcast.domain.identifiers import DeviceId, EnrolmentId, LeadId, Phone, SequenceId, StepId, WorkspaceId
from fleetcast.domain.sequence import EnrolmentSource
from fleetcast.errors import Unavailable
from fleetcast.store.audience import ADDRESSED, CHOSEN, KEYED, LONGEST_COUNT_SECONDS, PREFERENCE, WRITABLE
from fleetcast.store.connection import Connection, Row
from fleetcast.store.sequences import Sequence

CHUNK = 2_000
"""Leads looked at in one transaction: some tens of milliseconds."""

_NEVER_IN = """NOT EXISTS (SELECT 1 FROM enrolments x
  WHERE x.workspace_id = $1 AND x.recipient = l.phone AND x.sequence_id = $7::bigint)"""


def _fitting(which: str) -> str:
    """Leads that a sequence is for and that never were in it, one a person. $1 to $6 are the audience's, $7 the
    sequence; `which` restricts the leads `l` that are looked at.
    """
    return f"""
WITH looked AS MATERIALIZED (SELECT l.* FROM leads l WHERE l.workspace_id = $1 AND {which}),
matching AS MATERIALIZED (
  SELECT l.id, l.device_id, l.phone, l.shared, l.time_zone FROM looked l, devices d
  WHERE {ADDRESSED} AND {WRITABLE} AND {_NEVER_IN}),
chosen AS (
  SELECT best.* FROM (SELECT DISTINCT phone FROM matching WHERE shared) person CROSS JOIN LATERAL (
    SELECT l.id, l.device_id, l.phone, l.time_zone FROM leads l, devices d
    WHERE l.phone = person.phone AND {ADDRESSED} AND {WRITABLE} ORDER BY {PREFERENCE} LIMIT 1) best)
SELECT id, device_id, phone, time_zone FROM matching WHERE NOT shared
UNION ALL SELECT id, device_id, phone, time_zone FROM chosen ORDER BY 1"""


# $8 the last lead before the window, $9 its last one, $10 since when they came or changed.
_WINDOW = _fitting("l.id > $8 AND l.id <= $9 AND ($10::timestamptz IS NULL OR l.updated_at >= $10)")
# $8 leads.
_AMONG = _fitting("l.id = ANY ($8::bigint[])")
_AHEAD = """SELECT max(id) FROM (
  SELECT l.id FROM leads l WHERE l.workspace_id = $1 AND l.id > $2 AND l.id <= $3 ORDER BY l.id LIMIT $4) a"""

# $8 the sequence; $7 is what a text requires, and nothing is.
_COUNT = f"""
WITH {CHOSEN}
SELECT count(*) FROM chosen c WHERE NOT EXISTS (SELECT 1 FROM enrolments x
  WHERE x.workspace_id = $1 AND x.recipient = c.phone AND x.sequence_id = $8::bigint)"""

_ENROL = """
INSERT INTO enrolments (workspace_id, sequence_id, device_id, lead_id, recipient, enrolled_at, anchor, step_id, moment,
  due_at, revision, source)
SELECT $1, $2, u.device, u.lead, u.phone, $3, u.anchor, $4, u.moment, u.moment, $5, $6
FROM unnest($7::bigint[], $8::bigint[], $9::text[], $10::date[], $11::timestamptz[])
  AS u (device, lead, phone, anchor, moment)
ORDER BY u.phone
ON CONFLICT (workspace_id, recipient, sequence_id) WHERE state = 'active' DO NOTHING RETURNING id"""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A lead that may be enrolled."""

    lead_id: LeadId
    device_id: DeviceId
    phone: Phone
    zone: str | None


def _candidates(rows: Listed[Row]) -> list[Candidate]:
    return [Candidate(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Named:
    """A lead that somebody named, and whether it can be enrolled."""

    candidate: Candidate
    writable: bool
    """Neither suppressed nor refused."""
    is_in: bool
    """Active in the sequence now, as this lead or as another of the same person."""
    was_in: bool
    """Active now or before."""


@dataclass(frozen=True, slots=True)
class Run:
    """Enrolling many, and how far it is."""

    id: int
    sequence_id: SequenceId
    expected: int
    enrolled: int
    started_at: datetime
    finished_at: datetime | None
    actor: str


@dataclass(frozen=True, slots=True)
class Work:
    """A run that is under way, locked."""

    id: int
    workspace_id: WorkspaceId
    sequence_id: SequenceId
    cursor: int
    last_id: int
    changed_since: datetime | None


async def count(connection: Connection, sequence: Sequence) -> int:
    """How many people fit a sequence now and never were in it: exactly those whom a run would enrol.

    Looks at every lead of the workspace once, within a time limit. Needs a transaction. Raises Unavailable.
    """
    try:
        async with connection.transaction():
            await connection.execute(f"{KEYED}; SET LOCAL statement_timeout = '{LONGEST_COUNT_SECONDS}s'")
            found: int = await connection.fetchval(
                _COUNT, sequence.workspace_id, *sequence.audience.arguments(), [], sequence.id
            )
            await connection.execute("SET LOCAL statement_timeout = 0")
    except asyncpg.QueryCanceledError:
        raise Unavailable(
            f"Counting whom it is for took more than {LONGEST_COUNT_SECONDS} s: try again when there is less to do."
        ) from None
    return found


async def fitting_among(connection: Connection, sequence: Sequence, lead_ids: Listed[LeadId]) -> list[Candidate]:
    """Those of these leads whom the sequence is for and who never were in it."""
    rows = await connection.fetch(
        _AMONG, sequence.workspace_id, *sequence.audience.arguments(), sequence.id, list(lead_ids)
    )
    return _candidates(rows)


async def window(connection: Connection, work: Work) -> int | None:
    """The last lead of the run's next window; None: the walk is through."""
    upto: int | None = await connection.fetchval(_AHEAD, work.workspace_id, work.cursor, work.last_id, CHUNK)
    return upto


async def fitting_in(connection: Connection, sequence: Sequence, work: Work, upto: int) -> list[Candidate]:
    """Those of a run's next leads whom the sequence is for and who never were in it."""
    rows = await connection.fetch(
        _WINDOW,
        sequence.workspace_id,
        *sequence.audience.arguments(),
        sequence.id,
        work.cursor,
        upto,
        work.changed_since,
    )
    return _candidates(rows)


async def named(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    *,
    lead_ids: Listed[LeadId] = (),
    phones: Listed[Phone] = (),
) -> list[Named]:
    """The leads that somebody named by number of lead or of telephone, one of each person at most.

    A lead that is named is taken; of several with a telephone's number the one whose device last wrote to it.
    """
    rows = await connection.fetch(
        f"""
        WITH asked AS MATERIALIZED (
          SELECT l.id FROM leads l WHERE l.workspace_id = $1 AND l.id = ANY ($3::bigint[])
          UNION
          SELECT best.id FROM unnest($4::text[]) AS p (phone) CROSS JOIN LATERAL (
            SELECT l.id FROM leads l JOIN devices d ON d.id = l.device_id AND d.deleted_at IS NULL
            WHERE l.workspace_id = $1 AND l.phone = p.phone AND l.deleted_at IS NULL
            ORDER BY {PREFERENCE} LIMIT 1) best)
        SELECT DISTINCT ON (l.phone) l.id, l.device_id, l.phone, l.time_zone, {WRITABLE} AS writable,
          EXISTS (SELECT FROM enrolments x WHERE x.workspace_id = $1 AND x.recipient = l.phone
            AND x.sequence_id = $2 AND x.state = 'active') AS is_in,
          EXISTS (SELECT FROM enrolments x WHERE x.workspace_id = $1 AND x.recipient = l.phone
            AND x.sequence_id = $2) AS was_in
        FROM asked JOIN leads l ON l.id = asked.id JOIN devices d ON d.id = l.device_id
        WHERE l.deleted_at IS NULL AND d.deleted_at IS NULL ORDER BY l.phone, l.id""",
        workspace_id,
        sequence_id,
        list(lead_ids),
        list(phones),
    )
    return [
        Named(Candidate(r["id"], r["device_id"], r["phone"], r["time_zone"]), r["writable"], r["is_in"], r["was_in"])
        for r in rows
    ]


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody to be enrolled, with their day 0 and the moment of their first step."""

    candidate: Candidate
    anchor: date
    moment: datetime


async def enrol(
    connection: Connection,
    sequence: Sequence,
    first: StepId,
    newcomers: Listed[Newcomer],
    at: datetime,
    source: EnrolmentSource,
) -> list[EnrolmentId]:
    """Enrol people as of `at`; who is in the sequence already stays as they are. Returns the new enrolments."""
    rows = await connection.fetch(
        _ENROL,
        sequence.workspace_id,
        sequence.id,
        at,
        first,
        sequence.revision,
        source,
        [n.candidate.device_id for n in newcomers],
        [n.candidate.lead_id for n in newcomers],
        [n.candidate.phone for n in newcomers],
        [n.anchor for n in newcomers],
        [n.moment for n in newcomers],
    )
    return [EnrolmentId(r["id"]) for r in rows]


# -- many


async def start_run(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    *,
    expected: int,
    changed_since: datetime | None,
    actor: str,
) -> int:
    """Begin to enrol all leads that fit, of those that there are now."""
    made: int = await connection.fetchval(
        """INSERT INTO enrolment_runs (workspace_id, sequence_id, last_id, expected, changed_since, actor)
        SELECT $1, $2, coalesce((SELECT max(id) FROM leads WHERE workspace_id = $1), 0), $3, $4, $5 RETURNING id""",
        workspace_id,
        sequence_id,
        expected,
        changed_since,
        actor,
    )
    return made


async def runs(connection: Connection) -> list[int]:
    """Those that are under way."""
    rows = await connection.fetch("SELECT id FROM enrolment_runs WHERE finished_at IS NULL ORDER BY id")
    return [r["id"] for r in rows]


async def take_run(connection: Connection, run_id: int) -> Work | None:
    """Lock one for one chunk; None when it is through or another sequencer has it."""
    row = await connection.fetchrow(
        """SELECT id, workspace_id, sequence_id, cursor_id, last_id, changed_since FROM enrolment_runs
        WHERE id = $1 AND finished_at IS NULL FOR UPDATE SKIP LOCKED""",
        run_id,
    )
    return Work(*row) if row else None


async def advance_run(connection: Connection, run_id: int, upto: int | None, enrolled: int) -> None:
    """Note that a window is done; `upto` None: all is, or nothing more is to be."""
    await connection.execute(
        """UPDATE enrolment_runs SET cursor_id = coalesce($2, cursor_id), enrolled = enrolled + $3,
          finished_at = CASE WHEN $2::bigint IS NULL THEN fleetcast_now() END WHERE id = $1""",
        run_id,
        upto,
        enrolled,
    )


async def latest_run(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> Run | None:
    """The newest of a sequence."""
    row = await connection.fetchrow(
        """SELECT id, sequence_id, expected, enrolled, started_at, finished_at, actor FROM enrolment_runs
        WHERE workspace_id = $1 AND sequence_id = $2 ORDER BY id DESC LIMIT 1""",
        workspace_id,
        sequence_id,
    )
    return Run(*row) if row else None


# -- news of leads


@dataclass(frozen=True, slots=True)
class News:
    """Leads that came or changed."""

    leads: list[LeadId]
    converted: list[LeadId]
    """Of them: those whose standing changed."""


async def workspaces_with_news(connection: Connection) -> list[WorkspaceId]:
    """Workspaces whose leads came or changed while sequences were at work."""
    rows = await connection.fetch(
        "SELECT w.id FROM workspaces w WHERE EXISTS (SELECT FROM lead_news n WHERE n.workspace_id = w.id) ORDER BY w.id"
    )
    return [WorkspaceId(r["id"]) for r in rows]


async def take_news(connection: Connection, workspace_id: WorkspaceId) -> News:
    """The next news of a workspace; they are gone when the transaction commits."""
    rows = await connection.fetch(
        """DELETE FROM lead_news WHERE id IN (
          SELECT id FROM lead_news WHERE workspace_id = $1 ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING lead_id, converted""",
        workspace_id,
        CHUNK,
    )
    return News(
        sorted({LeadId(r["lead_id"]) for r in rows}),
        sorted({LeadId(r["lead_id"]) for r in rows if r["converted"]}),
    )


async def taking(connection: Connection, workspace_id: WorkspaceId) -> list[SequenceId]:
    """Active sequences of a workspace into which leads come by themselves."""
    rows = await connection.fetch(
        "SELECT id FROM sequences WHERE workspace_id = $1 AND status = 'active' AND auto_enrol ORDER BY id",
        workspace_id,
    )
    return [SequenceId(r["id"]) for r in rows]
