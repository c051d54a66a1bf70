"""The steps of a sequence: the form of one, what it shows while somebody types, moving and removing."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import SequenceId, StepId
from fleetcast.domain.timeline import At, write_span
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs, NotFound
from fleetcast.services import sequence_steps, sequences
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.sequence_fields import StepFields
from fleetcast.services.sequence_looks import StepLook, look_at_audience_of, look_at_step
from fleetcast.services.sequences import SequenceShown, Step
from fleetcast.web import rendering
from fleetcast.web.fields import MEDIA
from fleetcast.web.pages.sequences import SECTION, ThisSequence, number, sequence_page
from fleetcast.web.place import Place, Sending

router = APIRouter()

Line = Annotated[str, Form(max_length=2_000)]
Text = Annotated[str, Form(max_length=20_000)]
ThisStep = Annotated[int, Path(alias="step_id", ge=1, le=2**63 - 1)]
Given = dict[str, str]


async def given_form(
    how: Line = "at",
    day: Line = "",
    time: Line = "",
    after: Line = "",
    body: Text = "",
    media: Line = "",
    place: Line = "",
    lead: Line = "",
    step: Line = "",
) -> Given:
    """The fields of the form as they were typed."""
    return {
        "how": how,
        "day": day,
        "time": time,
        "after": after,
        "body": body,
        "media": media,
        "place": place,
        "lead": lead,
        "step": step,
    }


Form_ = Annotated[Given, Depends(given_form)]


@router.get("/sequences/{sequence_id}/steps/new")
async def new_step(request: Request, here: Sending, sequence_id: ThisSequence) -> HTMLResponse:
    """An empty form: the first step at once, later ones a day after the last."""
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, SequenceId(sequence_id))
    last = shown.steps[-1].timing if shown.steps else None
    fresh = {"how": "at", "day": "0", "time": "09:00", "after": "0m"}
    if last is None:
        fresh |= {"how": "after"}
    elif isinstance(last, At):
        fresh |= {"day": str(last.day + 1), "time": f"{last.time:%H:%M}", "after": "1d"}
    else:
        fresh |= {"how": "after", "day": "1", "after": "1d"}
    return await _form(request, here, shown, None, fresh | {"body": "", "media": "", "place": "", "lead": ""})


@router.post("/sequences/{sequence_id}/steps/new")
async def add(request: Request, here: Sending, sequence_id: ThisSequence, given: Form_) -> Response:
    """Add it."""
    sequence = SequenceId(sequence_id)
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, sequence)
    try:
        before = number(given["place"])
        await sequence_steps.add_step(
            here.runtime,
            here.workspace.id,
            sequence,
            step_fields(given),
            before=None if not before else StepId(before),
            actor=here.access.actor,
        )
    except (InvalidInput, InvalidInputs, Conflict) as error:
        return await _form(request, here, shown, None, given, trouble=error)
    return here.to(f"/sequences/{sequence_id}", "step-add")


@router.post("/sequences/{sequence_id}/steps/look")
async def look(
    request: Request,
    here: Sending,
    sequence_id: ThisSequence,
    given: Form_,
    another: Annotated[str, Form(max_length=10)] = "",
) -> HTMLResponse:
    """When would it come as it stands, what would one of them read, and what is wrong with it? Nothing is stored."""
    found = await _look(request, here, SequenceId(sequence_id), given, number(given["step"]), another=bool(another))
    return rendering.part(
        "parts/step_look.html",
        here,
        status=422 if found.of("media") else 200,  # no typing leads there: it names what is not of this workspace
        look=found,
        body=given["body"],
        url=f"/sequences/{sequence_id}",
    )


@router.get("/sequences/{sequence_id}/steps/{step_id}")
async def edit_form(request: Request, here: Sending, sequence_id: ThisSequence, step_id: ThisStep) -> HTMLResponse:
    """The form with what is stored."""
    shown, step = await _found(here, sequence_id, step_id)
    timing = step.timing
    given = {
        "how": "at" if isinstance(timing, At) else "after",
        "day": str(timing.day) if isinstance(timing, At) else "1",
        "time": f"{timing.time:%H:%M}" if isinstance(timing, At) else "09:00",
        "after": "1d" if isinstance(timing, At) else write_span(timing.span),
        "body": step.content.body,
        "media": step.content.media_sha256 or "",
        "place": "",
        "lead": "",
    }
    return await _form(request, here, shown, step, given)


@router.post("/sequences/{sequence_id}/steps/{step_id}")
async def edit(request: Request, here: Sending, sequence_id: ThisSequence, step_id: ThisStep, given: Form_) -> Response:
    """Change it, for everybody who does not have it yet."""
    shown, step = await _found(here, sequence_id, step_id)
    try:
        await sequence_steps.edit_step(
            here.runtime,
            here.workspace.id,
            SequenceId(sequence_id),
            StepId(step_id),
            step_fields(given),
            actor=here.access.actor,
        )
    except (InvalidInput, InvalidInputs, Conflict) as error:
        return await _form(request, here, shown, step, given, trouble=error)
    return here.to(f"/sequences/{sequence_id}", "step-edit")


@router.post("/sequences/{sequence_id}/steps/{step_id}/{move}")
async def move(
    request: Request,
    here: Sending,
    sequence_id: ThisSequence,
    step_id: ThisStep,
    move: Annotated[str, Path(pattern="^(earlier|later|remove)$")],
    confirmed: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Let it change places with its neighbour, or take it out."""
    sequence, step = SequenceId(sequence_id), StepId(step_id)
    try:
        if move == "remove":
            people = await sequence_steps.delete_step(
                here.runtime,
                here.workspace.id,
                sequence,
                step,
                confirmed=number(confirmed) or 0,
                actor=here.access.actor,
            )
            return here.to(f"/sequences/{sequence_id}", "step-removed", people or None)
        moved = await sequence_steps.move_step(
            here.runtime,
            here.workspace.id,
            sequence,
            step,
            earlier=move == "earlier",
            confirmed=number(confirmed) or 0,
            actor=here.access.actor,
        )
    except (Conflict, InvalidInput) as error:
        return await sequence_page(request, here, sequence, trouble=error)
    return here.to(f"/sequences/{sequence_id}", "step-moved" if moved else "nothing")


def step_fields(given: Given) -> StepFields:
    """What the form says, as the use case takes it. Raises InvalidInput for a day that is no number."""
    fields: StepFields = {"body": given["body"], "media": given["media"].strip() or None}
    return fields | when_fields(given)


def when_fields(given: Given) -> StepFields:
    """The part of it that says when. Raises InvalidInput."""
    if given["how"] == "after":
        return {"after": given["after"].strip() or "0m"}
    day = number(given["day"].strip())
    if day is None:
        raise InvalidInput("day", "give the day as a number; 0 is the day on which somebody begins")
    return {"day": day, "time": given["time"]}


async def _found(here: Place, sequence_id: int, step_id: int) -> tuple[SequenceShown, Step]:
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, SequenceId(sequence_id))
    step = next((s for s in shown.steps if s.id == step_id), None)
    if step is None:
        raise NotFound(f"There is no step {step_id} in this sequence.")
    return shown, step


async def _look(
    request: Request, here: Place, sequence: SequenceId, given: Given, step: int | None, *, another: bool = False
) -> StepLook:
    counts: LeadCounts = request.app.state.lead_counts
    audience = await look_at_audience_of(
        here.runtime, here.workspace.id, sequence, counts, lead_id=number(given["lead"]) or 0, another=another
    )
    fields: StepFields = {"body": given["body"], "media": given["media"].strip() or None}
    problems: list[InvalidInput] = []
    try:
        fields |= when_fields(given)
    except InvalidInput as error:
        problems.append(error)
    before = number(given["place"])
    found = await look_at_step(
        here.runtime,
        here.workspace.id,
        sequence,
        fields,
        step_id=StepId(step) if step else None,
        before=StepId(before) if before else None,
        reader=audience.reading,
    )
    return StepLook(found.reading, found.at, found.medium, (*problems, *found.problems)) if problems else found


async def _form(
    request: Request,
    here: Place,
    shown: SequenceShown,
    step: Step | None,
    given: Given,
    *,
    trouble: InvalidInput | InvalidInputs | Conflict | None = None,
) -> HTMLResponse:
    return rendering.page(
        request,
        here,
        "step_form.html",
        SECTION,
        "New step" if step is None else f"Step {step.place} of {shown.sequence.name}",
        shown=shown,
        step=step,
        given=given,
        look=await _look(request, here, shown.sequence.id, given, step.id if step else None),
        largest=here.runtime.settings.media_max_bytes,
        kinds=MEDIA,
        **rendering.refusal(trouble),
    )
