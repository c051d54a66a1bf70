"""What sets a sequence in motion, holds it, lets it go on or ends it: one transaction and one audit entry each.

A status moves by compare-and-set on the sequence's locked row, so of any number of simultaneous wishes one is granted
and the others are told. Nudges go out after the commit.
"""

from fleetcast.domain.identifiers import SequenceId, WorkspaceId
from fleetcast.domain.sequence import SequenceStatus
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs
from fleetcast.runtime import Runtime
from fleetcast.services.enrolments import refuse_more
from fleetcast.services.sequence_steps import check_texts
from fleetcast.services.sequences import get_sequence, subject
from fleetcast.store import (
    audit,
    devices,
    enrolling,
    fleet,
    lead_merge,
    sequence_steps,
    sequence_tallies,
    sequences,
    workspaces,
)
from fleetcast.store.connection import Connection
from fleetcast.store.fleet import DeviceFilter
from fleetcast.store.sequences import Sequence

__all__ = ["activate_sequence", "archive_sequence", "pause_sequence", "resume_sequence"]

_S = SequenceStatus


async def activate_sequence(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    *,
    enrol_existing: int | None = None,
    even_offline: bool = False,
    actor: str,
) -> Sequence:
    """Set a draft in motion. Leads that come from now on are enrolled if it says so; with `enrol_existing`, the count
    that a person was told, also those that there are.

    Raises InvalidInputs for no steps, texts with variables that no lead has, or no devices; Conflict unless it is a
    draft, where more leads fit than were confirmed, and, unless `even_offline`, while no device is online.
    """
    async with runtime.db.transaction() as connection:
        # Imports under way are waited for: their leads are there now, and those that come later are told.
        await lead_merge.one_at_a_time(connection, workspace_id)
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        _only(sequence, _S.DRAFT, "only a draft can be activated")
        await _check(connection, sequence)
        people = 0
        if enrol_existing is not None:
            people = await enrolling.count(connection, sequence)
            refuse_more(people, enrol_existing)
        if not even_offline and not await devices.ready(connection, workspace_id, [], 1):
            await _refuse_offline(connection, sequence)
        after = await _move(connection, sequence, "activate", actor)
        if enrol_existing is not None:
            await enrolling.start_run(
                connection, workspace_id, sequence_id, expected=people, changed_since=None, actor=actor
            )
    await runtime.nudges.sequences(sequence_id)
    return after


async def pause_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, reason: str | None = None, actor: str
) -> Sequence:
    """Hold an active sequence: nothing of it is claimed from this commit on, and nobody comes in by themselves.

    Raises Conflict unless it is active.
    """
    async with runtime.db.transaction() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        _only(sequence, _S.ACTIVE, "only an active sequence can be paused")
        after = await _move(connection, sequence, "pause", actor, reason)
    await runtime.nudges.sequences(sequence_id)
    return after


async def resume_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, actor: str
) -> Sequence:
    """Let a paused sequence go on. What is later than its window by now expires; leads that came or changed meanwhile
    and fit are enrolled, where that goes by itself. Raises Conflict unless it is paused.
    """
    async with runtime.db.transaction() as connection:
        await lead_merge.one_at_a_time(connection, workspace_id)
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        _only(sequence, _S.PAUSED, "only a paused sequence can be resumed")
        after = await _move(connection, sequence, "resume", actor)
        if sequence.auto_enrol:
            await enrolling.start_run(
                connection, workspace_id, sequence_id, expected=0, changed_since=sequence.paused_at, actor=actor
            )
    await runtime.nudges.sequences(sequence_id)
    return after


async def archive_sequence(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, confirmed: int = 0, actor: str
) -> Sequence:
    """End a sequence for good: everybody in it is stopped, and what waits for them is cancelled, chunk by chunk.

    Raises Conflict when it is archived, or while more people are in it than were `confirmed`.
    """
    async with runtime.db.transaction() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        if sequence.status is _S.ARCHIVED:
            raise Conflict(f"Sequence '{sequence.name}' is archived already.")
        people = sum((await sequence_tallies.active_at(connection, workspace_id, sequence_id)).values())
        if people > confirmed:
            who = "1 person is" if people == 1 else f"{people:,} people are"
            raise Conflict(
                f"{who} in '{sequence.name}' and would get nothing more of it. Confirm with that count to archive it."
            )
        after = await _move(connection, sequence, "archive", actor, people=people)
    await runtime.nudges.sequences(sequence_id)
    return after


async def _check(connection: Connection, sequence: Sequence) -> None:
    problems: list[InvalidInput] = []
    steps = await sequence_steps.of_sequence(connection, sequence.workspace_id, sequence.id)
    workspace = await workspaces.by_id(connection, sequence.workspace_id)
    assert workspace is not None
    if not steps:
        problems.append(InvalidInput("steps", "the sequence has no step yet: add one"))
    problems += check_texts(steps, workspace)
    if not await fleet.count(connection, sequence.workspace_id, DeviceFilter()):
        problems.append(InvalidInput("devices", "the workspace has no device to send from: add one"))
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise InvalidInputs(problems)


async def _refuse_offline(connection: Connection, sequence: Sequence) -> None:
    people = await enrolling.count(connection, sequence)
    there = await fleet.count(connection, sequence.workspace_id, DeviceFilter())
    who = "1 lead fits" if people == 1 else f"{people:,} leads fit"
    raise Conflict(
        f"None of the {there:,} devices is online, and {who} this sequence: steps wait for their device, "
        f"and expire when they are later than their window. Link a device, or confirm that it is to start even so."
    )


def _only(sequence: Sequence, allowed: SequenceStatus, otherwise: str) -> None:
    if sequence.status is not allowed:
        raise Conflict(f"Sequence '{sequence.name}' is {sequence.status}: {otherwise}.")


async def _move(
    connection: Connection,
    sequence: Sequence,
    step: str,
    actor: str,
    reason: str | None = None,
    **more: object,
) -> Sequence:
    workspace_id = sequence.workspace_id
    if not await sequences.move(connection, workspace_id, sequence.id, sequence.status, step, reason):
        raise Conflict(f"Sequence '{sequence.name}' has just been changed by somebody else.")
    after = await get_sequence(connection, workspace_id, sequence.id)
    await audit.record(
        connection,
        workspace_id,
        actor,
        f"sequence.{step}",
        subject(sequence.id),
        before={"status": sequence.status.value},
        after={"status": after.status.value} | ({"reason": reason} if reason else {}) | more,
    )
    return after
