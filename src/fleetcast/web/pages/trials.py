"""A test of a campaign to a number of one's own: its form stands on the campaign's page, which then shows its life."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import CampaignId, MessageId
from fleetcast.errors import InvalidInput
from fleetcast.services import messages
from fleetcast.services.trials import send_test
from fleetcast.web import rendering
from fleetcast.web.pages.campaigns import ThisCampaign, Trial, campaign_page
from fleetcast.web.place import Looking, Sending

router = APIRouter()

Field = Annotated[str, Form(max_length=100)]


@router.post("/campaigns/{campaign_id}/test")
async def send(
    request: Request,
    here: Sending,
    campaign_id: ThisCampaign,
    to: Field = "",
    device: Annotated[int, Form(ge=0, le=2**63 - 1)] = 0,
    reader: Field = "",
    once: Field = "",
) -> Response:
    """Send what one of its people would read to the number."""
    try:
        sent = await send_test(
            here.runtime,
            here.workspace.id,
            CampaignId(campaign_id),
            to=to,
            device_id=device,
            reader=reader,
            once=once or None,
            actor=here.access.actor,
        )
    except InvalidInput as error:
        trial = Trial(to, device, reader, error)
        return await campaign_page(request, here, CampaignId(campaign_id), trouble=error, trial=trial)
    return here.to(f"/campaigns/{campaign_id}", tried=sent.id)


@router.get("/campaigns/{campaign_id}/tests/{message_id}")
async def life(
    here: Looking, campaign_id: ThisCampaign, message_id: Annotated[int, Path(ge=1, le=2**63 - 1)]
) -> HTMLResponse:
    """Where is the test now? The page asks again until it is settled."""
    story = await messages.show_message(here.runtime, here.workspace.id, MessageId(message_id))
    return rendering.part("parts/test.html", here, campaign_id=campaign_id, test=story.message)
