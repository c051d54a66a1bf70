"""People in a sequence: who is where and why not any more, taking some out, letting some in, and one person's way."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import DeviceId, EnrolmentId, LeadId, SequenceId, StepId
from fleetcast.domain.sequence import EnrolmentState, StopReason
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, InvalidInputs, NotFound
from fleetcast.services import devices, enrolments, sequences
from fleetcast.services.enrolments import MOST_AT_ONCE, Enrolled, Wanted
from fleetcast.web import rendering
from fleetcast.web.pages.sequences import SECTION, ThisSequence, number
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

PAGE = 50

Word = Annotated[str, Query(max_length=200)]
ThisEnrolment = Annotated[int, Path(alias="enrolment_id", ge=1, le=2**63 - 1)]
Chosen = Annotated[list[int], Form(alias="enrolment", max_length=MOST_AT_ONCE)]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What the list is narrowed to, as the address says it."""

    state: str = ""
    reason: str = ""
    step: str = ""
    of: str = ""

    @property
    def query(self) -> dict[str, str]:
        """For addresses."""
        told = {"state": self.state, "reason": self.reason, "step": self.step, "of": self.of}
        return {name: value for name, value in told.items() if value}


@router.get("/sequences/{sequence_id}/enrolments")
async def list_enrolments(
    request: Request,
    here: Looking,
    sequence_id: ThisSequence,
    state: Word = "",
    reason: Word = "",
    step: Word = "",
    of: Word = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Who is in it, who was, and why not any more?"""
    return await _list(request, here, SequenceId(sequence_id), Narrowed(state, reason, step, of.strip()), after=after)


async def _list(
    request: Request,
    here: Place,
    sequence_id: SequenceId,
    narrowed: Narrowed,
    *,
    after: str = "",
    trouble: FleetcastError | None = None,
    entry: str = "",
    done: Enrolled | None = None,
) -> HTMLResponse:
    """`entry`: numbers that could not be taken, with what is wrong in `trouble`; `done`: what became of those that
    were.
    """
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, sequence_id)
    problem = None
    device: DeviceId | None = None
    if narrowed.of:
        try:
            device = (await devices.find_device(here.runtime, here.workspace.id, narrowed.of)).id
        except NotFound:
            problem = InvalidInput("of", f"there is no device called '{narrowed.of[:40]}'")
    place = number(narrowed.step)
    wanted = Wanted(
        EnrolmentState(narrowed.state) if narrowed.state in set(EnrolmentState) else None,
        device,
        StepId(place) if place else None,
        StopReason(narrowed.reason) if narrowed.reason in set(StopReason) else None,
    )
    found: list[enrolments.Enrolment] = []
    following = None
    if problem is None:
        found, following = await enrolments.page_of_enrolments(
            here.runtime, here.workspace.id, sequence_id, wanted, after=after or None, limit=PAGE
        )
    names = await devices.names_of(here.runtime, here.workspace.id, {e.device_id for e in found})
    return rendering.page(
        request,
        here,
        "enrolments.html",
        SECTION,
        f"People in {shown.sequence.name}",
        status=200 if trouble is None else 409 if isinstance(trouble, Conflict) else 422,
        shown=shown,
        places={s.id: s.place for s in shown.steps},
        found=found,
        names=names,
        narrowed=narrowed,
        problem=problem,
        after=after,
        next=following,
        trouble=trouble,
        entry=entry,
        done=done,
        most=MOST_AT_ONCE,
    )


@router.post("/sequences/{sequence_id}/enrolments")
async def enrol(
    request: Request,
    here: Sending,
    sequence_id: ThisSequence,
    phones: Annotated[str, Form(max_length=60_000)] = "",
    lead: Annotated[list[int], Form(max_length=MOST_AT_ONCE)] = [],  # noqa: B006
    again: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Let people in by name: one number a line, or leads by their number here."""
    lines = [line.strip() for line in phones.replace(",", "\n").replace(";", "\n").splitlines()]
    numbers = [line for line in lines if line]
    if numbers and numbers[0].casefold() in ("phone", "number", "phone number"):
        numbers = numbers[1:]  # the heading of a column that was pasted
    sequence = SequenceId(sequence_id)
    try:
        done = await enrolments.enrol_people(
            here.runtime,
            here.workspace.id,
            sequence,
            lead_ids=[LeadId(n) for n in lead],
            phones=numbers,
            again=bool(again),
            actor=here.access.actor,
        )
    except (InvalidInput, Conflict) as error:
        return await _list(request, here, sequence, Narrowed(), trouble=_by_number(error, numbers), entry=phones)
    return await _list(request, here, sequence, Narrowed(), done=done)


def _by_number(error: FleetcastError, numbers: list[str]) -> FleetcastError:
    """What is wrong with numbers, each named by itself and not by its place in a request."""
    if not isinstance(error, InvalidInput):
        return error
    told = []
    for each in error.problems if isinstance(error, InvalidInputs) else [error]:
        place = number(each.field.removeprefix("phones[").removesuffix("]"))
        whose = "" if place is None or place >= len(numbers) else f"{numbers[place][:40]}: "
        told.append(InvalidInput("phones", whose + each.problem))
    return InvalidInputs(told)


@router.post("/sequences/{sequence_id}/enrolments/stop")
async def stop(
    request: Request,
    here: Sending,
    sequence_id: ThisSequence,
    chosen: Chosen = [],  # noqa: B006
    confirmed: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Take those people out; first it is asked, with how many they are."""
    sequence = SequenceId(sequence_id)
    unique = sorted(set(chosen))
    if not unique:
        trouble = InvalidInput("enrolment", "choose at least one person")
        return await _list(request, here, sequence, Narrowed(), trouble=trouble)
    if number(confirmed) != len(unique):
        shown = await sequences.show_sequence(here.runtime, here.workspace.id, sequence)
        return rendering.page(
            request, here, "enrolments_stop.html", SECTION, shown.sequence.name, shown=shown, chosen=unique
        )
    stopped = await enrolments.stop_enrolments(
        here.runtime, here.workspace.id, sequence, [EnrolmentId(e) for e in unique], actor=here.access.actor
    )
    return here.to(f"/sequences/{sequence_id}/enrolments", "enrolments-stopped" if stopped else "nothing", stopped)


@router.get("/enrolments/{enrolment_id}")
async def show_enrolment(request: Request, here: Looking, enrolment_id: ThisEnrolment) -> HTMLResponse:
    """One person's way: what did they get, what comes next and when?"""
    story = await enrolments.show_enrolment(here.runtime, here.workspace.id, EnrolmentId(enrolment_id))
    e = story.enrolment
    shown = await sequences.show_sequence(here.runtime, here.workspace.id, e.sequence_id)
    names = await devices.names_of(here.runtime, here.workspace.id, [e.device_id])
    return rendering.page(
        request,
        here,
        "enrolment.html",
        SECTION,
        e.name or e.phone,
        story=story,
        e=e,
        sequence=shown.sequence,
        device_name=names.get(e.device_id),
    )
