"""One of the people who are written to, and the way in for files. The list of them is `lead_list`."""

import hashlib
import secrets
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

from fleetcast.domain.access import Scope
from fleetcast.domain.content import LONGEST_BODY
from fleetcast.domain.identifiers import DeviceId, LeadId
from fleetcast.domain.lead import Consent, LeadStatus
from fleetcast.domain.message import MessageStatus
from fleetcast.errors import FleetcastError, InvalidInput, NotFound
from fleetcast.services import devices, leads
from fleetcast.services.devices import Device
from fleetcast.services.import_jobs import ImportJobs
from fleetcast.services.lead_fields import LeadFields
from fleetcast.services.lead_imports import get_import, page_of_imports
from fleetcast.services.lead_timeline import story_of
from fleetcast.services.leads import ConsentGiven
from fleetcast.services.single_sends import SingleSend, send_message, wrote_lately
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "leads"
RECENT = 20
"""Imports that the page of imports lists."""

Id = Annotated[int | None, Query(ge=1, le=2**63 - 1)]
Line = Annotated[str, Form(max_length=2_000)]
ThisImport = Annotated[int, Path(alias="import_id", ge=1, le=2**63 - 1)]
ThisLead = Annotated[int, Path(alias="lead_id", ge=1, le=2**63 - 1)]


@router.get("/leads/import")
async def import_page(request: Request, here: Sending, device: Id = None) -> HTMLResponse:
    """Bring a file: choose it, see how it is read, let it in."""
    latest, _ = await page_of_imports(here.runtime, here.workspace.id, limit=RECENT)
    if device is not None:
        chosen: Device | None = await devices.get_device(here.runtime, here.workspace.id, DeviceId(device))
    else:
        first, _ = await devices.page_of_devices(here.runtime, here.workspace.id, limit=1)
        chosen = first[0] if first else None
    return rendering.page(
        request,
        here,
        "lead_import.html",
        SECTION,
        "Import leads",
        device=chosen,
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
async def show_lead(
    request: Request, here: Looking, lead_id: ThisLead, before: Annotated[str, Query(max_length=20)] = ""
) -> HTMLResponse:
    """Who is this, what did they say, what did they get?"""
    return await _one(request, here, LeadId(lead_id), before=before)


async def _one(
    request: Request,
    here: Place,
    lead_id: LeadId,
    *,
    before: str = "",
    trouble: FleetcastError | None = None,
    text: str = "",
) -> HTMLResponse:
    shown = await leads.show_lead(here.runtime, here.workspace.id, lead_id)
    story = await story_of(here.runtime, here.workspace.id, shown.stored, before=before or None)
    device = await _device_of(here, shown.stored.device_id)
    phone = shown.stored.lead.phone
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
        wrote=device is not None and await wrote_lately(here.runtime, here.workspace.id, device.id, phone),
        text=text,
        once=secrets.token_hex(12),
        largest=LONGEST_BODY,
        story=story,
        before=before,
        trouble=trouble,
    )


def _key(once: str, text: str) -> str | None:
    """Of a form that may be sent twice; who goes back and writes something else means another message."""
    return f"{once}-{hashlib.sha256(text.encode()).hexdigest()[:16]}" if once else None


async def _device_of(here: Place, device_id: DeviceId) -> Device | None:
    """Whose lead it is; None when that was removed."""
    try:
        return await devices.get_device(here.runtime, here.workspace.id, device_id)
    except NotFound:
        return None


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


@router.post("/leads/{lead_id}/write")
async def write_to(
    request: Request,
    here: Sending,
    lead_id: ThisLead,
    text: Annotated[str, Form(max_length=LONGEST_BODY)] = "",
    once: Annotated[str, Form(max_length=40)] = "",
) -> Response:
    """Write to them, from the number whose lead they are; an answer, where they wrote lately. Sent twice, the same form
    is one message.
    """
    stored = (await leads.show_lead(here.runtime, here.workspace.id, LeadId(lead_id))).stored
    asked = SingleSend(stored.device_id, stored.lead.phone, text)
    try:
        made = await send_message(
            here.runtime, here.workspace.id, asked, actor=here.access.actor, once=_key(once, text)
        )
    except InvalidInput as error:
        return await _one(request, here, LeadId(lead_id), trouble=error, text=text)
    return here.to(f"/leads/{lead_id}", "lead-unwanted" if made.status is MessageStatus.SKIPPED else "lead-written")


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
