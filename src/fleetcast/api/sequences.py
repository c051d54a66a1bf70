"""Sequences: steps that reach each person in order, at their own time. Steps and people have modules of their own."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.campaigns import MOST_NICHES, Pause, Seconds, left_out
from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.paging import LAST_ID, STORABLE, After, Id, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.campaign import NicheMatch, TargetStatus
from fleetcast.domain.identifiers import SequenceId
from fleetcast.domain.schedule import write_deadline
from fleetcast.domain.sequence import FailureRule, SequenceStatus
from fleetcast.domain.timeline import At, write_span
from fleetcast.runtime import Runtime
from fleetcast.services import enrolments, sequence_actions, sequences
from fleetcast.services.sequence_fields import SequenceFields
from fleetcast.services.sequence_reports import People as CountedPeople
from fleetcast.services.sequences import Run, SequenceShown
from fleetcast.services.sequences import Sequence as StoredSequence
from fleetcast.services.sequences import Step as StoredStep

router = APIRouter(route_class=GuardedRoute, tags=["sequences"])

Confirmed = Annotated[int, Field(ge=0, le=LAST_ID, examples=[100_000])]
"""How many people somebody was told that it concerns; more by then, and nothing is done."""


class People(BaseModel):
    """Who came in, by where they are now. `enrolled` is the sum of active, completed and stopped."""

    model_config = ConfigDict(from_attributes=True)

    enrolled: int = Field(examples=[5000])
    active: int = Field(description="A step is due, under way or to come.")
    completed: int
    stopped: int
    replied: int = Field(description="Wrote while they were active, whether that stopped them or not.")
    by_reason: dict[str, int] = Field(description="Why they were stopped.", examples=[{"replied": 120}])

    @classmethod
    def of(cls, people: CountedPeople) -> "People":
        """For programs."""
        return cls.model_validate(people)


class SequenceStep(BaseModel):
    """A step: either at a time of a day, or so long after the step before."""

    id: int
    place: int = Field(description="From 1.")
    day: int | None = Field(description="0: the day on which somebody begins.")
    time: str | None = Field(description="On the person's clock.", examples=["09:00"])
    after: str | None = Field(description="The step before ended.", examples=["3h"])
    body: str = Field(description="Liquid, with the leads' variables.", examples=["Hello {{ name }}"])
    required_variables: list[str] = Field(description="A lead that lacks one of them gets no such step.")
    media_sha256: str | None

    @classmethod
    def of(cls, step: StoredStep) -> "SequenceStep":
        """For programs."""
        timing = step.timing
        return cls(
            id=step.id,
            place=step.place,
            day=timing.day if isinstance(timing, At) else None,
            time=f"{timing.time:%H:%M}" if isinstance(timing, At) else None,
            after=None if isinstance(timing, At) else write_span(timing.span),
            body=step.content.body,
            required_variables=list(step.content.required_variables),
            media_sha256=step.content.media_sha256,
        )


class EnrolmentRun(BaseModel):
    """Enrolling many, and how far it is."""

    model_config = ConfigDict(from_attributes=True)

    expected: int = Field(description="As many as were confirmed; 0: leads that came while it was paused.")
    enrolled: int
    started_at: datetime
    finished_at: datetime | None = Field(description="null: it is under way.")

    @classmethod
    def of(cls, run: Run) -> "EnrolmentRun":
        """For programs."""
        return cls.model_validate(run)


class Sequence(BaseModel):
    """A sequence and where it stands."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str = Field(examples=["Welcome"])
    status: SequenceStatus
    niches: list[str] = Field(description="Whole names.", examples=[["fitness"]])
    niche_match: NicheMatch
    target_status: TargetStatus
    auto_enrol: bool = Field(description="Leads that fit come in by themselves while it is active.")
    min_delay: float | None = Field(description="Seconds between two sends of a device; null: its own pace.")
    max_delay: float | None
    on_failure: FailureRule
    late_by: str = Field(description="How long after its moment a step may still go out.", examples=["12h"])
    stop_on_reply: bool
    stop_on_conversion: bool
    created_at: datetime
    activated_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    archived_at: datetime | None
    people: People


class SequenceDetails(Sequence):
    """A sequence with its steps."""

    steps: list[SequenceStep]
    at_step: dict[str, int] = Field(
        description="Step → people for whom it is due, under way or to come.", examples=[{"1": 42}]
    )
    run: EnrolmentRun | None = Field(description="The newest enrolment of many.")
    is_retimed: bool = Field(description="The timeline has changed, and people are being placed anew.")


class SequenceChange(BaseModel):
    """What may change of a sequence, at any time; what is left out stays as it is.

    Whom it is for concerns who comes in from now on; pace, rules and window the steps that go out from now on.
    """

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", max_length=200, examples=["Welcome"], json_schema_extra=left_out)
    niches: list[Annotated[str, Field(max_length=200, pattern=STORABLE)]] = Field(
        default=[],
        max_length=MOST_NICHES,
        description="Whole names; an empty list: nobody comes in by a niche.",
        examples=[["fitness"]],
        json_schema_extra=left_out,
    )
    niche_match: NicheMatch = Field(default=NicheMatch.ANY, json_schema_extra=left_out)
    target_status: TargetStatus = Field(default=TargetStatus.ALL, json_schema_extra=left_out)
    auto_enrol: bool = Field(
        default=False,
        description="Enrol leads that come, or come to have a niche, while it is active. Needs a niche.",
        json_schema_extra=left_out,
    )
    min_delay: Seconds | None = Field(
        default=None, description="Together with max_delay; null: each device's own pace.", json_schema_extra=left_out
    )
    max_delay: Seconds | None = Field(default=None, json_schema_extra=left_out)
    on_failure: FailureRule = Field(
        default=FailureRule.CONTINUE,
        description="What follows a step that was not sent: the next one, the same once more, or nothing.",
        json_schema_extra=left_out,
    )
    late_by: str = Field(
        default="12h",
        max_length=16,
        description="How long after its moment a step may still go out: 12h, 90m, 2d.",
        json_schema_extra=left_out,
    )
    stop_on_reply: bool = Field(default=True, json_schema_extra=left_out)
    stop_on_conversion: bool = Field(
        default=True,
        description="Stop who comes to be a prospect or customer that it is not for.",
        json_schema_extra=left_out,
    )

    def fields(self) -> SequenceFields:
        """What was given and nothing else."""
        # The names are those of SequenceFields; a test compares them.
        return {name: getattr(self, name) for name in self.model_fields_set}  # type: ignore[return-value]


class NewSequence(SequenceChange):
    """A sequence to be made, without steps."""

    name: str = Field(max_length=200, examples=["Welcome"])


class Existing(BaseModel):
    """Whom a run would enrol now."""

    people: int = Field(description="They fit, may be written to, and never were in it.", examples=[100_000])


class Activation(BaseModel):
    """How to set a sequence in motion."""

    model_config = ConfigDict(extra="forbid")

    enrol_existing: Confirmed | None = Field(
        default=None,
        description="Enrol also the leads that there are and fit: as many as you were told. null: only who comes.",
    )
    even_offline: bool = Field(default=False, description="Also while no device is online.", examples=[True])


class Archiving(BaseModel):
    """How many people it concerns."""

    model_config = ConfigDict(extra="forbid")

    confirmed: Confirmed = 0


def facts(sequence: StoredSequence, people: CountedPeople) -> dict[str, Any]:
    """A sequence for programs."""
    found = {name: getattr(sequence, name) for name in Sequence.model_fields if hasattr(sequence, name)}
    return found | {"late_by": write_deadline(sequence.late_by), "people": People.of(people)}


def _told(shown: SequenceShown) -> SequenceDetails:
    more: dict[str, Any] = {
        "steps": [SequenceStep.of(step) for step in shown.steps],
        "at_step": {str(step): n for step, n in shown.at_step.items()},
        "run": None if shown.run is None else EnrolmentRun.of(shown.run),
        "is_retimed": shown.sequence.retime_cursor is not None,
    }
    return SequenceDetails.model_validate(facts(shown.sequence, shown.people) | more)


async def _show(runtime: Runtime, access: Caller, sequence_id: int) -> SequenceDetails:
    return _told(await sequences.show_sequence(runtime, access.workspace_id, SequenceId(sequence_id)))


@router.get("/sequences", **needs(Scope.READ))
async def list_sequences(
    access: Caller,
    runtime: Open,
    status: Annotated[SequenceStatus | None, Query(description="Only those in this status.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Sequence]:
    """Sequences with how many people are in each, newest first."""
    found, following = await sequences.page_of_sequences(
        runtime, access.workspace_id, status=status, after=after, limit=limit
    )
    return Page(items=[Sequence.model_validate(facts(s, people)) for s, people in found], next=following)


@router.post("/sequences", status_code=201, **needs(Scope.SEND))
async def create_sequence(new: NewSequence, access: Caller, runtime: Open, response: Response) -> SequenceDetails:
    """Make a draft. Add its steps, then activate it."""
    made = await sequences.create_sequence(runtime, access.workspace_id, new.fields(), actor=access.actor)
    response.headers["Location"] = f"sequences/{made.id}"
    return await _show(runtime, access, made.id)


@router.get("/sequences/{sequence_id}", **needs(Scope.READ))
async def show_sequence(sequence_id: Id, access: Caller, runtime: Open) -> SequenceDetails:
    """One sequence with its steps, and how many people are where."""
    return await _show(runtime, access, sequence_id)


@router.patch("/sequences/{sequence_id}", **needs(Scope.SEND))
async def edit_sequence(sequence_id: Id, change: SequenceChange, access: Caller, runtime: Open) -> SequenceDetails:
    """Change what is given and nothing else."""
    await sequences.edit_sequence(
        runtime, access.workspace_id, SequenceId(sequence_id), change.fields(), actor=access.actor
    )
    return await _show(runtime, access, sequence_id)


@router.post("/sequences/{sequence_id}/clone", status_code=201, **needs(Scope.SEND))
async def clone_sequence(sequence_id: Id, access: Caller, runtime: Open, response: Response) -> SequenceDetails:
    """A new draft with the same steps, audience, pace and rules, and nobody in it."""
    made = await sequences.clone_sequence(runtime, access.workspace_id, SequenceId(sequence_id), actor=access.actor)
    response.headers["Location"] = f"sequences/{made.id}"
    return await _show(runtime, access, made.id)


@router.get("/sequences/{sequence_id}/existing", **needs(Scope.READ))
async def count_existing(sequence_id: Id, access: Caller, runtime: Open) -> Existing:
    """How many leads there are that fit and never were in it. Looks at every lead once."""
    found = await enrolments.count_existing(runtime, access.workspace_id, SequenceId(sequence_id))
    return Existing(people=found)


@router.post("/sequences/{sequence_id}/activate", **needs(Scope.SEND))
async def activate_sequence(
    sequence_id: Id, access: Caller, runtime: Open, how: Activation | None = None
) -> SequenceDetails:
    """Set a draft in motion. Refused (409) while no device is online, unless that is confirmed."""
    how = how or Activation()
    await sequence_actions.activate_sequence(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        enrol_existing=how.enrol_existing,
        even_offline=how.even_offline,
        actor=access.actor,
    )
    return await _show(runtime, access, sequence_id)


@router.post("/sequences/{sequence_id}/pause", **needs(Scope.SEND))
async def pause_sequence(sequence_id: Id, access: Caller, runtime: Open, why: Pause | None = None) -> SequenceDetails:
    """Hold it: nothing of it is sent, and nobody comes in by themselves."""
    await sequence_actions.pause_sequence(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        actor=access.actor,
        reason=(why.reason or None) if why else None,
    )
    return await _show(runtime, access, sequence_id)


@router.post("/sequences/{sequence_id}/resume", **needs(Scope.SEND))
async def resume_sequence(sequence_id: Id, access: Caller, runtime: Open) -> SequenceDetails:
    """Let it go on. What is later than its window by now has expired."""
    await sequence_actions.resume_sequence(runtime, access.workspace_id, SequenceId(sequence_id), actor=access.actor)
    return await _show(runtime, access, sequence_id)


@router.post("/sequences/{sequence_id}/archive", **needs(Scope.SEND))
async def archive_sequence(
    sequence_id: Id, access: Caller, runtime: Open, how: Archiving | None = None
) -> SequenceDetails:
    """End it for good: everybody in it is stopped. Refused (409) while more people are in it than were confirmed."""
    await sequence_actions.archive_sequence(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        confirmed=how.confirmed if how else 0,
        actor=access.actor,
    )
    return await _show(runtime, access, sequence_id)
