"""Sequences: the list of them, one of them with its steps and where people leave it, and what a person does to it.

Its form is `sequence_forms`, that of a step `sequence_steps`, the people in it `enrolments`.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import SequenceId
from fleetcast.domain.sequence import SequenceStatus
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, NotFound, Unavailable
from fleetcast.services import enrolments, sequence_actions, sequences
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.devices import ready_devices
from fleetcast.services.sequence_looks import look_at_audience_of, media_of, next_due
from fleetcast.services.sequence_reports import report_sequence
from fleetcast.services.sequence_steps import preview_steps
from fleetcast.web import rendering
from fleetcast.web.funnel import reasons_of, stages
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "sequences"
PAGE = 30
DEVICES = 10
"""Devices that a sequence's page lists."""

ThisSequence = Annotated[int, Path(alias="sequence_id", ge=1, le=2**63 - 1)]
Number = Annotated[int, Query(ge=0, le=2**63 - 1)]
Count = Annotated[str, Form(max_length=20)]


@router.get("/sequences")
async def list_sequences(
    request: Request,
    here: Looking,
    status: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """What is written to people step by step, how many are in it, and when does the next step go out?"""
    wanted = SequenceStatus(status) if status in set(SequenceStatus) else None
    found, following = await sequences.page_of_sequences(
        here.runtime, here.workspace.id, status=wanted, after=after or None, limit=PAGE
    )
    return rendering.page(
        request,
        here,
        "sequences.html",
        SECTION,
        "Sequences",
        found=found,
        due=await next_due(here.runtime, here.workspace.id, [s.id for s, _ in found]),
        only=wanted,
        after=after,
        next=following,
    )


@router.get("/sequences/{sequence_id}")
async def show_sequence(
    request: Request, here: Looking, sequence_id: ThisSequence, lead: Number = 0, another: Number = 0
) -> HTMLResponse:
    """What does each person read on which day, and where do people leave?"""
    return await sequence_page(request, here, SequenceId(sequence_id), lead=lead, another=bool(another))


async def sequence_page(
    request: Request,
    here: Place,
    sequence_id: SequenceId,
    *,
    trouble: FleetcastError | None = None,
    lead: int = 0,
    another: bool = False,
) -> HTMLResponse:
    """The page of one sequence; `trouble`: what kept a person from what they wanted. `lead`: who reads the texts, or
    `another` after them.
    """
    facts = await _standing(here, sequence_id)
    shown: sequences.SequenceShown = facts["shown"]
    counts: LeadCounts = request.app.state.lead_counts
    draft = await look_at_audience_of(
        here.runtime, here.workspace.id, sequence_id, counts, lead_id=lead, another=another
    )
    reader = draft.reading
    try:
        coming = await preview_steps(
            here.runtime, here.workspace.id, sequence_id, lead_id=reader.lead_id if reader else None
        )
    except NotFound:  # the lead went in between
        reader, coming = None, await preview_steps(here.runtime, here.workspace.id, sequence_id)
    return rendering.page(
        request,
        here,
        "sequence.html",
        SECTION,
        shown.sequence.name,
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput) else 409,
        **facts,
        draft=draft,
        reader=reader,
        coming=coming,
        media=await media_of(here.runtime, here.workspace.id, shown.steps),
        trouble=trouble,
    )


async def _standing(here: Place, sequence_id: SequenceId) -> dict[str, Any]:
    """Where a sequence stands, as its page and its changing part tell it."""
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, sequence_id)
    report = await report_sequence(here.runtime, here.workspace.id, sequence_id, with_devices=False)
    due = await next_due(here.runtime, here.workspace.id, [sequence_id])
    return {
        "shown": shown,
        "report": report,
        "stages": stages(report),
        "reasons": reasons_of(shown.people),
        "before_first": report.before_first,
        "due": due.get(sequence_id),
    }


@router.get("/sequences/{sequence_id}/now")
async def sequence_now(here: Looking, sequence_id: ThisSequence) -> HTMLResponse:
    """The changing part of a sequence's page, which asks for it again and again."""
    return rendering.part("sequence_now.html", here, **await _standing(here, SequenceId(sequence_id)))


@router.get("/sequences/{sequence_id}/by-device")
async def by_device(here: Looking, sequence_id: ThisSequence) -> HTMLResponse:
    """Which numbers carry it, and how well? Adds up every device, so a page asks for it by itself."""
    report = await report_sequence(here.runtime, here.workspace.id, SequenceId(sequence_id))
    return rendering.part(
        "parts/sequence_devices.html",
        here,
        sequence_id=sequence_id,
        devices=report.devices[:DEVICES],
        of=len(report.devices),
    )


@router.get("/sequences/{sequence_id}/existing")
async def existing(here: Looking, sequence_id: ThisSequence) -> HTMLResponse:
    """Exactly how many would come in now? Looks at every lead, which with a million of them takes its time."""
    sequence = SequenceId(sequence_id)
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, sequence)
    people: int | None = None
    try:
        people = await enrolments.count_existing(here.runtime, here.workspace.id, sequence)
    except Unavailable:
        people = None
    return rendering.part(
        "parts/existing.html",
        here,
        shown=shown,
        people=people,
        online=bool(await ready_devices(here.runtime, here.workspace.id, limit=1)),
    )


def number(text: str) -> int | None:
    """A count that a page was given and hands back; None for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


@router.post("/sequences/{sequence_id}/{action}")
async def act(
    request: Request,
    here: Sending,
    sequence_id: ThisSequence,
    action: Annotated[str, Path(pattern="^(activate|pause|resume|archive|clone|enrol-existing)$")],
    existing: Count = "",
    offline: Count = "",
    confirmed: Count = "",
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Set it in motion, hold it, end it, or let the leads in that there are."""
    runtime, workspace, sequence, actor = here.runtime, here.workspace.id, SequenceId(sequence_id), here.access.actor
    n: int | None = None
    try:
        if action == "clone":
            made = await sequences.clone_sequence(runtime, workspace, sequence, actor=actor)
            return here.to(f"/sequences/{made.id}", "sequence-clone")
        if action == "activate":
            n = number(existing)
            await sequence_actions.activate_sequence(
                runtime, workspace, sequence, enrol_existing=n, even_offline=bool(offline), actor=actor
            )
            n = n or None
        elif action == "pause":
            await sequence_actions.pause_sequence(
                runtime, workspace, sequence, reason=reason.strip() or None, actor=actor
            )
        elif action == "resume":
            await sequence_actions.resume_sequence(runtime, workspace, sequence, actor=actor)
        elif action == "archive":
            n = number(confirmed) or 0
            await sequence_actions.archive_sequence(runtime, workspace, sequence, confirmed=n, actor=actor)
            n = n or None
        else:
            run = await enrolments.enrol_existing(
                runtime, workspace, sequence, confirmed=number(confirmed) or 0, actor=actor
            )
            n = run.expected
    except (Conflict, InvalidInput, Unavailable) as error:
        return await sequence_page(request, here, sequence, trouble=error)
    return here.to(f"/sequences/{sequence_id}", f"sequence-{action}", n)
