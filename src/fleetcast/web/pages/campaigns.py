"""Campaigns: the list of them, one of them while it runs, and what a person does to it. Drafting is `drafts`."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, InvalidInputs
from fleetcast.runtime import Runtime
from fleetcast.services import audience, campaign_actions, campaigns, overview, reports
from fleetcast.services.overview import CampaignLook, Meters
from fleetcast.web import rendering, words
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "campaigns"
PAGE = 30

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


@router.get("/campaigns/{campaign_id}")
async def show_campaign(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """How far, how fast, done when; what failed and why? Before its start: whom will it reach?"""
    return await campaign_page(request, here, CampaignId(campaign_id))


async def campaign_page(
    request: Request, here: Place, campaign_id: CampaignId, *, trouble: FleetcastError | None = None
) -> HTMLResponse:
    """The page of one campaign; `trouble`: what kept a person from what they wanted."""
    look = await _look(request, here, campaign_id)
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, campaign_id, estimate=False)
    unstarted = report.campaign.status in _UNSTARTED
    return rendering.page(
        request,
        here,
        "campaign.html",
        SECTION,
        report.campaign.title,
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput | InvalidInputs) else 409,
        look=look,
        report=report,
        preview=await audience.preview_audience(here.runtime, here.workspace.id, campaign_id) if unstarted else None,
        parts=[] if unstarted else await reports.campaign_by_device(here.runtime, here.workspace.id, campaign_id),
        trouble=trouble,
    )


async def _look(request: Request, here: Place, campaign_id: CampaignId) -> CampaignLook:
    meters: Meters = request.app.state.meters
    return await overview.look_at_campaign(here.runtime, here.workspace.id, campaign_id, meters.of(campaign_id))


@router.get("/campaigns/{campaign_id}/now")
async def campaign_now(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """The changing part of a campaign's page, which asks for it again and again."""
    look = await _look(request, here, CampaignId(campaign_id))
    return rendering.part("campaign_now.html", here, look=look)


@router.get("/campaigns/{campaign_id}/people")
async def campaign_people(request: Request, here: Looking, campaign_id: ThisCampaign) -> HTMLResponse:
    """How many people it would reach, for a line of the first page that asks once it is drawn."""
    headcounts: audience.Headcounts = request.app.state.headcounts
    n = await headcounts.of(here.runtime, here.workspace.id, CampaignId(campaign_id))
    return HTMLResponse(f", {words.plural(n, 'person', 'people')}")


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
