"""The steps of sequences: when each is due and what it says.

A step that is deleted keeps its row and its place, for the messages and the people that name it.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import time, timedelta

from fleetcast.domain.identifiers import ContentId, SequenceId, StepId, WorkspaceId
from fleetcast.domain.timeline import After, At, Timeline, TimelineStep, Timing
from fleetcast.store.connection import Connection, Row
from fleetcast.store.contents import Content


@dataclass(frozen=True, slots=True)
class Step:
    """A step that is sent."""

    id: StepId
    place: int
    """Among those that are sent, from 1."""
    position: int
    """Among all, those that were deleted with them."""
    timing: Timing
    content: Content


def _timing(row: Row) -> Timing:
    if row["after"] is not None:
        return After(row["after"])
    return At(row["day"], row["local_time"])


async def of_sequence(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> list[Step]:
    """The steps that are sent, in their order, with what they say."""
    rows = await connection.fetch(
        """SELECT s.id, s.position, s.day, s.local_time, s.after, c.id AS content_id, c.body, c.required_variables,
          c.media_sha256
        FROM sequence_steps s JOIN contents c ON c.id = s.content_id
        WHERE s.workspace_id = $1 AND s.sequence_id = $2 AND s.deleted_at IS NULL ORDER BY s.position""",
        workspace_id,
        sequence_id,
    )
    return [
        Step(
            StepId(row["id"]),
            place,
            row["position"],
            _timing(row),
            Content(ContentId(row["content_id"]), row["body"], tuple(row["required_variables"]), row["media_sha256"]),
        )
        for place, row in enumerate(rows, 1)
    ]


async def timeline(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> Timeline:
    """All steps as far as time is concerned."""
    rows = await connection.fetch(
        """SELECT id, position, day, local_time, after, deleted_at FROM sequence_steps
        WHERE workspace_id = $1 AND sequence_id = $2""",
        workspace_id,
        sequence_id,
    )
    return Timeline(
        [TimelineStep(StepId(r["id"]), r["position"], _timing(r), r["deleted_at"] is not None) for r in rows]
    )


def _columns(timing: Timing) -> tuple[int | None, time | None, timedelta | None]:
    if isinstance(timing, After):
        return None, None, timing.span
    return timing.day, timing.time, None


async def insert(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    timing: Timing,
    content_id: ContentId,
    *,
    before: StepId | None,
) -> StepId:
    """A new step in front of another one; `before` None: behind all."""
    place: int = await connection.fetchval(
        """SELECT coalesce((SELECT position FROM sequence_steps WHERE sequence_id = $1 AND id = $2),
          (SELECT max(position) + 1 FROM sequence_steps WHERE sequence_id = $1), 0)""",
        sequence_id,
        before,
    )
    await connection.execute(
        "UPDATE sequence_steps SET position = position + 1 WHERE workspace_id = $1 AND sequence_id = $2 "
        "AND position >= $3",
        workspace_id,
        sequence_id,
        place,
    )
    made: int = await connection.fetchval(
        "INSERT INTO sequence_steps (workspace_id, sequence_id, position, content_id, day, local_time, after) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id",
        workspace_id,
        sequence_id,
        place,
        content_id,
        *_columns(timing),
    )
    return StepId(made)


async def update(
    connection: Connection, workspace_id: WorkspaceId, step_id: StepId, timing: Timing, content_id: ContentId
) -> None:
    """Write when a step is due and what it says."""
    await connection.execute(
        "UPDATE sequence_steps SET content_id = $3, day = $4, local_time = $5, after = $6 "
        "WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        step_id,
        content_id,
        *_columns(timing),
    )


async def arrange(
    connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, order: Listed[StepId]
) -> None:
    """Put all steps that are sent into this order, in the places that they have among all."""
    await connection.execute(
        """UPDATE sequence_steps s SET position = u.position
        FROM (SELECT w.id, p.position FROM unnest($3::bigint[]) WITH ORDINALITY AS w (id, n)
          JOIN (SELECT position, row_number() OVER (ORDER BY position) AS n FROM sequence_steps
                WHERE workspace_id = $1 AND sequence_id = $2 AND deleted_at IS NULL) p ON p.n = w.n) u
        WHERE s.workspace_id = $1 AND s.sequence_id = $2 AND s.id = u.id""",
        workspace_id,
        sequence_id,
        list(order),
    )


async def delete(connection: Connection, workspace_id: WorkspaceId, step_id: StepId) -> None:
    """Send a step no more."""
    await connection.execute(
        "UPDATE sequence_steps SET deleted_at = fleetcast_now() WHERE workspace_id = $1 AND id = $2",
        workspace_id,
        step_id,
    )
