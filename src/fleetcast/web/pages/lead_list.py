"""The list of the people who are written to: looked for, shown in chosen columns, exported, and changed by many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from fleetcast.domain.bulk_edit import OF_LEADS, EditAction
from fleetcast.domain.identifiers import LeadId
from fleetcast.domain.lead import Consent, LeadStatus
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.errors import Conflict, FleetcastError, InvalidInput, NotFound
from fleetcast.services import bulk_edits, devices, lead_search
from fleetcast.services.lead_export import download_leads
from fleetcast.services.lead_search import COUNTED, COUNTED_FOUND, Asked
from fleetcast.web import rendering
from fleetcast.web.place import Looking, Place, Sending

router = APIRouter()

SECTION = "leads"
PAGE = 50
COLUMNS = 3
"""Attributes that are shown to who has not chosen."""
MOST_COLUMNS = 8
_COOKIE = "lead-columns-{}"
_KEPT = 400 * 86_400

Word = Annotated[str, Query(max_length=200)]
Line = Annotated[str, Form(max_length=2_000)]
Chosen = Annotated[list[int], Form(alias="lead", max_length=500)]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the address says of who is looked for, as it was typed."""

    device: int | None = None
    of: str = ""
    """A device by its name."""
    q: str = ""
    niche: str = ""
    standing: str = ""
    consent: str = ""
    out: str = ""
    """yes or no: on the suppression list."""
    key: str = ""
    value: str = ""

    @property
    def query(self) -> dict[str, object]:
        """For an address that looks for the same."""
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    async def wanted(self, here: Place) -> LeadFilter:
        """The filter. Raises InvalidInput that names the field."""
        device = self.device
        if self.of.strip():
            try:
                device = (await devices.find_device(here.runtime, here.workspace.id, self.of.strip())).id
            except NotFound:
                raise InvalidInput("of", f"there is no device called '{self.of.strip()[:40]}'") from None
        asked = Asked(
            device_id=device,
            text=self.q,
            niche=self.niche.strip() or None,
            target_status=LeadStatus(self.standing) if self.standing in set(LeadStatus) else None,
            consent=Consent(self.consent) if self.consent in set(Consent) else None,
            opted_out={"yes": True, "no": False}.get(self.out),
            attribute=self.key,
            value=self.value,
        )
        return await lead_search.filter_of(here.runtime, here.workspace.id, asked)


def _looked(
    device: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    of: Word = "",
    q: Word = "",
    niche: Word = "",
    standing: Word = "",
    consent: Word = "",
    out: Word = "",
    key: Word = "",
    value: Word = "",
) -> Looked:
    return Looked(None if of.strip() else device, of, q, niche, standing, consent, out, key, value)


LookedFor = Annotated[Looked, Depends(_looked)]


@router.get("/leads")
async def list_leads(
    request: Request,
    here: Looking,
    looked: LookedFor,
    after: Annotated[str, Query(max_length=40)] = "",
    columns: Annotated[list[Annotated[str, Query(max_length=100)]], Query(max_length=MOST_COLUMNS)] = [],  # noqa: B006
    choose: Annotated[str, Query(max_length=1)] = "",
) -> HTMLResponse:
    """Who is there, what do we know of them?"""
    answer = await _list(request, here, looked, after, columns if choose else None)
    if choose:
        answer.set_cookie(
            _COOKIE.format(here.workspace.id),
            ".".join(columns) or "-",
            max_age=_KEPT,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
    return answer


async def _list(
    request: Request,
    here: Place,
    looked: Looked,
    after: str = "",
    columns: Sequence[str] | None = None,
    *,
    trouble: FleetcastError | None = None,
) -> HTMLResponse:
    keys = await lead_search.attribute_keys(here.runtime, here.workspace.id)
    found, of, total, most = lead_search.LeadPage([], None), looked.of, 0, COUNTED
    try:
        wanted = await looked.wanted(here)
        found = await lead_search.page_of_leads(
            here.runtime, here.workspace.id, wanted, after=after or None, limit=PAGE
        )
        if wanted.device_id is not None:
            of = (await devices.get_device(here.runtime, here.workspace.id, wanted.device_id)).name
        if not wanted.needs_a_look:
            most = COUNTED_FOUND if wanted.name or wanted.numbers else COUNTED
            total = await lead_search.count_leads(here.runtime, here.workspace.id, wanted, most=most)
    except (InvalidInput, NotFound) as error:
        trouble = trouble or error
    names = await devices.names_of(here.runtime, here.workspace.id, {each.device_id for each in found.leads})
    return rendering.page(
        request,
        here,
        "leads.html",
        SECTION,
        "Leads",
        status=422 if trouble else 200,
        found=found,
        total=total,
        most=most,
        looked=looked,
        of=of,
        after=after,
        keys=keys,
        columns=_columns(request, here, keys, columns),
        names=names,
        any_device=bool(names) or await devices.any_device(here.runtime, here.workspace.id),
        actions=OF_LEADS,
        trouble=trouble,
    )


def _columns(request: Request, here: Place, keys: Sequence[str], asked: Sequence[str] | None) -> list[str]:
    """The attributes that are shown: those just chosen, else those chosen in this browser, else the first few."""
    kept = request.cookies.get(_COOKIE.format(here.workspace.id))
    chosen = asked if asked is not None else kept.split(".") if kept else keys[:COLUMNS]
    return [key for key in keys if key in chosen][:MOST_COLUMNS]


@router.get("/leads/more")
async def more_leads(
    request: Request, here: Looking, looked: LookedFor, after: Annotated[str, Query(max_length=40)] = ""
) -> HTMLResponse:
    """What follows in a search that had not looked at everybody: rows for the page that is open."""
    found = await lead_search.page_of_leads(
        here.runtime, here.workspace.id, await looked.wanted(here), after=after or None, limit=PAGE
    )
    keys = await lead_search.attribute_keys(here.runtime, here.workspace.id)
    return rendering.part(
        "lead_rows.html",
        here,
        found=found,
        looked=looked,
        columns=_columns(request, here, keys, None),
        names=await devices.names_of(here.runtime, here.workspace.id, {each.device_id for each in found.leads}),
    )


@router.get("/leads/export")
async def export(here: Looking, looked: LookedFor) -> StreamingResponse:
    """The leads that are looked for as CSV, ready to be imported again."""
    wanted = await looked.wanted(here)
    pieces = await download_leads(here.runtime, here.workspace.id, wanted, actor=here.access.actor)
    headers = {"Content-Disposition": 'attachment; filename="leads.csv"'}
    return StreamingResponse(pieces, media_type="text/csv; charset=utf-8", headers=headers)


# -- many at once


@dataclass(frozen=True, slots=True)
class Meant:
    """Of whom a form speaks that changes many, and what it wants of them."""

    looked: Looked
    ids: Sequence[int]
    everybody: bool
    action: EditAction | None
    value: Mapping[str, str]

    async def wanted(self, here: Place) -> LeadFilter:
        """Whom. Raises InvalidInput."""
        if self.everybody:
            return await self.looked.wanted(here)
        if not self.ids:
            raise InvalidInput("lead", "choose at least one person, or all that match")
        return LeadFilter(ids=tuple(LeadId(i) for i in dict.fromkeys(self.ids)))


def _meant(
    chosen: Chosen = [],  # noqa: B006
    scope: Line = "",
    action: Line = "",
    device: Annotated[int | None, Form(ge=1, le=2**63 - 1)] = None,
    of: Line = "",
    q: Line = "",
    niche: Line = "",
    standing: Line = "",
    consent: Line = "",
    out: Line = "",
    key: Line = "",
    value: Line = "",
    new_niche: Line = "",
    new_status: Line = "",
    new_key: Line = "",
    new_text: Line = "",
) -> Meant:
    return Meant(
        Looked(device, of, q, niche, standing, consent, out, key, value),
        chosen,
        scope == "all",
        EditAction(action) if action in OF_LEADS else None,
        {"niche": new_niche, "status": new_status, "key": new_key.strip(), "text": new_text},
    )


WhoIsMeant = Annotated[Meant, Depends(_meant)]


@router.post("/leads/bulk")
async def ask_about_many(request: Request, here: Sending, meant: WhoIsMeant) -> HTMLResponse:
    """How many are they, and what exactly is to be done to them?"""
    return await _ask(request, here, meant)


async def _ask(request: Request, here: Place, meant: Meant, *, trouble: FleetcastError | None = None) -> HTMLResponse:
    try:
        if meant.action is None:
            raise InvalidInput("action", "say what is to be done")
        n = await lead_search.count_leads(here.runtime, here.workspace.id, await meant.wanted(here), most=None)
        if not n:
            raise InvalidInput("lead", "nobody is like that any more")
    except InvalidInput as error:
        return await _list(request, here, meant.looked, trouble=error)
    return rendering.page(
        request,
        here,
        "bulk_leads.html",
        SECTION,
        "Change many leads",
        status=422 if trouble else 200,
        meant=meant,
        action=meant.action,
        n=n,
        keys=await lead_search.attribute_keys(here.runtime, here.workspace.id),
        trouble=trouble,
    )


@router.post("/leads/bulk/start")
async def change_many(
    request: Request, here: Sending, meant: WhoIsMeant, confirmed: Annotated[int, Form(ge=0)] = 0
) -> Response:
    """Begin to do it."""
    if meant.action is None:
        return await _ask(request, here, meant)
    try:
        made = await bulk_edits.change_leads(
            here.runtime,
            here.workspace.id,
            await meant.wanted(here),
            meant.action,
            meant.value,
            confirmed=confirmed,
            actor=here.access.actor,
        )
    except (InvalidInput, Conflict) as error:
        return await _ask(request, here, meant, trouble=error)
    return here.to(f"/bulk/{made.id}")
