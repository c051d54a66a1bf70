"""People in sequences: enrol, list, look at one, take out; and what a lead is in."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.paging import LAST_ID, STORABLE, After, Id, Limit, Page
from fleetcast.api.sequences import Confirmed, EnrolmentRun, SequenceStep
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import DeviceId, EnrolmentId, LeadId, SequenceId, StepId
from fleetcast.domain.sequence import EnrolmentSource, EnrolmentState, StopReason
from fleetcast.services import enrolments, leads
from fleetcast.services.enrolments import MOST_AT_ONCE, Wanted

router = APIRouter(route_class=GuardedRoute, tags=["sequences"])


class Enrolment(BaseModel):
    """One person in a sequence."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    sequence_id: int
    lead_id: int
    device_id: int = Field(description="The lead's own, from which every step goes out.")
    phone: str = Field(examples=["+60123456789"])
    name: str
    state: EnrolmentState
    stop_reason: StopReason | None
    source: EnrolmentSource
    step_id: int | None = Field(description="That is due, under way or to come.")
    done_step_id: int | None = Field(description="The last that ended.")
    message_id: int | None = Field(description="Of the step that is under way.")
    enrolled_at: datetime
    anchor: date = Field(description="Day 0, by the person's clock.")
    moment: datetime | None = Field(description="When the step is due by the person's clock.")
    due_at: datetime | None = Field(description="When something is to be done next.")
    done_at: datetime | None
    replied_at: datetime | None
    ended_at: datetime | None


class StepProgress(BaseModel):
    """One step of one person's way."""

    step: SequenceStep
    at: datetime | None = Field(description="When it is due, was sent, or ended; null: that is not known yet.")
    message_id: int | None = Field(description="null: it was not made yet.")
    status: str | None
    delivery: str | None
    reason: str | None


class EnrolmentDetails(Enrolment):
    """One person in a sequence, step by step."""

    steps: list[StepProgress]


class NewEnrolments(BaseModel):
    """People to be enrolled, by number of lead or of telephone; at least one."""

    model_config = ConfigDict(extra="forbid")

    lead_ids: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(default=[], max_length=MOST_AT_ONCE)
    phones: list[Annotated[str, Field(max_length=64, pattern=STORABLE)]] = Field(
        default=[], max_length=MOST_AT_ONCE, description="Of leads of this workspace.", examples=[["+60123456789"]]
    )
    again: bool = Field(default=False, description="Also who was in it before.", examples=[False])


class Enrolled(BaseModel):
    """What became of them."""

    enrolment_ids: list[int]
    active: int = Field(description="In it already.")
    before: int = Field(description="Were in it before.")
    unwritable: int = Field(description="On the suppression list, or refused.")
    unknown: int = Field(description="No lead of this workspace.")


class EnrolExisting(BaseModel):
    """How many leads you were told that fit."""

    model_config = ConfigDict(extra="forbid")

    confirmed: Confirmed


class Stop(BaseModel):
    """Whom to take out."""

    model_config = ConfigDict(extra="forbid")

    enrolment_ids: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(min_length=1, max_length=MOST_AT_ONCE)


class Stopped(BaseModel):
    """What came of it."""

    stopped: int = Field(description="So many were active.")


@router.get("/sequences/{sequence_id}/enrolments", **needs(Scope.READ))
async def list_enrolments(
    sequence_id: Id,
    access: Caller,
    runtime: Open,
    state: Annotated[EnrolmentState | None, Query(description="Only those in this state.")] = None,
    device_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this device.")] = None,
    step_id: Annotated[
        int | None, Query(ge=1, le=LAST_ID, description="Only those at this step, or for whom it was the last.")
    ] = None,
    stop_reason: Annotated[StopReason | None, Query(description="Only who was stopped for this.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Enrolment]:
    """Who is or was in a sequence, newest first."""
    wanted = Wanted(
        state,
        None if device_id is None else DeviceId(device_id),
        None if step_id is None else StepId(step_id),
        stop_reason,
    )
    found, following = await enrolments.page_of_enrolments(
        runtime, access.workspace_id, SequenceId(sequence_id), wanted, after=after, limit=limit
    )
    return Page(items=[Enrolment.model_validate(e) for e in found], next=following)


@router.post("/sequences/{sequence_id}/enrolments", **needs(Scope.SEND))
async def enrol(sequence_id: Id, new: NewEnrolments, access: Caller, runtime: Open) -> Enrolled:
    """Enrol people by name. They need not fit its niches; who is in it stays where they are."""
    done = await enrolments.enrol_people(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        lead_ids=[LeadId(i) for i in new.lead_ids],
        phones=new.phones,
        again=new.again,
        actor=access.actor,
    )
    return Enrolled(
        enrolment_ids=list(done.enrolled),
        active=done.active,
        before=done.before,
        unwritable=done.unwritable,
        unknown=done.unknown,
    )


@router.post("/sequences/{sequence_id}/enrolments/existing", status_code=202, **needs(Scope.SEND))
async def enrol_existing(sequence_id: Id, what: EnrolExisting, access: Caller, runtime: Open) -> EnrolmentRun:
    """Begin to enrol all leads that there are and fit. The sequence shows how far it is."""
    run = await enrolments.enrol_existing(
        runtime, access.workspace_id, SequenceId(sequence_id), confirmed=what.confirmed, actor=access.actor
    )
    return EnrolmentRun.of(run)


@router.post("/sequences/{sequence_id}/enrolments/stop", **needs(Scope.SEND))
async def stop_enrolments(sequence_id: Id, which: Stop, access: Caller, runtime: Open) -> Stopped:
    """Take people out of a sequence. What is on its way to them at this moment arrives."""
    stopped = await enrolments.stop_enrolments(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        [EnrolmentId(i) for i in which.enrolment_ids],
        actor=access.actor,
    )
    return Stopped(stopped=stopped)


@router.get("/enrolments/{enrolment_id}", **needs(Scope.READ))
async def show_enrolment(enrolment_id: Id, access: Caller, runtime: Open) -> EnrolmentDetails:
    """One person in a sequence, step by step."""
    story = await enrolments.show_enrolment(runtime, access.workspace_id, EnrolmentId(enrolment_id))
    own = Enrolment.model_validate(story.enrolment).model_dump()
    steps = [
        StepProgress(
            step=SequenceStep.of(s.step),
            at=s.at,
            message_id=s.message.message_id if s.message else None,
            status=s.message.status if s.message else None,
            delivery=s.message.delivery if s.message else None,
            reason=s.message.reason if s.message else None,
        )
        for s in story.steps
    ]
    return EnrolmentDetails(**own, steps=steps)


@router.get("/leads/{lead_id}/enrolments", **needs(Scope.READ))
async def list_lead_enrolments(
    lead_id: Id, access: Caller, runtime: Open, limit: Limit = 50, after: After = None
) -> Page[Enrolment]:
    """What the person of a lead is and was in, newest first, also as a lead of other devices."""
    shown = await leads.show_lead(runtime, access.workspace_id, LeadId(lead_id))
    found, following = await enrolments.enrolments_of_person(
        runtime, access.workspace_id, shown.stored.lead.phone, after=after, limit=limit
    )
    return Page(items=[Enrolment.model_validate(e) for e in found], next=following)
