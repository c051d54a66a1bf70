"""What a campaign's form shows while somebody types: people, text, times, pictures. Nothing is stored by any of it.

Separate from the form so that the form stays what is sent and stored.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.identifiers import CampaignId
from fleetcast.errors import Unavailable
from fleetcast.services import campaigns, drafting, media
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.devices import choose_devices
from fleetcast.web import rendering
from fleetcast.web.byte_ranges import part_of
from fleetcast.web.pages.campaigns import ThisCampaign
from fleetcast.web.pages.drafts import Devices, Given, look_at_form
from fleetcast.web.place import Looking, Sending

router = APIRouter()

POLICY = "default-src 'none'; sandbox"
"""Of what somebody uploaded: nothing in it may run or load anything, wherever it is opened."""
KEPT = "private, max-age=86400, immutable"
"""A picture is named by its own bytes: it never changes."""


@router.post("/campaigns/look")
async def look(
    request: Request,
    here: Sending,
    given: Given,
    chosen: Devices = [],  # noqa: B006
    another: Annotated[str, Form(max_length=10)] = "",
) -> HTMLResponse:
    """Whom does it reach as it stands, what would one of them read, and what is wrong with it?"""
    found = await look_at_form(request, here, given, chosen, another=bool(another))
    return rendering.part(
        "parts/draft_look.html",
        here,
        status=422 if found.of("media") else 200,  # no typing leads there: it names what is not of this workspace
        look=found,
        given=given,
        own_zone=given["own_zone"],
    )


@router.get("/campaigns/{campaign_id}/summary")
async def summary(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """Exactly whom would it reach? Counts everybody, which with a million leads takes its time."""
    counts: LeadCounts = request.app.state.lead_counts
    campaign = CampaignId(campaign_id)
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, campaign, estimate=False)
    try:
        found = await drafting.look_at_campaign_draft(here.runtime, here.workspace.id, campaign, counts, exact=True)
    except Unavailable:  # too many to be counted now: an estimate, which says so, must do
        found = await drafting.look_at_campaign_draft(here.runtime, here.workspace.id, campaign, counts)
    return rendering.part("parts/summary.html", here, look=found, report=report, own_zone="")


@router.get("/campaigns/{campaign_id}/people")
async def people(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """About how many would it reach? For a line of the first page, which asks once it is drawn."""
    counts: LeadCounts = request.app.state.lead_counts
    found = await drafting.look_at_campaign_draft(here.runtime, here.workspace.id, CampaignId(campaign_id), counts)
    return rendering.part("parts/people.html", here, look=found)


@router.get("/campaigns/device-choices")
async def device_choices(
    here: Sending,
    q: Annotated[str, Query(max_length=200)] = "",
    chosen: Annotated[list[int], Query(alias="device", max_length=5_000)] = [],  # noqa: B006
) -> HTMLResponse:
    """Which devices are called like that? Those that are chosen stay in sight."""
    found = await choose_devices(here.runtime, here.workspace.id, chosen, text=q)
    return rendering.part("parts/device_choices.html", here, choices=found, chosen=set(chosen))


@router.get("/campaigns/media/{sha256}")
async def medium(request: Request, here: Looking, sha256: Annotated[str, Path(max_length=64)]) -> Response:
    """A picture, video, audio or document of this workspace, for a page that shows it; players ask for parts of it."""
    found = await media.read_medium(here.runtime, here.workspace.id, sha256)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.filename, safe='')}",
        "Content-Security-Policy": POLICY,
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": KEPT,
    }
    return part_of(request, found.data, found.mime, found.sha256, headers)
