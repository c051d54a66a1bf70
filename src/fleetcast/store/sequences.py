"""Sequences: what was wanted and where each stands. Their steps are in `sequence_steps`, the people in `enrolments`.

A status changes only by compare-and-set (`move`), so of any number of simultaneous wishes exactly one is granted.
"""

from collections.abc import Mapping
from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.domain.sequence import FailureRule, SequenceStatus
from fleetcast.store.audience import Audience
from fleetcast.store.connection import Connection, Row
from fleetcast.store.wishes import Writable


@dataclass(frozen=True, slots=True)
class Sequence:
    """One sequence."""

    id: SequenceId
    workspace_id: WorkspaceId
    name: str
    status: SequenceStatus
    niches: tuple[str, ...]
    niche_match: NicheMatch
    target_status: TargetStatus
    auto_enrol: bool
    """Leads that fit come in by themselves while it is active."""
    min_delay: float | None
    """Seconds between two sends of a device; None: the device's own pace."""
    max_delay: float | None
    on_failure: FailureRule
    late_by: timedelta
    """How long after its moment a step may still go out."""
    stop_on_reply: bool
    stop_on_conversion: bool
    revision: int
    """Of its timeline."""
    retime_cursor: int | None
    """The timeline changed, and people behind this one are still to be placed anew; None: all are."""
    recall: bool
    created_at: datetime
    activated_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    archived_at: datetime | None

    @property
    def audience(self) -> Audience:
        """Whom it is for, by itself or by choice. Who is enrolled by name need not fit."""
        return Audience(self.niches, self.niche_match, self.target_status)


COLUMNS = """q.id, q.workspace_id, q.name, q.status::text, q.niches, q.niche_match, q.target_status, q.auto_enrol,
  q.min_delay::text::float8 AS min_delay, q.max_delay::text::float8 AS max_delay, q.on_failure, q.late_by,
  q.stop_on_reply, q.stop_on_conversion, q.revision, q.retime_cursor, q.recall, q.created_at, q.activated_at,
  q.paused_at, q.paused_reason, q.archived_at"""


def read(row: Row) -> Sequence:
    """A row of COLUMNS as a value."""
    facts = dict(row)
    facts |= {
        "status": SequenceStatus(row["status"]),
        "niches": tuple(row["niches"]),
        "niche_match": NicheMatch(row["niche_match"]),
        "target_status": TargetStatus(row["target_status"]),
        "on_failure": FailureRule(row["on_failure"]),
    }
    return Sequence(**facts)


COLUMN_TYPES = {
    "name": "text",
    "niches": "text[]",
    "niche_match": "text",
    "target_status": "text",
    "auto_enrol": "boolean",
    "min_delay": "real",
    "max_delay": "real",
    "on_failure": "text",
    "late_by": "interval",
    "stop_on_reply": "boolean",
    "stop_on_conversion": "boolean",
}
"""The columns a person's wish may write; the names are checked against this list before they enter a statement."""


_WRITABLE = Writable("sequences", COLUMN_TYPES)


async def insert(connection: Connection, workspace_id: WorkspaceId, values: Mapping[str, Any]) -> SequenceId:
    """A new draft with the given columns; what is not given has its default."""
    return SequenceId(await _WRITABLE.insert(connection, workspace_id, values))


async def update(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, values: Mapping[str, Any]
) -> None:
    """Write the given columns and no other: what an edit does not mention stays as it is."""
    await _WRITABLE.update(connection, workspace_id, sequence_id, values)


async def get(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> Sequence | None:
    """The sequence, or None when this workspace has none with that id."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM sequences q WHERE q.workspace_id = $1 AND q.id = $2", workspace_id, sequence_id
    )
    return read(row) if row else None


async def locked(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> Sequence | None:
    """The sequence, its row locked until the transaction ends: what is read is what is changed."""
    row = await connection.fetchrow(
        f"SELECT {COLUMNS} FROM sequences q WHERE q.workspace_id = $1 AND q.id = $2 FOR NO KEY UPDATE",
        workspace_id,
        sequence_id,
    )
    return read(row) if row else None


async def by_name(connection: Connection, workspace_id: WorkspaceId, name: str) -> list[Sequence]:
    """Sequences of that name, newest first; capitals make no difference."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM sequences q WHERE q.workspace_id = $1 AND lower(q.name) = lower($2) ORDER BY q.id DESC",
        workspace_id,
        name,
    )
    return [read(r) for r in rows]


async def page(
    connection: Connection, workspace_id: WorkspaceId, status: SequenceStatus | None, before: int, limit: int
) -> list[Sequence]:
    """Sequences, newest first, those with an id below `before`; in one status or in any."""
    rows = await connection.fetch(
        f"SELECT {COLUMNS} FROM sequences q WHERE q.workspace_id = $1 AND q.id < $3 "
        "AND ($2::text IS NULL OR q.status::text = $2) ORDER BY q.id DESC LIMIT $4",
        workspace_id,
        status,
        before,
        limit,
    )
    return [read(r) for r in rows]


_MOVES = {
    "activate": "status = 'active', activated_at = fleetcast_now()",
    "pause": "status = 'paused', paused_at = fleetcast_now(), recall = true",
    "resume": "status = 'active', paused_at = NULL",
    "archive": "status = 'archived', archived_at = fleetcast_now(), paused_at = NULL",
}


async def move(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    before: SequenceStatus,
    step: str,
    reason: str | None = None,
) -> bool:
    """Take a step (a key of the table above) if the sequence is still in `before`. False: somebody else was first.

    `reason` is kept with a pause.
    """
    done = await connection.fetchval(
        f"UPDATE sequences SET {_MOVES[step]}, paused_reason = $4 "
        "WHERE workspace_id = $1 AND id = $2 AND status = $3::text::sequence_status RETURNING true",
        workspace_id,
        sequence_id,
        before.value,
        reason,
    )
    return bool(done)


async def touch_timeline(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, *, retimed: bool
) -> None:
    """Have messages that wait and say something else by now taken back; `retimed`: and everybody placed anew. In a
    draft there is nobody.
    """
    await connection.execute(
        """UPDATE sequences SET recall = status <> 'draft', revision = revision + $3::int,
          retime_cursor = CASE WHEN $3::int = 1 AND status <> 'draft' THEN 0 ELSE retime_cursor END
        WHERE workspace_id = $1 AND id = $2""",
        workspace_id,
        sequence_id,
        int(retimed),
    )


async def next_due(
    connection: Connection, workspace_id: WorkspaceId, sequence_ids: Listed[SequenceId]
) -> dict[SequenceId, datetime]:
    """When the next step of each is due, those left out in which nothing waits: one look at an index for each."""
    rows = await connection.fetch(
        """SELECT q.id, n.due_at FROM sequences q CROSS JOIN LATERAL (
          SELECT e.due_at FROM enrolments e WHERE e.sequence_id = q.id AND e.due_at IS NOT NULL
          ORDER BY e.due_at LIMIT 1) n WHERE q.workspace_id = $1 AND q.id = ANY ($2::bigint[])""",
        workspace_id,
        sequence_ids,
    )
    return {SequenceId(r["id"]): r["due_at"] for r in rows}


async def sending(connection: Connection) -> list[tuple[WorkspaceId, SequenceId]]:
    """The active sequences of all workspaces."""
    rows = await connection.fetch("SELECT workspace_id, id FROM sequences WHERE status = 'active' ORDER BY id")
    return [(WorkspaceId(r["workspace_id"]), SequenceId(r["id"])) for r in rows]
