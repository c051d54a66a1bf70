"""Leads: the people who are written to, one by one and up to a thousand at a time. Files are `lead_imports`."""

from datetime import datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.paging import LAST_ID, After, Id, Limit, Page
from fleetcast.domain.access import Scope
from fleetcast.domain.identifiers import DeviceId, LeadId
from fleetcast.domain.lead import MAX_NICHES, Consent, LeadStatus, StoredLead
from fleetcast.domain.lead_columns import MAX_ATTRIBUTES, MAX_CELL_CHARS, MAX_HEADING_CHARS, MAX_NAME_CHARS
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.services import leads
from fleetcast.services.lead_export import download_leads
from fleetcast.services.lead_fields import LeadFields, NewLeadFields
from fleetcast.services.lead_search import Asked, filter_of, page_of_leads
from fleetcast.services.leads import MOST_AT_ONCE, ConsentGiven, LeadShown
from fleetcast.services.suppressions import LONGEST_NOTE

router = APIRouter(route_class=GuardedRoute, tags=["leads"])

Name = Annotated[str, Field(max_length=MAX_NAME_CHARS, examples=["Aminah"])]
Niche = Annotated[str, Field(max_length=200)]
Niches = Annotated[list[Niche], Field(max_length=MAX_NICHES, examples=[["fitness", "retail"]])]
Journey = Annotated[str, Field(max_length=MAX_CELL_CHARS, description="Notes of the person's way so far.")]
TimeZone = Annotated[str, Field(max_length=100, examples=["Asia/Kuala_Lumpur"])]
Key = Annotated[str, Field(max_length=MAX_HEADING_CHARS)]
Text = Annotated[str, Field(max_length=MAX_CELL_CHARS)]
Source = Annotated[str, Field(min_length=1, max_length=LONGEST_NOTE, examples=["form at the counter, May 2026"])]
CSV: dict[int | str, dict[str, Any]] = {200: {"description": "CSV in UTF-8 with its mark", "content": {"text/csv": {}}}}
"""What a route answers that streams a table."""
OneDevice = Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this device.")]


class Lead(BaseModel):
    """A person on a device's list."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    device_id: int
    phone: str = Field(description="E.164.", examples=["+60123456789"])
    name: str = Field(examples=["Aminah"])
    niches: list[str] = Field(description="Sorted, in small letters.", examples=[["fitness", "retail"]])
    target_status: LeadStatus
    journey: str
    time_zone: str | None = Field(examples=["Asia/Kuala_Lumpur"])
    attributes: dict[str, str] = Field(description="What else texts may print.", examples=[{"order_no": "17"}])
    consent: Consent = Field(description="Whether the person agreed to be written to.")
    consent_source: str | None = Field(description="Where they agreed or refused.")
    consent_at: datetime | None
    shared: bool = Field(description="Another device has a lead with this phone; a campaign writes to them once.")
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, stored: StoredLead) -> Self:
        """As it is shown."""
        return cls.model_validate(_facts(stored))


class LeadDetails(Lead):
    """A lead, and whether anything can reach the person."""

    suppressed: bool = Field(description="On the suppression list: nothing is sent to this person.")

    @classmethod
    def shown(cls, shown: LeadShown) -> Self:
        """As it is shown."""
        return cls.model_validate(_facts(shown.stored) | {"suppressed": shown.suppressed})


def _facts(stored: StoredLead) -> dict[str, object]:
    names = ("phone", "name", "niches", "target_status", "journey", "time_zone", "attributes", "consent")
    about = ("id", "device_id", "consent_source", "consent_at", "shared", "created_at", "updated_at")
    return {n: getattr(stored.lead, n) for n in names} | {n: getattr(stored, n) for n in about}


class NewLead(BaseModel):
    """A lead as it is described; what is left out or empty is not said."""

    model_config = ConfigDict(extra="forbid")

    phone: str = Field(
        max_length=100,
        description="One number, however it is written; without a country code it is read with the device's country.",
        examples=["012-345 6789"],
    )
    name: Name = ""
    niches: Niches = []
    target_status: LeadStatus | None = Field(default=None, description="A new lead is a prospect if nothing is said.")
    journey: Journey = ""
    time_zone: TimeZone | None = None
    attributes: dict[Key, Text] = Field(
        default={},
        max_length=MAX_ATTRIBUTES,
        description="By key: small letters, digits and underscores.",
        examples=[{"order_no": "17"}],
    )
    consent: Consent = Field(
        default=Consent.UNKNOWN, description="`given` fills `unknown`; a refusal that is stored holds."
    )


class NewLeads(BaseModel):
    """Leads of one device."""

    model_config = ConfigDict(extra="forbid")

    leads: list[NewLead] = Field(min_length=1, max_length=MOST_AT_ONCE)
    consent_source: Source | None = Field(
        default=None, description="Where these people agreed or refused; needed where a lead says that they did."
    )


class LeadsAdded(BaseModel):
    """What became of them: their number is the sum."""

    model_config = ConfigDict(from_attributes=True)

    added: int = Field(description="New leads.")
    merged: int = Field(description="Stored leads that changed.")
    unchanged: int = Field(description="Stored leads that were already so.")
    duplicates: int = Field(description="Went into another one of this request with the same phone.")


class ConsentChange(BaseModel):
    """What the person said."""

    model_config = ConfigDict(extra="forbid")

    state: Consent = Field(
        description="`refused` puts the person on the suppression list and skips what waits for them. `given` after a "
        "refusal needs the scope `manage`, and leaves the person on the list until it is lifted there."
    )
    source: Source


class LeadChange(BaseModel):
    """What may change of a lead. What is left out stays; an empty text or list takes away what there is."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""
    niches: Niches = []
    target_status: LeadStatus = LeadStatus.PROSPECT
    journey: Journey = ""
    time_zone: TimeZone | None = None
    attributes: dict[Key, Text | None] = Field(
        default={}, max_length=MAX_ATTRIBUTES, description="Those that are named; null takes one away."
    )
    consent: ConsentChange | None = None


@router.get("/leads", **needs(Scope.READ, device_keys=True))
async def list_leads(
    access: Caller,
    runtime: Open,
    device_id: OneDevice = None,
    phone: Annotated[
        str | None, Query(max_length=100, description="However it is written; read with the workspace's country.")
    ] = None,
    niche: Annotated[str | None, Query(max_length=200, description="The whole name.")] = None,
    target_status: LeadStatus | None = None,
    consent: Consent | None = None,
    limit: Limit = 50,
    after: After = None,
) -> Page[Lead]:
    """Leads of the workspace, by id. Where few are like that, a page may have fewer than `limit`, or none, although
    others follow: go on as long as there is a `next`.
    """
    asked = Asked(
        device_id=own_device(access, device_id),
        phone=phone,
        niche=niche,
        target_status=target_status,
        consent=consent,
    )
    wanted = await filter_of(runtime, access.workspace_id, asked)
    found = await page_of_leads(runtime, access.workspace_id, wanted, after=after, limit=limit)
    return Page(items=[Lead.of(each) for each in found.leads], next=found.next)


@router.get(
    "/leads/export",
    response_class=StreamingResponse,
    responses=CSV,
    **needs(Scope.READ, device_keys=True),
)
async def export_leads(access: Caller, runtime: Open, device_id: OneDevice = None) -> StreamingResponse:
    """All leads as CSV, ready to be imported again.

    Cells that a spreadsheet would run, and phone numbers, begin with an apostrophe, which an import takes off.
    """
    only = own_device(access, device_id)
    pieces = await download_leads(runtime, access.workspace_id, LeadFilter(device_id=only), actor=access.actor)
    name = "leads.csv" if only is None else f"leads-{only}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/leads/{lead_id:int}", **needs(Scope.READ, device_keys=True))
async def show_lead(lead_id: Id, access: Caller, runtime: Open) -> LeadDetails:
    """One lead."""
    found = await leads.show_lead(runtime, access.workspace_id, LeadId(lead_id), device_id=access.device_id)
    return LeadDetails.shown(found)


@router.post("/devices/{device_id}/leads", **needs(Scope.SEND, device="device_id"))
async def add_leads(device_id: Id, new: NewLeads, access: Caller, runtime: Open) -> LeadsAdded:
    """Add leads to a device. One that it has is merged: what is said replaces, what is not said stays, niches are
    united, attributes are merged one by one. All or nothing: one lead that cannot be read, and none is written.
    """
    given: list[NewLeadFields] = [
        NewLeadFields(**lead.model_dump(exclude_unset=True))  # type: ignore[typeddict-item]
        for lead in new.leads
    ]
    done = await leads.add_leads(
        runtime,
        access.workspace_id,
        DeviceId(device_id),
        given,
        consent_source=new.consent_source,
        actor=access.actor,
    )
    return LeadsAdded.model_validate(done)


@router.patch("/leads/{lead_id:int}", **needs(Scope.SEND, device_keys=True))
async def change_lead(lead_id: Id, change: LeadChange, access: Caller, runtime: Open) -> LeadDetails:
    """Change a lead, or record what the person said about being written to."""
    fields = change.model_dump(exclude_unset=True, exclude={"consent"})
    said = change.consent
    found = await leads.change_lead(
        runtime,
        access.workspace_id,
        LeadId(lead_id),
        LeadFields(**fields),  # type: ignore[typeddict-item]
        consent=None if said is None else ConsentGiven(said.state, said.source),
        device_id=access.device_id,
        may_lift=access.may(Scope.MANAGE),
        actor=access.actor,
    )
    return LeadDetails.shown(found)


@router.delete("/leads/{lead_id:int}", status_code=204, **needs(Scope.SEND, device_keys=True))
async def remove_lead(lead_id: Id, access: Caller, runtime: Open) -> None:
    """Forget a lead. What waits for it is skipped with the reason `lead_removed`; what was sent to the number stays
    listed, and so does a refusal, which holds when the number comes back.
    """
    await leads.remove_lead(
        runtime, access.workspace_id, LeadId(lead_id), device_id=access.device_id, actor=access.actor
    )
