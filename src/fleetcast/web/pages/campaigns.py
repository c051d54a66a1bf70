"""Campaigns: the list of them, one of them while it runs, and what a person does to it. Drafting is `drafts`, a test of
one `trials`.
"""

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, MessageId, WorkspaceId
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, InvalidInputs, NotFound, Unavailable
from fleetcast.runtime import Runtime
from fleetcast.services import campaign_actions, campaigns, drafting, messages, overview, reports
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.devices import ready_devices
from fleetcast.services.messages import MessageRow
from fleetcast.services.overview import CampaignLook, Meters
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "campaigns"
PAGE = 30
SLOWEST = 20
"""Devices that a campaign's page lists."""

ThisCampaign = Annotated[int, Path(alias="campaign_id", ge=1, le=2**63 - 1)]

_UNSTARTED = (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED)


@router.get("/campaigns")
async def list_campaigns(
    request: Request,
    here: Looking,
    status: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """What is planned, what runs, what is over?"""
    wanted = CampaignStatus(status) if status in set(CampaignStatus) else None
    found, following = await campaigns.page_of_campaigns(
        here.runtime, here.workspace.id, status=wanted, after=after or None, limit=PAGE
    )
    return rendering.page(
        request,
        here,
        "campaigns.html",
        SECTION,
        "Campaigns",
        found=found,
        only=wanted,
        after=after,
        next=following,
    )


Number = Annotated[int, Query(ge=0, le=2**63 - 1)]


@router.get("/campaigns/{campaign_id}")
async def show_campaign(
    request: Request,
    here: Looking,
    campaign_id: ThisCampaign,
    lead: Number = 0,
    another: Number = 0,
    tried: Number = 0,
    trying: Number = 0,
) -> HTMLResponse:
    """How far, how fast, done when; what failed and why? Before its start: whom will it reach?"""
    test = await test_of(here, tried) if tried else None
    return await campaign_page(
        request, here, CampaignId(campaign_id), lead=lead, another=bool(another), test=test, trying=bool(trying)
    )


@dataclass(frozen=True, slots=True)
class Trial:
    """The form of a test as it was sent."""

    to: str = ""
    device: int = 0
    reader: str = ""
    trouble: InvalidInput | None = None


async def test_of(here: Place, message_id: int) -> MessageRow | None:
    """The test that was just sent; None for what is no message here."""
    try:
        return (await messages.show_message(here.runtime, here.workspace.id, MessageId(message_id))).message
    except NotFound:
        return None


async def campaign_page(
    request: Request,
    here: Place,
    campaign_id: CampaignId,
    *,
    trouble: FleetcastError | None = None,
    lead: int = 0,
    another: bool = False,
    test: MessageRow | None = None,
    trying: bool = False,
    trial: Trial | None = None,
) -> HTMLResponse:
    """The page of one campaign; `trouble`: what kept a person from what they wanted. `lead`: who reads the text, or
    `another` after them. `trying`: the form of a test is open, with what is in `trial`.
    """
    look = await _look(request, here, campaign_id)
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, campaign_id, estimate=False)
    campaign = report.campaign
    unstarted = campaign.status in _UNSTARTED
    counts: LeadCounts = request.app.state.lead_counts
    draft = await drafting.look_at_campaign_draft(
        here.runtime, here.workspace.id, campaign_id, counts, people=unstarted, lead_id=lead, another=another
    )
    return rendering.page(
        request,
        here,
        "campaign.html",
        SECTION,
        campaign.title,
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput | InvalidInputs) else 409,
        look=look,
        draft=draft,
        report=report,
        unstarted=unstarted,
        own_zone="",
        trouble=None if trial else trouble,
        senders=await ready_devices(here.runtime, here.workspace.id, first=campaign.device_ids or ()),
        test=test,
        trying=trying or trial is not None,
        trial=trial or Trial(),
        once=secrets.token_hex(12),
    )


@router.get("/campaigns/{campaign_id}/by-device")
async def by_device(here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """Which devices are the last, which fail? Counts all messages of the campaign, so a page asks for it by itself."""
    campaign = CampaignId(campaign_id)
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, campaign, estimate=False)
    parts, trouble = [], None
    try:
        parts = await reports.slowest_devices(here.runtime, here.workspace.id, campaign, SLOWEST)
    except Unavailable as error:
        trouble = error
    return rendering.part("parts/by_device.html", here, report=report, parts=parts, trouble=trouble)


async def _look(request: Request, here: Place, campaign_id: CampaignId) -> CampaignLook:
    meters: Meters = request.app.state.meters
    return await overview.look_at_campaign(here.runtime, here.workspace.id, campaign_id, meters.of(campaign_id))


@router.get("/campaigns/{campaign_id}/now")
async def campaign_now(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """The changing part of a campaign's page, which asks for it again and again."""
    look = await _look(request, here, CampaignId(campaign_id))
    return rendering.part("campaign_now.html", here, look=look)


Act = Callable[[Runtime, WorkspaceId, CampaignId, str], Awaitable[object]]

_ACTS: dict[str, Act] = {
    "launch": lambda r, w, c, who: campaign_actions.launch_campaign(r, w, c, actor=who),
    "withdraw": lambda r, w, c, who: campaign_actions.withdraw_campaign(r, w, c, actor=who),
    "pause": lambda r, w, c, who: campaign_actions.pause_campaign(r, w, c, actor=who),
    "resume": lambda r, w, c, who: campaign_actions.resume_campaign(r, w, c, actor=who),
    "cancel": lambda r, w, c, who: campaign_actions.cancel_campaign(r, w, c, actor=who),
    "retry": lambda r, w, c, who: campaign_actions.retry_campaign(r, w, c, actor=who),
}


@router.post("/campaigns/{campaign_id}/{action}")
async def act(
    request: Request,
    here: Sending,
    campaign_id: ThisCampaign,
    action: Annotated[str, Path(pattern="^(launch|withdraw|pause|resume|cancel|retry|clone)$")],
) -> Response:
    """Set it in motion or stop it."""
    campaign = CampaignId(campaign_id)
    try:
        if action == "clone":
            made = await campaigns.clone_campaign(here.runtime, here.workspace.id, campaign, actor=here.access.actor)
            return here.to(f"/campaigns/{made.id}/edit", "campaign-clone")
        done = await _ACTS[action](here.runtime, here.workspace.id, campaign, here.access.actor)
    except (Conflict, InvalidInput, InvalidInputs) as error:
        return await campaign_page(request, here, campaign, trouble=error)
    return here.to(f"/campaigns/{campaign_id}", f"campaign-{action}", done if isinstance(done, int) else None)
