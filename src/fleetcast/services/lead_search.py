"""Looking for leads: what somebody types becomes a filter, and a filter a page.

Separate from `leads`, which changes single ones: what is found here is also what is exported and changed by many.
"""

from dataclasses import dataclass

from fleetcast.domain.identifiers import DeviceId, WorkspaceId
from fleetcast.domain.lead import Consent, LeadStatus, StoredLead, niche_names
from fleetcast.domain.lead_filter import LeadFilter
from fleetcast.domain.phone import beginnings, parse_phone
from fleetcast.errors import InvalidInput
from fleetcast.runtime import Runtime
from fleetcast.services import paging
from fleetcast.store import lead_merge, lead_search, leads
from fleetcast.store.messages import time_limit

COUNTED = 10_000
"""Leads that a list counts; more are "more than 10,000"."""
COUNTED_FOUND = 1_000
"""The same where a name or number is looked for: who is found lies all over the table."""
LONGEST_COUNT = 10
"""Seconds that an exact count may take."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody looks for, as they typed it; empty: anything."""

    device_id: int | None = None
    text: str = ""
    """The beginning of a name, or of a number."""
    phone: str | None = None
    """A whole number; None: any."""
    niche: str | None = None
    """A whole name; None: any."""
    target_status: LeadStatus | None = None
    consent: Consent | None = None
    opted_out: bool | None = None
    attribute: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class LeadPage:
    """Some leads."""

    leads: list[StoredLead]
    next: str | None
    """Hand it back as `after`; None: these were the last."""
    looking: bool = False
    """There was no time to fill the page: what follows has not been looked at yet."""


async def filter_of(runtime: Runtime, workspace_id: WorkspaceId, asked: Asked) -> LeadFilter:
    """The filter that is meant; numbers are read with the workspace's country. Raises InvalidInput."""
    text = " ".join(asked.text.split())
    number = None
    numbers: tuple[str, ...] = ()
    if asked.phone is not None or _is_number(text):
        async with runtime.db.connection() as connection:
            region = await lead_merge.region(connection, workspace_id, None) or ""
        if asked.phone is not None:
            number = parse_phone(asked.phone, region)
        if _is_number(text):
            numbers = beginnings(text, region)
            if not numbers:
                raise InvalidInput("text", f"'{text[:40]}' is no beginning of a number")
    return LeadFilter(
        device_id=None if asked.device_id is None else DeviceId(asked.device_id),
        phone=number,
        numbers=numbers,
        name="" if _is_number(text) else text,
        niche=None if asked.niche is None else _one_niche(asked.niche),
        target_status=asked.target_status,
        consent=asked.consent,
        opted_out=asked.opted_out,
        attribute=asked.attribute.strip() or None if asked.value.strip() else None,
        value=asked.value.strip() if asked.attribute.strip() else "",
    )


def _is_number(text: str) -> bool:
    return any(c.isdigit() for c in text) and not any(c.isalpha() for c in text)


def _one_niche(text: str) -> str:
    names = niche_names((text,))
    if len(names) != 1:
        raise InvalidInput("niche", "name exactly one niche")
    return names[0]


async def page_of_leads(
    runtime: Runtime, workspace_id: WorkspaceId, wanted: LeadFilter, *, after: str | None = None, limit: int = 50
) -> LeadPage:
    """A page of leads: by number or name where a beginning is looked for, else in the order in which they came.

    Raises InvalidInput for an `after` of another list, Unavailable past 10 seconds.
    """
    start = paging.position(after, 0)
    async with runtime.db.transaction() as connection, time_limit(connection, narrow="device"):
        found, reached = await lead_search.page(connection, workspace_id, wanted, after=start, limit=limit)
    return LeadPage(found, None if reached is None else str(reached), reached is not None and len(found) < limit)


async def count_leads(
    runtime: Runtime, workspace_id: WorkspaceId, wanted: LeadFilter, *, most: int | None = COUNTED
) -> int:
    """How many leads are meant: no more than one beyond `most`, or exactly. Raises Unavailable past 10 seconds."""
    async with runtime.db.transaction() as connection, time_limit(connection, LONGEST_COUNT, narrow="device"):
        return await lead_search.count(connection, workspace_id, wanted, None if most is None else most + 1)


async def attribute_keys(runtime: Runtime, workspace_id: WorkspaceId) -> list[str]:
    """Every attribute that some lead of the workspace has had, sorted."""
    async with runtime.db.connection() as connection:
        return await leads.attribute_keys(connection, workspace_id)
