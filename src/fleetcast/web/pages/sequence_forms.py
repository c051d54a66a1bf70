"""Making and changing a sequence: whom it is for, what ends it, its pace. What it says is in `sequence_steps`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import SequenceId
from fleetcast.domain.schedule import write_deadline
from fleetcast.domain.sequence import SequenceStatus
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs
from fleetcast.services import sequences
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.drafting import DraftLook, known_niches
from fleetcast.services.sequence_fields import SequenceFields
from fleetcast.services.sequence_looks import look_at_sequence
from fleetcast.services.sequences import SequenceShown
from fleetcast.web import rendering
from fleetcast.web.fields import seconds
from fleetcast.web.pages.sequences import SECTION, ThisSequence
from fleetcast.web.place import Place, Sending

router = APIRouter()

Line = Annotated[str, Form(max_length=2_000)]
Given = dict[str, str]

_FRESH: Given = {
    "name": "",
    "niches": "",
    "niche_match": "any",
    "target_status": "all",
    "auto_enrol": "",
    "min_delay": "",
    "max_delay": "",
    "on_failure": "continue",
    "late_by": "12h",
    "stop_on_reply": "1",
    "stop_on_conversion": "1",
}


async def given_form(
    name: Line = "",
    niches: Line = "",
    niche_match: Line = "any",
    target_status: Line = "all",
    auto_enrol: Line = "",
    min_delay: Line = "",
    max_delay: Line = "",
    on_failure: Line = "continue",
    late_by: Line = "",
    stop_on_reply: Line = "",
    stop_on_conversion: Line = "",
) -> Given:
    """The fields of the form as they were typed; a box that is not ticked is empty."""
    return {
        "name": name,
        "niches": niches,
        "niche_match": niche_match,
        "target_status": target_status,
        "auto_enrol": auto_enrol,
        "min_delay": min_delay,
        "max_delay": max_delay,
        "on_failure": on_failure,
        "late_by": late_by,
        "stop_on_reply": stop_on_reply,
        "stop_on_conversion": stop_on_conversion,
    }


Form_ = Annotated[Given, Depends(given_form)]


@router.get("/sequences/new")
async def new_sequence(request: Request, here: Sending) -> HTMLResponse:
    """An empty form."""
    return await _form(request, here, None, dict(_FRESH))


@router.post("/sequences/new")
async def create(request: Request, here: Sending, given: Form_) -> Response:
    """Store a draft, to which steps are added."""
    try:
        made = await sequences.create_sequence(
            here.runtime, here.workspace.id, form_fields(given), actor=here.access.actor
        )
    except (InvalidInput, InvalidInputs) as error:
        return await _form(request, here, None, given, trouble=error)
    return here.to(f"/sequences/{made.id}", "sequence-draft")


@router.get("/sequences/{sequence_id}/edit")
async def edit_form(request: Request, here: Sending, sequence_id: ThisSequence) -> HTMLResponse:
    """The form with what is stored."""
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, SequenceId(sequence_id))
    return await _form(request, here, shown, _stored(shown))


@router.post("/sequences/{sequence_id}/edit")
async def edit(request: Request, here: Sending, sequence_id: ThisSequence, given: Form_) -> Response:
    """Change it; it holds from now on."""
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, SequenceId(sequence_id))
    try:
        await sequences.edit_sequence(
            here.runtime, here.workspace.id, SequenceId(sequence_id), form_fields(given), actor=here.access.actor
        )
    except (InvalidInput, InvalidInputs, Conflict) as error:
        return await _form(request, here, shown, given, trouble=error)
    return here.to(f"/sequences/{sequence_id}", "sequence-edit")


@router.post("/sequences/look")
async def look(request: Request, here: Sending, given: Form_) -> HTMLResponse:
    """Whom would it be for as it stands, and what is wrong with it? Nothing is stored."""
    found = await _look(request, here, given)
    return rendering.part("parts/sequence_look.html", here, look=found, given=given)


def form_fields(given: Given) -> SequenceFields:
    """What the form says, as the use case takes it. Raises InvalidInput for what is no number."""
    return {
        "name": given["name"],
        "niches": [n for n in given["niches"].split(",") if n.strip()],
        "niche_match": given["niche_match"],
        "target_status": given["target_status"],
        "auto_enrol": bool(given["auto_enrol"]),
        "min_delay": _delay(given, "min_delay"),
        "max_delay": _delay(given, "max_delay"),
        "on_failure": given["on_failure"],
        "late_by": given["late_by"],
        "stop_on_reply": bool(given["stop_on_reply"]),
        "stop_on_conversion": bool(given["stop_on_conversion"]),
    }


async def _look(request: Request, here: Place, given: Given) -> DraftLook:
    problems: list[InvalidInput] = []
    legible = dict(given)
    for name in ("min_delay", "max_delay"):
        try:
            _delay(given, name)
        except InvalidInput as error:
            problems.append(error)
            legible |= {"min_delay": "", "max_delay": ""}
    counts: LeadCounts = request.app.state.lead_counts
    found, wrong = await look_at_sequence(here.runtime, here.workspace.id, form_fields(legible), counts)
    told = [p for p in (*problems, *wrong) if p.field != "name" or given["name"].strip()]
    known = {(p.field, p.problem) for p in told}
    return replace(found, problems=(*told, *(p for p in found.problems if (p.field, p.problem) not in known)))


def _delay(given: Given, name: str) -> float | None:
    return seconds(name, given[name]) if given[name].strip() else None


def _stored(shown: SequenceShown) -> Given:
    s = shown.sequence
    return {
        "name": s.name,
        "niches": ", ".join(s.niches),
        "niche_match": s.niche_match.value,
        "target_status": s.target_status.value,
        "auto_enrol": "1" if s.auto_enrol else "",
        "min_delay": "" if s.min_delay is None else f"{s.min_delay:g}",
        "max_delay": "" if s.max_delay is None else f"{s.max_delay:g}",
        "on_failure": s.on_failure.value,
        "late_by": write_deadline(s.late_by),
        "stop_on_reply": "1" if s.stop_on_reply else "",
        "stop_on_conversion": "1" if s.stop_on_conversion else "",
    }


async def _form(
    request: Request,
    here: Place,
    shown: SequenceShown | None,
    given: Given,
    *,
    trouble: InvalidInput | InvalidInputs | Conflict | None = None,
) -> HTMLResponse:
    return rendering.page(
        request,
        here,
        "sequence_form.html",
        SECTION,
        "New sequence" if shown is None else f"Edit {shown.sequence.name}",
        shown=shown,
        underway=shown is not None and shown.sequence.status is not SequenceStatus.DRAFT,
        given=given,
        niches=await known_niches(here.runtime, here.workspace.id),
        look=await _look(request, here, given),
        **rendering.refusal(trouble),
    )
