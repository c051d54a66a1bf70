"""Making and changing a campaign: the form. What it shows while it is being filled in is `looks`."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, Response

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId
from fleetcast.errors import Conflict, InvalidInput, InvalidInputs
from fleetcast.services import campaigns, devices, drafting
from fleetcast.services.audience_look import LeadCounts
from fleetcast.services.campaigns import CampaignFields, CampaignReport
from fleetcast.services.drafting import DraftLook
from fleetcast.web import rendering
from fleetcast.web.fields import MEDIA, seconds
from fleetcast.web.pages.campaigns import SECTION, ThisCampaign
from fleetcast.web.place import Place, Sending

router = APIRouter()

Line = Annotated[str, Form(max_length=2_000)]
Text = Annotated[str, Form(max_length=20_000)]
Devices = Annotated[list[int], Form(alias="device", max_length=5_000)]

_FRESH = {
    "title": "",
    "body": "",
    "niches": "",
    "niche_match": "any",
    "target_status": "all",
    "min_delay": "",
    "max_delay": "",
    "schedule": "",
    "deadline": "7d",
    "when_offline": "wait",
    "media": "",
    "which": "all",
    "lead": "",
    "own_zone": "",
}
_WHILE_RUNNING = ("title", "min_delay", "max_delay", "deadline")


async def given_form(
    title: Line = "",
    body: Text = "",
    niches: Line = "",
    niche_match: Line = "any",
    target_status: Line = "all",
    min_delay: Line = "",
    max_delay: Line = "",
    schedule: Line = "",
    deadline: Line = "",
    when_offline: Line = "wait",
    media: Line = "",
    which: Line = "all",
    lead: Line = "",
    own_zone: Line = "",
) -> dict[str, str]:
    """The fields of the form as they were typed."""
    return {
        "title": title,
        "body": body,
        "niches": niches,
        "niche_match": niche_match,
        "target_status": target_status,
        "min_delay": min_delay,
        "max_delay": max_delay,
        "schedule": schedule,
        "deadline": deadline,
        "when_offline": when_offline,
        "media": media,
        "which": which,
        "lead": lead,
        "own_zone": own_zone,
    }


Given = Annotated[dict[str, str], Depends(given_form)]


@router.get("/campaigns/new")
async def new_campaign(request: Request, here: Sending) -> HTMLResponse:
    """An empty form."""
    return await _form(request, here, None, dict(_FRESH), [])


@router.post("/campaigns/new")
async def create(
    request: Request,
    here: Sending,
    given: Given,
    chosen: Devices = [],  # noqa: B006
    then: Line = "",
) -> Response:
    """Store a draft and show whom it reaches."""
    try:
        made = await campaigns.create_campaign(
            here.runtime, here.workspace.id, form_fields(given, chosen), actor=here.access.actor
        )
    except (InvalidInput, InvalidInputs) as error:
        return await _form(request, here, None, given, chosen, trouble=error)
    return _onward(here, made.id, "campaign-draft", then)


def _onward(here: Place, campaign_id: int, said: str, then: str) -> Response:
    return here.to(f"/campaigns/{campaign_id}", said, trying=1 if then == "test" else None)


@router.get("/campaigns/{campaign_id}/edit")
async def edit_form(request: Request, here: Sending, campaign_id: ThisCampaign) -> HTMLResponse:
    """The form with what is stored."""
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, CampaignId(campaign_id), estimate=False)
    return await _form(request, here, report, _stored(report), list(report.campaign.device_ids or ()))


@router.post("/campaigns/{campaign_id}/edit")
async def edit(
    request: Request,
    here: Sending,
    campaign_id: ThisCampaign,
    given: Given,
    chosen: Devices = [],  # noqa: B006
    then: Line = "",
) -> Response:
    """Change it, as far as its state allows."""
    report = await campaigns.show_campaign(here.runtime, here.workspace.id, CampaignId(campaign_id), estimate=False)
    try:
        await campaigns.edit_campaign(
            here.runtime,
            here.workspace.id,
            CampaignId(campaign_id),
            _allowed(report, form_fields(given, chosen)),
            actor=here.access.actor,
        )
    except (InvalidInput, InvalidInputs, Conflict) as error:
        return await _form(request, here, report, given, chosen, trouble=error)
    return _onward(here, campaign_id, "campaign-edit", then)


def form_fields(given: dict[str, str], chosen: list[int]) -> CampaignFields:
    """What the form says, as the use case takes it. Raises InvalidInput for what is no number."""
    fields: CampaignFields = {
        "title": given["title"],
        "body": given["body"],
        "niches": [n for n in given["niches"].split(",") if n.strip()],
        "niche_match": given["niche_match"],
        "target_status": given["target_status"],
        "min_delay": _delay(given, "min_delay"),
        "max_delay": _delay(given, "max_delay"),
        "schedule": given["schedule"].strip().replace("T", " ") or "now",
        "deadline": given["deadline"],
        "when_offline": given["when_offline"],
        "media": given["media"].strip() or None,
    }
    # Said twice: boxes that are lost on the way, or devices that were removed, must not widen a campaign to all.
    if given["which"] == "chosen":
        fields["device_ids"] = chosen
    elif chosen:
        raise InvalidInput(
            "devices", "some are chosen, and all are asked for: say 'only the chosen ones', or choose none"
        )
    else:
        fields["devices"] = []
    return fields


async def look_at_form(
    request: Request, here: Place, given: dict[str, str], chosen: list[int], *, another: bool = False
) -> DraftLook:
    """What the form comes to so far: people, text and times. What is wrong with it is part of that."""
    problems: list[InvalidInput] = []
    legible = dict(given)
    for name in ("min_delay", "max_delay"):
        try:
            _delay(given, name)
        except InvalidInput as error:
            problems.append(error)
            legible |= {"min_delay": "", "max_delay": ""}
    try:
        fields = form_fields(legible, chosen)
    except InvalidInput as error:
        problems.append(error)
        fields = form_fields(legible | {"which": "chosen"}, chosen)
    medium = fields.pop("media", None)
    counts: LeadCounts = request.app.state.lead_counts
    lead = given["lead"]
    look = await drafting.look_at_draft(
        here.runtime,
        here.workspace.id,
        fields,
        counts,
        medium=medium if isinstance(medium, str) else None,
        lead_id=int(lead) if lead.isascii() and lead.isdigit() and len(lead) < 19 else 0,
        another=another,
    )
    return replace(look, problems=(*problems, *look.problems)) if problems else look


def _allowed(report: CampaignReport, fields: CampaignFields) -> CampaignFields:
    """What may change in this state; the form does not show the rest."""
    status = report.campaign.status
    if status in (CampaignStatus.DRAFT, CampaignStatus.SCHEDULED):
        return fields
    if status is CampaignStatus.RUNNING:
        return {name: value for name, value in fields.items() if name in _WHILE_RUNNING}  # type: ignore[return-value]
    fields.pop("schedule", None)
    return fields


def _delay(given: dict[str, str], name: str) -> float | None:
    return seconds(name, given[name]) if given[name].strip() else None


def _stored(report: CampaignReport) -> dict[str, str]:
    c = report.campaign
    hours = c.deadline_after.total_seconds() / 3_600
    return {
        "title": c.title,
        "body": report.content.body,
        "niches": ", ".join(c.niches),
        "niche_match": c.niche_match.value,
        "target_status": c.target_status.value,
        "min_delay": "" if c.min_delay is None else f"{c.min_delay:g}",
        "max_delay": "" if c.max_delay is None else f"{c.max_delay:g}",
        "schedule": "" if c.schedule_local is None else f"{c.schedule_local:%Y-%m-%dT%H:%M}",
        "deadline": f"{hours / 24:g}d" if hours % 24 == 0 else f"{hours * 60:g}m",
        "when_offline": c.when_offline.value,
        "media": report.content.media_sha256 or "",
        "which": "all" if c.device_ids is None else "chosen",
        "lead": "",
        "own_zone": "",
    }


async def _form(
    request: Request,
    here: Place,
    report: CampaignReport | None,
    given: dict[str, str],
    chosen: list[int],
    *,
    trouble: InvalidInput | InvalidInputs | Conflict | None = None,
) -> HTMLResponse:
    running = report is not None and report.campaign.status is CampaignStatus.RUNNING
    look = None if running else await look_at_form(request, here, given, chosen)
    return rendering.page(
        request,
        here,
        "draft.html",
        SECTION,
        "New campaign" if report is None else f"Edit {report.campaign.title}",
        report=report,
        given=given,
        chosen=set(chosen),
        choices=await devices.choose_devices(here.runtime, here.workspace.id, chosen),
        niches=await drafting.known_niches(here.runtime, here.workspace.id),
        largest=here.runtime.settings.media_max_bytes,
        kinds=MEDIA,
        look=look,
        own_zone="",
        **rendering.refusal(trouble),
    )
