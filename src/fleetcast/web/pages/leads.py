"""The people who are written to: the list, one of them, and the way in for files."""

from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response, StreamingResponse

from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import DeviceId, LeadId
from fleetcast.domain.lead import Consent, LeadStatus, StoredLead
from fleetcast.errors import FleetcastError, InvalidInput
from fleetcast.services import devices, leads, messages
from fleetcast.services.import_jobs import ImportJobs
from fleetcast.services.lead_export import download_leads
from fleetcast.services.lead_fields import LeadFields
from fleetcast.services.lead_imports import get_import, page_of_imports
from fleetcast.services.leads import ConsentGiven
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "leads"
PAGE = 50
RECENT = 20
"""Messages that a lead's page lists, and imports that the page of imports lists."""

Id = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
Line = Annotated[str, Form(max_length=2_000)]
ThisImport = Annotated[int, Path(alias="import_id", ge=1, le=2**63 - 1)]
ThisLead = Annotated[int, Path(alias="lead_id", ge=1, le=2**63 - 1)]


@router.get("/leads")
async def list_leads(
    request: Request,
    here: Looking,
    device: Id = None,
    number: Annotated[str, Query(max_length=100)] = "",
    niche: Annotated[str, Query(max_length=200)] = "",
    consent: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Who is there, and what did they say?"""
    wanted = Consent(consent) if consent in set(Consent) else None
    found: list[StoredLead] = []
    following, trouble = None, None
    try:
        found, following = await leads.list_leads(
            here.runtime,
            here.workspace.id,
            device_id=None if device is None else DeviceId(device),
            phone=number.strip() or None,
            niche=niche.strip() or None,
            consent=wanted,
            after=after or None,
            limit=PAGE,
        )
    except InvalidInput as error:
        trouble = error
    shown = {"device": device, "number": number.strip(), "niche": niche.strip(), "consent": wanted and wanted.value}
    every = await devices.list_devices(here.runtime, here.workspace.id)
    return rendering.page(
        request,
        here,
        "leads.html",
        SECTION,
        "Leads",
        status=422 if trouble else 200,
        rows=found,
        shown=shown,
        narrowed=any(shown.values()),
        after=after,
        next=following,
        every=every,
        names={d.id: d.name for d in every},
        trouble=trouble,
    )


@router.get("/leads/export")
async def export(here: Looking, device: Id = None) -> StreamingResponse:
    """All leads as CSV, ready to be imported again."""
    only = None if device is None else DeviceId(device)
    pieces = await download_leads(here.runtime, here.workspace.id, only, actor=here.access.actor)
    headers = {"Content-Disposition": 'attachment; filename="leads.csv"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/leads/import")
async def import_page(request: Request, here: Sending, device: Id = None) -> HTMLResponse:
    """Bring a file: choose it, see how it is read, let it in."""
    latest, _ = await page_of_imports(here.runtime, here.workspace.id, limit=RECENT)
    return rendering.page(
        request,
        here,
        "lead_import.html",
        SECTION,
        "Import leads",
        every=await devices.list_devices(here.runtime, here.workspace.id),
        device=device,
        latest=latest,
    )


@router.get("/leads/imports/{import_id}")
async def show_import(request: Request, here: Looking, import_id: ThisImport) -> HTMLResponse:
    """How far an import is, what it did, and which rows it refused."""
    found = await get_import(here.runtime, here.workspace.id, import_id)
    return rendering.page(request, here, "lead_imported.html", SECTION, found.filename or "Import", found=found)


@router.get("/leads/imports/{import_id}/rejected")
async def rejected(request: Request, here: Looking, import_id: ThisImport) -> FileResponse:
    """The rows that an import refused, to be corrected and brought again."""
    jobs: ImportJobs = request.app.state.import_jobs
    path = await jobs.rejected(here.workspace.id, import_id)
    return FileResponse(path, media_type="text/csv; charset=utf-8", filename=f"rejected-{import_id}.csv")


@router.get("/leads/{lead_id}")
async def show_lead(request: Request, here: Looking, lead_id: ThisLead) -> HTMLResponse:
    """Who is this, what did they say, what did they get?"""
    return await _one(request, here, LeadId(lead_id))


async def _one(
    request: Request, here: Place, lead_id: LeadId, *, trouble: FleetcastError | None = None
) -> HTMLResponse:
    shown = await leads.show_lead(here.runtime, here.workspace.id, lead_id)
    got = await messages.list_messages(here.runtime, here.workspace.id, recipient=shown.stored.lead.phone, limit=RECENT)
    device = await devices.get_device(here.runtime, here.workspace.id, shown.stored.device_id)
    return rendering.page(
        request,
        here,
        "lead.html",
        SECTION,
        shown.stored.lead.name or shown.stored.lead.phone,
        status=422 if trouble else 200,
        stored=shown.stored,
        lead=shown.stored.lead,
        suppressed=shown.suppressed,
        device=device,
        got=got.messages,
        more=got.next is not None,
        trouble=trouble,
    )


@router.post("/leads/{lead_id}")
async def change_lead(
    request: Request,
    here: Sending,
    lead_id: ThisLead,
    name: Line = "",
    niches: Line = "",
    target_status: Line = "",
    journey: Line = "",
) -> Response:
    """Change what is known of them."""
    fields: LeadFields = {
        "name": name,
        "niches": [n for n in niches.split(",") if n.strip()],
        "journey": journey,
    }
    if target_status in set(LeadStatus):
        fields["target_status"] = LeadStatus(target_status)
    try:
        await leads.change_lead(
            here.runtime,
            here.workspace.id,
            LeadId(lead_id),
            fields,
            may_lift=here.access.may(Scope.MANAGE),
            actor=here.access.actor,
        )
    except InvalidInput as error:
        return await _one(request, here, LeadId(lead_id), trouble=error)
    return here.to(f"/leads/{lead_id}", "lead-changed")


@router.post("/leads/{lead_id}/consent")
async def record_consent(
    request: Request, here: Sending, lead_id: ThisLead, said: Line = "", source: Line = ""
) -> Response:
    """Write down that they agreed or refused."""
    try:
        given = ConsentGiven(Consent(said) if said in set(Consent) else Consent.UNKNOWN, source)
        await leads.change_lead(
            here.runtime,
            here.workspace.id,
            LeadId(lead_id),
            {},
            consent=given,
            may_lift=here.access.may(Scope.MANAGE),
            actor=here.access.actor,
        )
    except InvalidInput as error:
        return await _one(request, here, LeadId(lead_id), trouble=error)
    return here.to(f"/leads/{lead_id}", f"lead-{given.consent.value}")


@router.post("/leads/{lead_id}/remove")
async def remove_lead(here: Sending, lead_id: ThisLead) -> Response:
    """Forget them."""
    await leads.remove_lead(here.runtime, here.workspace.id, LeadId(lead_id), actor=here.access.actor)
    return here.to("/leads", "lead-removed")
