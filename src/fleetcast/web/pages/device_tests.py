"""A test message from one device to one number, and its life until it is sent or is not.

It is a single message like any other: the same queue, pace and consent. Separate from `devices` because its part of
the page is asked for again and again.
"""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.content import LONGEST_BODY
from fleetcast.domain.identifiers import DeviceId, MessageId
from fleetcast.errors import InvalidInput
from fleetcast.services import messages
from fleetcast.services.single_sends import SingleSend, send_message
from fleetcast.web import rendering
from fleetcast.web.pages.devices import ThisDevice, device_page
from fleetcast.web.place import Looking, Sending

router = APIRouter()

ThisMessage = Annotated[int, Path(alias="message_id", ge=1, le=2**63 - 1)]


@router.post("/devices/{device_id}/test")
async def send_test(
    request: Request,
    here: Sending,
    device_id: ThisDevice,
    to: Annotated[str, Form(max_length=100)] = "",
    text: Annotated[str, Form(max_length=LONGEST_BODY)] = "",
) -> Response:
    """Send it; the page then shows what becomes of it."""
    asked = SingleSend(DeviceId(device_id), to, text)
    try:
        made = await send_message(here.runtime, here.workspace.id, asked, actor=here.access.actor)
    except InvalidInput as error:
        return await device_page(request, here, DeviceId(device_id), testing={"to": to, "text": text}, trouble=error)
    return here.to(f"/devices/{device_id}", test=made.id)


@router.get("/devices/{device_id}/test/{message_id}")
async def show_test(here: Looking, device_id: ThisDevice, message_id: ThisMessage) -> HTMLResponse:
    """How far is it?"""
    story = await messages.show_message(
        here.runtime, here.workspace.id, MessageId(message_id), device_id=DeviceId(device_id)
    )
    return rendering.part("parts/trial.html", here, story=story)
