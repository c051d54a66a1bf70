"""Use cases of the steps of a sequence: add, change, arrange, delete, and look at when they would come.

A change of a step holds for everybody who does not have it yet. Who waits for it waits by the new time, a message that
was made and never tried says the new text, one that was tried stays what it is. A step that is added reaches who has
not passed its place and its moment. Who waits for a step that is deleted goes on with the next one.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fleetcast.domain.content import Template, check_variables
from fleetcast.domain.identifiers import LeadId, SequenceId, StepId, WorkspaceId
from fleetcast.domain.sequence import MOST_STEPS, SequenceStatus
from fleetcast.domain.timeline import Timing, check_timeline
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services import media
from fleetcast.services.contents import after_edit
from fleetcast.services.drafting import Reading, read_as
from fleetcast.services.sequence_fields import StepFields, check_step, step_media
from fleetcast.services.sequences import get_sequence, refuse_archived, subject
from fleetcast.store import audit, contents, overview, sequence_steps, sequence_tallies, sequences, workspaces
from fleetcast.store.connection import Connection
from fleetcast.store.leads import by_id
from fleetcast.store.sequence_steps import Step
from fleetcast.store.workspaces import Workspace

__all__ = [
    "StepComing",
    "StepFields",
    "add_step",
    "arrange_steps",
    "delete_step",
    "edit_step",
    "move_step",
    "preview_steps",
]


@dataclass(frozen=True, slots=True)
class StepComing:
    """A step as it would come to somebody who is enrolled now."""

    step: Step
    at: datetime
    """In the person's zone."""
    reading: Reading | None
    """What they would read; None: nobody was named."""


async def add_step(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    fields: StepFields,
    *,
    before: StepId | None = None,
    actor: str,
) -> Step:
    """A new step, in front of another one or behind all. Its time and text are needed.

    Raises InvalidInputs that name the field, or the step that would come before the one before it, as `steps[2]`;
    NotFound, Conflict.
    """
    source = step_media(fields)
    fields = {"body": "", **fields}
    if source is None and not fields["body"].strip():
        raise InvalidInput("body", "a step needs a text")
    if not {"day", "time", "after"} & set(fields):
        raise InvalidInput("day", "say when the step is due: a day and a time, or how long after the step before")
    async with runtime.db.connection() as connection:
        await get_sequence(connection, workspace_id, sequence_id)
        check_step(fields, await _workspace(connection, workspace_id), None, may_be_empty=source is not None)
    medium = None if source is None else await media.take(runtime, workspace_id, source, actor=actor)
    media.check_text(fields["body"], medium, "body")
    async with runtime.db.transaction() as connection:
        held = await _locked_steps(connection, workspace_id, sequence_id)
        if len(held) >= MOST_STEPS:
            raise Conflict(f"A sequence has {MOST_STEPS} steps at most.")
        checked = check_step(fields, await _workspace(connection, workspace_id), None, may_be_empty=True)
        assert checked.timing is not None
        assert checked.template is not None
        place = len(held) if before is None else next((n for n, s in enumerate(held) if s.id == before), None)
        if place is None:
            raise InvalidInput("before_step_id", f"there is no step {before} in this sequence")
        check_timeline([s.timing for s in held[:place]] + [checked.timing] + [s.timing for s in held[place:]])
        sha256 = None if medium is None else medium.sha256
        content_id = await contents.insert(connection, workspace_id, fields["body"], checked.template.required, sha256)
        made = await sequence_steps.insert(
            connection, workspace_id, sequence_id, checked.timing, content_id, before=before
        )
        await sequences.touch_timeline(connection, workspace_id, sequence_id, retimed=True)
        await _note(connection, workspace_id, sequence_id, actor, "sequence.step.add", made, checked.timing)
        after = await _step(connection, workspace_id, sequence_id, made)
    await runtime.nudges.sequences(sequence_id)
    return after


async def edit_step(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    step_id: StepId,
    fields: StepFields,
    *,
    actor: str,
) -> Step:
    """Change what is given of a step and nothing else. Raises as `add_step` does."""
    source = step_media(fields)
    async with runtime.db.connection() as connection:
        before = await _step(connection, workspace_id, sequence_id, step_id)
        keeps = "media" not in fields and before.content.media_sha256 is not None
        may_be_empty = keeps or source is not None
        check_step(fields, await _workspace(connection, workspace_id), before.timing, may_be_empty=may_be_empty)
    given = None if source is None else await media.take(runtime, workspace_id, source, actor=actor)
    async with runtime.db.transaction() as connection:
        held = await _locked_steps(connection, workspace_id, sequence_id)
        before = _among(held, step_id)
        checked = check_step(fields, await _workspace(connection, workspace_id), before.timing, may_be_empty=True)
        timing = checked.timing or before.timing
        check_timeline([timing if s.id == step_id else s.timing for s in held])
        content_id = await after_edit(connection, workspace_id, before.content, fields, checked.template, given)
        if (timing, content_id) != (before.timing, before.content.id):
            await sequence_steps.update(connection, workspace_id, step_id, timing, content_id)
            await sequences.touch_timeline(connection, workspace_id, sequence_id, retimed=timing != before.timing)
            await _note(connection, workspace_id, sequence_id, actor, "sequence.step.edit", step_id, timing)
        after = await _step(connection, workspace_id, sequence_id, step_id)
    await runtime.nudges.sequences(sequence_id)
    return after


async def arrange_steps(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, order: Listed[StepId], *, actor: str
) -> list[Step]:
    """Put the steps into another order; each keeps its time, so the order must still be that of their moments.

    Raises InvalidInput unless every step is named once.
    """
    async with runtime.db.transaction() as connection:
        held = {s.id: s for s in await _locked_steps(connection, workspace_id, sequence_id)}
        if sorted(order) != sorted(held):
            raise InvalidInput("step_ids", f"name each of the {len(held)} steps once")
        check_timeline([held[step_id].timing for step_id in order])
        if list(order) != list(held):
            await sequence_steps.arrange(connection, workspace_id, sequence_id, order)
            await sequences.touch_timeline(connection, workspace_id, sequence_id, retimed=True)
            facts = {"steps": list(order)}
            await audit.record(
                connection, workspace_id, actor, "sequence.step.arrange", subject(sequence_id), after=facts
            )
        after = await sequence_steps.of_sequence(connection, workspace_id, sequence_id)
    await runtime.nudges.sequences(sequence_id)
    return after


async def move_step(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    step_id: StepId,
    *,
    earlier: bool,
    confirmed: int = 0,
    actor: str,
) -> bool:
    """Let a step change places with the one before or behind it. The times stay where they are, so the order is always
    that of the moments: what changes is which of the two comes first. False: there is none to change with.

    Who had the first of them and waits for the second is behind both then and goes on with the one after. Raises
    NotFound; Conflict while those are more people than were `confirmed`.
    """
    async with runtime.db.transaction() as connection:
        held = await _locked_steps(connection, workspace_id, sequence_id)
        one = _among(held, step_id).place - 1
        other = one - 1 if earlier else one + 1
        if not 0 <= other < len(held):
            return False
        second = held[max(one, other)]
        people = (await sequence_tallies.active_at(connection, workspace_id, sequence_id)).get(second.id, 0)
        if people > confirmed:
            who = "1 person waits" if people == 1 else f"{people:,} people wait"
            raise Conflict(
                f"{who} for step {second.place} and had the one before it: they would not get it any more. Confirm "
                f"with that count to let the two change places."
            )
        order = list(held)
        order[one], order[other] = order[other], order[one]
        for step, place in ((held[one], held[other]), (held[other], held[one])):
            await sequence_steps.update(connection, workspace_id, step.id, place.timing, step.content.id)
        await sequence_steps.arrange(connection, workspace_id, sequence_id, [s.id for s in order])
        await sequences.touch_timeline(connection, workspace_id, sequence_id, retimed=True)
        facts = {"steps": [s.id for s in order], "moved": step_id, "people": people}
        await audit.record(connection, workspace_id, actor, "sequence.step.arrange", subject(sequence_id), after=facts)
    await runtime.nudges.sequences(sequence_id)
    return True


async def delete_step(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    step_id: StepId,
    *,
    confirmed: int = 0,
    actor: str,
) -> int:
    """Send a step no more; how many people were at it and go on with the next one.

    Raises Conflict while more people are at it than were `confirmed`, or where it is the last step of a sequence at
    work; InvalidInput where the others would be out of order without it.
    """
    async with runtime.db.transaction() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id, lock=True)
        held = await _locked_steps(connection, workspace_id, sequence_id)
        gone = _among(held, step_id)
        people = (await sequence_tallies.active_at(connection, workspace_id, sequence_id)).get(step_id, 0)
        if len(held) == 1 and sequence.status is not SequenceStatus.DRAFT:
            raise Conflict(f"This is the only step of '{sequence.name}': archive the sequence instead.")
        if people > confirmed:
            who = "1 person is" if people == 1 else f"{people:,} people are"
            raise Conflict(
                f"{who} at step {gone.place}: without it they go on with the one behind it, or are through. Confirm "
                f"with that count to delete it."
            )
        check_timeline([s.timing for s in held if s.id != step_id])
        await sequence_steps.delete(connection, workspace_id, step_id)
        await sequences.touch_timeline(connection, workspace_id, sequence_id, retimed=True)
        facts = {"step": step_id, "people": people}
        await audit.record(connection, workspace_id, actor, "sequence.step.delete", subject(sequence_id), after=facts)
    await runtime.nudges.sequences(sequence_id)
    return people


async def preview_steps(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_id: SequenceId, *, lead_id: LeadId | None = None
) -> list[StepComing]:
    """When each step would come to somebody who is enrolled now, and what they would read. `lead_id`: who.

    Raises NotFound.
    """
    async with runtime.db.transaction() as connection:
        await get_sequence(connection, workspace_id, sequence_id)
        workspace = await _workspace(connection, workspace_id)
        zone = ZoneInfo(workspace.time_zone)
        if lead_id is not None:
            lead = await by_id(connection, workspace_id, lead_id)
            if lead is None:
                raise NotFound(f"There is no lead {lead_id} in this workspace.")
            zone = ZoneInfo(lead.lead.time_zone or workspace.time_zone)
        steps = await sequence_steps.of_sequence(connection, workspace_id, sequence_id)
        timeline = await sequence_steps.timeline(connection, workspace_id, sequence_id)
        moments = timeline.whole(await overview.now(connection), zone)
        coming = []
        for step, at in zip(steps, moments, strict=True):
            reading = None
            if lead_id is not None:
                reading = await read_as(connection, workspace, lead_id, Template.parse(step.content.body), at)
            coming.append(StepComing(step, at.astimezone(zone), reading))
    return coming


def check_texts(steps: Listed[Step], workspace: Workspace) -> list[InvalidInput]:
    """What is wrong with the texts of steps by now: variables that no lead has any more."""
    problems = []
    for step in steps:
        try:
            check_variables(Template.parse(step.content.body), frozenset(workspace.attribute_keys))
        except InvalidInput as error:
            problems.append(InvalidInput(f"steps[{step.place - 1}].body", error.problem))
    return problems


async def _workspace(connection: Connection, workspace_id: WorkspaceId) -> Workspace:
    found = await workspaces.by_id(connection, workspace_id)
    if found is None:
        raise NotFound(f"There is no workspace {workspace_id}.")
    return found


async def _locked_steps(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId) -> list[Step]:
    """The steps, which do not change while the sequence is locked. Raises NotFound, Conflict."""
    refuse_archived(await get_sequence(connection, workspace_id, sequence_id, lock=True))
    return await sequence_steps.of_sequence(connection, workspace_id, sequence_id)


def _among(steps: Listed[Step], step_id: StepId) -> Step:
    found = next((s for s in steps if s.id == step_id), None)
    if found is None:
        raise NotFound(f"There is no step {step_id} in this sequence.")
    return found


async def _step(connection: Connection, workspace_id: WorkspaceId, sequence_id: SequenceId, step_id: StepId) -> Step:
    return _among(await sequence_steps.of_sequence(connection, workspace_id, sequence_id), step_id)


async def _note(
    connection: Connection,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    actor: str,
    action: str,
    step_id: StepId,
    timing: Timing,
) -> None:
    facts = {"step": step_id, "when": str(timing)}
    await audit.record(connection, workspace_id, actor, action, subject(sequence_id), after=facts)
