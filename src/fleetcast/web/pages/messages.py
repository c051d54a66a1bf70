"""The queue itself: any message's life, and those of which nobody knows whether they left."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from fleetcast.domain.identifiers import CampaignId, DeviceId, MessageId
from fleetcast.domain.message import MessageStatus, Reason
from fleetcast.domain.phone import parse_phone
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.services import doubts, messages
from fleetcast.services.message_export import WantedMessages, download_messages
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "messages"
DOUBTS = 50
"""Messages in doubt on a page."""

Id = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
ThisMessage = Annotated[int, Path(alias="message_id", ge=1, le=2**63 - 1)]
Decided = Annotated[list[int], Form(alias="message", max_length=doubts.LARGEST_DECISION)]


@router.get("/messages")
async def list_messages(
    request: Request,
    here: Looking,
    campaign: Id = None,
    device: Id = None,
    status: Annotated[str, Query(max_length=20)] = "",
    reason: Annotated[str, Query(max_length=40)] = "",
    to: Annotated[str, Query(max_length=60)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Which messages are there, and where are they?"""
    wanted = MessageStatus(status) if status in set(MessageStatus) else None
    why = Reason(reason) if reason in set(Reason) else None
    found, trouble = messages.MessagePage([], None), None
    try:
        found = await messages.list_messages(
            here.runtime,
            here.workspace.id,
            campaign_id=None if campaign is None else CampaignId(campaign),
            device_id=None if device is None else DeviceId(device),
            status=wanted,
            reason=why,
            recipient=parse_phone(to, here.workspace.region) if to.strip() else None,
            after=after or None,
        )
    except InvalidInput as error:
        trouble = error
    shown = {"campaign": campaign, "device": device, "status": wanted, "reason": why, "to": to.strip()}
    return rendering.page(
        request,
        here,
        "messages.html",
        SECTION,
        "Messages",
        status=422 if trouble else 200,
        found=found,
        shown=shown,
        after=after,
        trouble=trouble,
        doubtful=len(await doubts.list_doubts(here.runtime, here.workspace.id, limit=DOUBTS)),
        most=DOUBTS,
    )


@router.get("/messages/export")
async def export(
    here: Looking,
    campaign: Id = None,
    device: Id = None,
    status: Annotated[str, Query(max_length=20)] = "",
    reason: Annotated[str, Query(max_length=40)] = "",
    to: Annotated[str, Query(max_length=60)] = "",
) -> StreamingResponse:
    """The messages of the list as CSV, all of them."""
    wanted = WantedMessages(
        None if campaign is None else CampaignId(campaign),
        None if device is None else DeviceId(device),
        MessageStatus(status) if status in set(MessageStatus) else None,
        parse_phone(to, here.workspace.region) if to.strip() else None,
        reason=Reason(reason) if reason in set(Reason) else None,
    )
    pieces = await download_messages(here.runtime, here.workspace.id, wanted, actor=here.access.actor)
    name = "messages.csv" if campaign is None else f"campaign-{campaign}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/messages/in-doubt")
async def in_doubt(
    request: Request, here: Looking, after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> HTMLResponse:
    """Did these leave?"""
    return await _doubts(request, here, after=after)


async def _doubts(
    request: Request, here: Place, *, after: int = 0, trouble: InvalidInput | Conflict | None = None
) -> HTMLResponse:
    found = await doubts.list_doubts(here.runtime, here.workspace.id, after=after, limit=DOUBTS + 1)
    return rendering.page(
        request,
        here,
        "in_doubt.html",
        SECTION,
        "In doubt",
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput) else 409,
        rows=found[:DOUBTS],
        after=after,
        next=found[DOUBTS - 1].id if len(found) > DOUBTS else None,
        trouble=trouble,
    )


@router.post("/messages/in-doubt/{decision}")
async def decide(
    request: Request,
    here: Sending,
    decision: Annotated[str, Path(pattern="^(arrived|resend|give-up)$")],
    decided: Decided = [],  # noqa: B006
) -> Response:
    """What a person knows or wants of them."""
    actor = here.access.actor
    chosen = [MessageId(i) for i in decided]
    try:
        if decision == "arrived":
            n = await doubts.confirm_arrived(here.runtime, here.workspace.id, chosen, actor=actor)
        elif decision == "resend":
            n = (await doubts.resend(here.runtime, here.workspace.id, chosen, actor=actor)).waiting
        else:
            n = await doubts.give_up(here.runtime, here.workspace.id, chosen, actor=actor)
    except (InvalidInput, Conflict) as error:
        return await _doubts(request, here, trouble=error)
    return here.to("/messages/in-doubt", f"doubt-{decision}", n)


@router.get("/messages/{message_id}")
async def show_message(request: Request, here: Looking, message_id: ThisMessage) -> HTMLResponse:
    """Did it leave? What is known of it?"""
    story = await messages.show_message(here.runtime, here.workspace.id, MessageId(message_id))
    return rendering.page(request, here, "message.html", SECTION, f"Message {message_id}", story=story)
