"""Leads, as a program sees them: the people who are written to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Required, TypedDict, Unpack

from fleetcast.client.errors import InvalidInput
from fleetcast.client.exchange import Exchange
from fleetcast.client.pages import PAGE, Pages
from fleetcast.client.reading import read

MOST_AT_ONCE = 1_000
"""Leads of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A person on a device's list."""

    id: int
    device_id: int
    phone: str
    """E.164."""
    name: str
    niches: tuple[str, ...]
    target_status: str
    """`prospect` or `customer`."""
    journey: str
    time_zone: str | None
    attributes: Mapping[str, str]
    consent: str
    """`unknown`, `given` or `refused`."""
    consent_source: str | None
    consent_at: datetime | None
    shared: bool
    """Another device has a lead with this phone; a campaign writes to them once."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadDetails(Lead):
    """A lead, and whether anything can reach the person."""

    suppressed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadsAdded:
    """What became of leads that were added: their number is the sum."""

    added: int = 0
    merged: int = 0
    """Stored leads that changed."""
    unchanged: int = 0
    duplicates: int = 0
    """Went into another one with the same phone."""


class NewLead(TypedDict, total=False):
    """A lead as it is described; what is left out is not said."""

    phone: Required[str]
    """However it is written; without a country code it is read with the device's country."""
    name: str
    niches: list[str]
    target_status: str | None
    journey: str
    time_zone: str | None
    attributes: Mapping[str, str]
    consent: str


class Said(TypedDict):
    """What a person said about being written to."""

    state: str
    """`given` or `refused`."""
    source: str
    """Where they said so, in words."""


class LeadFields(TypedDict, total=False):
    """What may change of a lead; what is left out stays."""

    name: str
    niches: list[str]
    target_status: str
    journey: str
    time_zone: str | None
    attributes: Mapping[str, str | None]
    """Those that are named; None takes one away."""
    consent: Said


class Leads:
    """`fleet.leads`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def list(
        self,
        *,
        device_id: int | None = None,
        phone: str | None = None,
        niche: str | None = None,
        target_status: str | None = None,
        consent: str | None = None,
        limit: int = PAGE,
        after: str | None = None,
    ) -> Pages[Lead]:
        """Leads by id; `niche` is a whole name."""
        query = {
            "device_id": device_id,
            "phone": phone,
            "niche": niche,
            "target_status": target_status,
            "consent": consent,
            "limit": limit,
        }
        return Pages(self._exchange, "leads", Lead, query, after=after)

    async def show(self, lead_id: int) -> LeadDetails:
        """One lead."""
        return read(LeadDetails, await self._exchange.ask("GET", "leads/{lead_id}", lead_id=lead_id))

    async def create_many(
        self, device_id: int, leads: Iterable[NewLead], *, consent_source: str | None = None
    ) -> LeadsAdded:
        """Add leads to a device, or merge them with those that it has: a thousand at a time, each all or nothing.

        `consent_source` says where those agreed who did. The fields of an InvalidInput count over all leads.
        """
        every, total, begun = iter(leads), LeadsAdded(), 0
        while some := list(islice(every, MOST_AT_ONCE)):
            content = {"leads": some, "consent_source": consent_source}
            try:
                told = await self._exchange.ask(
                    "POST", "devices/{device_id}/leads", content=content, device_id=device_id
                )
            except InvalidInput as error:
                if begun:
                    raise _counted_from(begun, error) from None
                raise
            done = read(LeadsAdded, told)
            total = LeadsAdded(**{f.name: getattr(total, f.name) + getattr(done, f.name) for f in fields(LeadsAdded)})
            begun += len(some)
        return total

    async def change(self, lead_id: int, **changes: Unpack[LeadFields]) -> LeadDetails:
        """Change what is given; a refusal of consent suppresses the person."""
        told = await self._exchange.ask("PATCH", "leads/{lead_id}", content=changes, lead_id=lead_id)
        return read(LeadDetails, told)

    async def remove(self, lead_id: int) -> None:
        """Forget a lead; what waits for it is skipped."""
        await self._exchange.ask("DELETE", "leads/{lead_id}", lead_id=lead_id)

    async def export(self, target: Path | str, *, device_id: int | None = None) -> int:
        """Write all leads, or those of a device, to a CSV file that can be imported again; its bytes."""
        return await self._exchange.save("leads/export", Path(target), query={"device_id": device_id})


def _counted_from(begun: int, error: InvalidInput) -> InvalidInput:
    """The error of a later thousand, whose fields name the place among all."""

    def moved(field: str) -> str:
        head, opened, rest = field.partition("leads[")
        number, closed, tail = rest.partition("]")
        return f"{head}leads[{begun + int(number)}]{tail}" if opened and closed and number.isdigit() else field

    return InvalidInput(
        error.status,
        type=error.type,
        title=error.title,
        detail=error.detail,
        errors=tuple(replace(e, field=moved(e.field)) for e in error.errors),
    )
