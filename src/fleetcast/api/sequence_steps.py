"""The steps of a sequence: when each is due and what it says."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.campaigns import BODY_TOLD, MEDIA_TOLD, Media, left_out
from fleetcast.api.guard import Caller, GuardedRoute, Open, needs
from fleetcast.api.limits import with_medium
from fleetcast.api.paging import LAST_ID, Id
from fleetcast.api.sequences import SequenceStep
from fleetcast.domain.access import Scope
from fleetcast.domain.content import LONGEST_BODY
from fleetcast.domain.identifiers import LeadId, SequenceId, StepId
from fleetcast.domain.sequence import MOST_STEPS
from fleetcast.domain.timeline import LAST_DAY
from fleetcast.services import sequence_steps
from fleetcast.services.sequence_fields import StepFields

router = APIRouter(route_class=GuardedRoute, tags=["sequences"])

_WHEN = "On the person's clock; together with `day`."


class StepChange(BaseModel):
    """What may change of a step, at any time; what is left out stays as it is. It holds for everybody who does not
    have the step yet.
    """

    model_config = ConfigDict(extra="forbid")

    day: int = Field(
        default=0,
        ge=0,
        le=LAST_DAY,
        description="0: the day on which somebody begins; the day after, where the first step's time is over.",
        examples=[1],
        json_schema_extra=left_out,
    )
    time: str = Field(default="", max_length=16, description=_WHEN, examples=["09:00"], json_schema_extra=left_out)
    after: str = Field(
        default="",
        max_length=16,
        description="Instead of day and time: so long after the step before ended, or after somebody was enrolled.",
        json_schema_extra=left_out,
    )
    body: str = Field(
        default="",
        max_length=LONGEST_BODY,
        description=BODY_TOLD,
        examples=["Hello {{ name }}, how did it go?"],
        json_schema_extra=left_out,
    )
    media: Media | None = Field(default=None, description=f"{MEDIA_TOLD} null: none.", json_schema_extra=left_out)

    def fields(self) -> StepFields:
        """What was given and nothing else."""
        # The names are those of StepFields; a test compares them.
        given = self.model_fields_set - {"before_step_id"}
        return {name: getattr(self, name) for name in given}  # type: ignore[return-value]


class NewStep(StepChange):
    """A step to be added."""

    body: str = Field(
        max_length=LONGEST_BODY,
        description=BODY_TOLD,
        examples=["Hello {{ name }}, how did it go?"],
    )
    before_step_id: int | None = Field(
        default=None, ge=1, le=LAST_ID, description="In front of which step; null: behind all."
    )


class Order(BaseModel):
    """All steps, in the order that is wanted."""

    model_config = ConfigDict(extra="forbid")

    step_ids: list[Annotated[int, Field(ge=1, le=LAST_ID)]] = Field(min_length=1, max_length=MOST_STEPS)


class Steps(BaseModel):
    """The steps of a sequence, in their order."""

    items: list[SequenceStep]


class ComingStep(BaseModel):
    """A step as it would come to somebody who is enrolled now."""

    step_id: int
    place: int
    at: datetime = Field(description="With the offset of the person's zone.")
    text: str | None = Field(description="What the lead would read; null: no lead was named.", examples=["Hello Ada"])
    problem: str | None = Field(description="Why this lead would get no text.")


class ComingSteps(BaseModel):
    """All of them."""

    items: list[ComingStep]


class DeletedStep(BaseModel):
    """What came of it."""

    people: int = Field(description="So many were at it, and go on with the next one.")


@router.post("/sequences/{sequence_id}/steps", status_code=201, **needs(Scope.SEND, largest=with_medium))
async def add_step(sequence_id: Id, new: NewStep, access: Caller, runtime: Open, response: Response) -> SequenceStep:
    """Add a step, behind all others or in front of one. It reaches who has not passed its place and its moment."""
    made = await sequence_steps.add_step(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        new.fields(),
        before=None if new.before_step_id is None else StepId(new.before_step_id),
        actor=access.actor,
    )
    response.headers["Location"] = f"sequences/{sequence_id}"
    return SequenceStep.of(made)


@router.get("/sequences/{sequence_id}/preview", **needs(Scope.READ))
async def preview_steps(
    sequence_id: Id,
    access: Caller,
    runtime: Open,
    lead_id: Annotated[
        int | None, Query(ge=1, le=LAST_ID, description="By whose clock, and what they would read.")
    ] = None,
) -> ComingSteps:
    """When each step would come to somebody who is enrolled now."""
    found = await sequence_steps.preview_steps(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        lead_id=None if lead_id is None else LeadId(lead_id),
    )
    return ComingSteps(
        items=[
            ComingStep(
                step_id=c.step.id,
                place=c.step.place,
                at=c.at,
                text=c.reading.text if c.reading else None,
                problem=c.reading.problem if c.reading else None,
            )
            for c in found
        ]
    )


@router.put("/sequences/{sequence_id}/order", **needs(Scope.SEND))
async def arrange_steps(sequence_id: Id, order: Order, access: Caller, runtime: Open) -> Steps:
    """Put the steps into another order. Each keeps its time, so it must still be the order of their moments."""
    after = await sequence_steps.arrange_steps(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        [StepId(s) for s in order.step_ids],
        actor=access.actor,
    )
    return Steps(items=[SequenceStep.of(step) for step in after])


@router.patch("/sequences/{sequence_id}/steps/{step_id}", **needs(Scope.SEND, largest=with_medium))
async def edit_step(sequence_id: Id, step_id: Id, change: StepChange, access: Caller, runtime: Open) -> SequenceStep:
    """Change what is given and nothing else."""
    after = await sequence_steps.edit_step(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        StepId(step_id),
        change.fields(),
        actor=access.actor,
    )
    return SequenceStep.of(after)


@router.delete("/sequences/{sequence_id}/steps/{step_id}", **needs(Scope.SEND))
async def delete_step(
    sequence_id: Id,
    step_id: Id,
    access: Caller,
    runtime: Open,
    confirmed: Annotated[int, Query(ge=0, le=LAST_ID, description="How many people you were told that are at it.")] = 0,
) -> DeletedStep:
    """Delete a step. Refused (409) while more people are at it than were confirmed."""
    people = await sequence_steps.delete_step(
        runtime,
        access.workspace_id,
        SequenceId(sequence_id),
        StepId(step_id),
        confirmed=confirmed,
        actor=access.actor,
    )
    return DeletedStep(people=people)
