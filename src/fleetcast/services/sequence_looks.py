"""A sequence as it is being written: what is wrong with a step so far, when it would come, and what one would read.

Nothing here is stored. Separate from `sequence_steps`, which takes all of a step or nothing: here each part is read for
itself, so that a text that is half written does not hide the day on which it would come.
"""

from collections.abc import Sequence as Listed
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from fleetcast.domain.content import Template
from fleetcast.domain.identifiers import SequenceId, StepId, WorkspaceId
from fleetcast.domain.media import StoredMedia
from fleetcast.domain.timeline import Timeline, TimelineStep, Timing, check_timeline
from fleetcast.errors import InvalidInput, InvalidInputs, NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.campaign_fields import CampaignFields
from fleetcast.services.drafting import DraftLook, Reading, look_at_draft, read_as
from fleetcast.services.media import check_text, is_hash, unknown_medium
from fleetcast.services.sequence_fields import SequenceFields, StepFields, check_audience, check_sequence, check_step
from fleetcast.services.sequences import get_sequence
from fleetcast.store import leads, media, overview, sequence_steps, sequences, workspaces
from fleetcast.store.sequence_steps import Step

__all__ = ["StepLook", "look_at_audience_of", "look_at_sequence", "look_at_step", "media_of", "next_due"]

_NEW = StepId(0)


@dataclass(frozen=True, slots=True)
class StepLook:
    """A step as far as it is written."""

    reading: Reading | None
    """None: nobody is there to read it."""
    at: datetime | None
    """When it would come to somebody who is enrolled now, by their clock; None: that cannot be said yet."""
    medium: StoredMedia | None
    problems: tuple[InvalidInput, ...]

    def of(self, *fields: str) -> list[InvalidInput]:
        """What is wrong with these fields."""
        return [p for p in self.problems if p.field in fields]


async def look_at_sequence(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    fields: SequenceFields,
    counts: LeadCounts,
) -> tuple[DraftLook, list[InvalidInput]]:
    """Whom it would be for as it stands, and everything that is wrong with it. Raises NotFound, Unavailable."""
    problems: list[InvalidInput] = []
    try:
        check_sequence(fields, (None, None))
    except InvalidInputs as error:
        problems += error.problems
    except InvalidInput as error:
        problems.append(error)
    try:
        check_audience(auto_enrol=fields.get("auto_enrol", False), niches=fields.get("niches", ()))
    except InvalidInput as error:
        problems.append(error)
    audience: CampaignFields = {
        "niches": fields.get("niches", ()),
        "niche_match": fields.get("niche_match", "any"),
        "target_status": fields.get("target_status", "all"),
    }
    return await look_at_draft(runtime, workspace_id, audience, counts), problems


async def look_at_audience_of(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    counts: LeadCounts,
    *,
    lead_id: int = 0,
    another: bool = False,
) -> DraftLook:
    """Whom a stored sequence is for, and one of them to read it. Raises NotFound, Unavailable."""
    async with runtime.db.connection() as connection:
        sequence = await get_sequence(connection, workspace_id, sequence_id)
    audience: CampaignFields = {
        "niches": sequence.niches,
        "niche_match": sequence.niche_match,
        "target_status": sequence.target_status,
    }
    return await look_at_draft(runtime, workspace_id, audience, counts, lead_id=lead_id, another=another)


async def look_at_step(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    sequence_id: SequenceId,
    fields: StepFields,
    *,
    step_id: StepId | None = None,
    before: StepId | None = None,
    reader: Reading | None = None,
) -> StepLook:
    """Look at what a form says of a step so far: of one that there is, or of a new one in front of `before` or behind
    all. `reader`: by whose clock, and who reads it. Raises NotFound.
    """
    problems: list[InvalidInput] = []
    async with runtime.db.transaction() as connection:
        await get_sequence(connection, workspace_id, sequence_id)
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        held = await sequence_steps.of_sequence(connection, workspace_id, sequence_id)
        own = next((s.timing for s in held if s.id == step_id), None)
        timing: Timing | None = None
        template: Template | None = None
        when: StepFields = {k: v for k, v in fields.items() if k in ("day", "time", "after")}  # type: ignore[assignment]
        said: StepFields = {"body": fields.get("body", "")}
        try:
            timing = check_step(when, workspace, own).timing
            _check_place(held, timing, step_id, before)
        except InvalidInput as error:
            problems.append(InvalidInput("when", error.problem) if error.field.startswith("steps[") else error)
        if said["body"].strip():
            try:
                template = check_step(said, workspace, None).template
            except InvalidInput as error:
                problems += error.problems if isinstance(error, InvalidInputs) else [error]
        zone, now = ZoneInfo(workspace.time_zone), await overview.now(connection)
        lead = None if reader is None else await leads.by_id(connection, workspace_id, reader.lead_id)
        if lead is not None and lead.lead.time_zone:
            zone = ZoneInfo(lead.lead.time_zone)
        at = None
        if timing is not None and not any(p.field == "when" for p in problems):
            at = _moment(held, timing, step_id, before, now, zone)
        reading = None
        if lead is not None:
            reading = await read_as(connection, workspace, lead.id, template, at or now)
        named = fields.get("media")
        medium = await media.find(connection, workspace_id, named) if isinstance(named, str) else None
        if isinstance(named, str) and medium is None and is_hash(named):
            problems.append(unknown_medium(named))
        elif said["body"].strip():
            try:
                check_text(said["body"], medium, "body")
            except InvalidInput as error:
                problems.append(error)
    return StepLook(reading, None if at is None else at.astimezone(zone), medium, tuple(problems))


def _arranged(
    held: Listed[Step], timing: Timing, step_id: StepId | None, before: StepId | None
) -> list[tuple[StepId, Timing]]:
    """All steps in their order with this one among them, which has the id 0 where it is new."""
    found = [(s.id, timing if s.id == step_id else s.timing) for s in held]
    if step_id is None:
        place = next((n for n, s in enumerate(held) if s.id == before), len(held))
        found.insert(place, (_NEW, timing))
    return found


def _check_place(held: Listed[Step], timing: Timing | None, step_id: StepId | None, before: StepId | None) -> None:
    if timing is not None:
        check_timeline([t for _, t in _arranged(held, timing, step_id, before)])


def _moment(
    held: Listed[Step],
    timing: Timing,
    step_id: StepId | None,
    before: StepId | None,
    now: datetime,
    zone: ZoneInfo,
) -> datetime:
    steps = _arranged(held, timing, step_id, before)
    moments = Timeline([TimelineStep(s, n, t) for n, (s, t) in enumerate(steps)]).whole(now, zone)
    place = next(n for n, (s, _) in enumerate(steps) if s == (step_id or _NEW))
    return moments[place]


async def media_of(runtime: Runtime, workspace_id: WorkspaceId, steps: Listed[Step]) -> dict[str, StoredMedia]:
    """The media of steps, by their hash."""
    wanted = {s.content.media_sha256 for s in steps if s.content.media_sha256 is not None}
    found: dict[str, StoredMedia] = {}
    if wanted:
        async with runtime.db.connection() as connection:
            for sha256 in sorted(wanted):
                if (medium := await media.find(connection, workspace_id, sha256)) is not None:
                    found[sha256] = medium
    return found


async def next_due(
    runtime: Runtime, workspace_id: WorkspaceId, sequence_ids: Listed[SequenceId]
) -> dict[SequenceId, datetime]:
    """When the next of their steps is due; a sequence in which nothing waits is left out."""
    async with runtime.db.connection() as connection:
        return await sequences.next_due(connection, workspace_id, sequence_ids)
