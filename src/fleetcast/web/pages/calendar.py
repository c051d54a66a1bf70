"""The calendar of campaigns: what begins when, and putting a start on another day by a drop or by a form."""

import re
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from fleetcast.domain.identifiers import CampaignId
from fleetcast.domain.schedule import EARLIEST_YEAR, LATEST_YEAR, parse_local
from fleetcast.errors import Conflict, InvalidInput
from fleetcast.services.calendar import Entry, Month, look_at_month, move_campaign
from fleetcast.web import rendering
from fleetcast.web.pages.campaigns import SECTION, ThisCampaign
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SHOWN = 3
"""Campaigns of a day that are seen at once; a click opens the others."""
_MONTH = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])")

Word = Annotated[str, Query(max_length=20)]
Field = Annotated[str, Form(max_length=40)]


@router.get("/campaigns/calendar")
async def show_calendar(
    request: Request,
    here: Looking,
    month: Word = "",
    earlier: Word = "",
    moved: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    origin: Annotated[str, Query(alias="from", max_length=20)] = "",
) -> HTMLResponse:
    """What is coming? What is past recedes, what runs stands out."""
    shown = await look_at_month(here.runtime, here.workspace.id, _month(month))
    return _page(request, here, shown, earlier=bool(earlier), moved=_entry(shown, moved), origin=_read(origin))


@router.post("/campaigns/{campaign_id}/move")
async def move(
    request: Request, here: Sending, campaign_id: ThisCampaign, to: Field = "", month: Field = ""
) -> Response:
    """Put its start on another day (its time of day stays) or at another time."""
    try:
        done = await move_campaign(
            here.runtime, here.workspace.id, CampaignId(campaign_id), to, actor=here.access.actor
        )
    except (InvalidInput, Conflict) as error:
        shown = await look_at_month(here.runtime, here.workspace.id, _month(month))
        return _page(request, here, shown, trouble=error, fault=_entry(shown, campaign_id), wanted=to)
    told: dict[str, object] = {
        "month": f"{done.after:%Y-%m}" if done.after else month,
        "moved": campaign_id,
        "from": f"{done.before:%Y-%m-%dT%H:%M}" if done.before else "",
    }
    return RedirectResponse(here.href("/campaigns/calendar", **told), 303)


def _page(
    request: Request,
    here: Place,
    shown: Month,
    *,
    earlier: bool = False,
    moved: Entry | None = None,
    origin: datetime | None = None,
    trouble: InvalidInput | Conflict | None = None,
    fault: Entry | None = None,
    wanted: str = "",
) -> HTMLResponse:
    return rendering.page(
        request,
        here,
        "calendar.html",
        SECTION,
        f"{shown.first:%B} {shown.first.year}",
        status=200 if trouble is None else 422 if isinstance(trouble, InvalidInput) else 409,
        month=shown,
        seen=SHOWN,
        earlier=earlier,
        moved=moved,
        origin=origin,
        trouble=trouble,
        fault=fault.campaign.id if fault else None,
        wanted=_read(wanted) or (fault and _combined(wanted, fault)),
    )


def _month(text: str) -> date | None:
    """None for what is no month: then it is this one."""
    found = _MONTH.fullmatch(text)
    if found is None or not EARLIEST_YEAR <= int(found[1]) <= LATEST_YEAR:
        return None
    return date(int(found[1]), int(found[2]), 1)


def _read(text: str) -> datetime | None:
    try:
        return parse_local(text)
    except InvalidInput:
        return None


def _combined(day: str, fault: Entry) -> datetime | None:
    """Where a drop would have put it: what its form then shows."""
    return None if fault.local is None else _read(f"{day} {fault.local:%H:%M}")


def _entry(shown: Month, campaign_id: int | None) -> Entry | None:
    every = [*shown.undated, *(e for d in shown.days for e in d.entries)]
    return next((e for e in every if e.campaign.id == campaign_id), None)
