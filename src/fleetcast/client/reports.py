"""Reports: the workspace at a glance and over time, a campaign in numbers, and why messages failed."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from fleetcast.client.campaigns import Counts
from fleetcast.client.exchange import Exchange
from fleetcast.client.reading import read
from fleetcast.client.sequences import People


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignFigures:
    """A campaign at this moment. The eight statuses add up to `planned`."""

    id: int
    title: str
    status: str
    starts_at: datetime | None
    launched_at: datetime | None
    planned_at: datetime | None
    paused_at: datetime | None
    paused_reason: str | None
    ended_at: datetime | None
    planned: int
    pending: int
    queued: int
    sending: int
    in_doubt: int
    sent: int
    failed: int
    skipped: int
    cancelled: int
    delivered: int
    read: int
    rate: float | None
    """Sent per minute; None until two looks, three seconds apart, can tell."""
    finish: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFigures:
    """A device at this moment."""

    id: int
    name: str
    phone: str | None
    transport: str
    state: str
    state_reason: str
    restricted_until: datetime | None
    paused: bool
    paused_reason: str | None
    last_send_at: datetime | None
    waiting: int
    """Open messages, counted up to 101."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The devices, counted, and the first of them."""

    total: int
    sending: int
    simulated: int
    cannot_send: int
    standings: Mapping[str, int]
    listed: tuple[DeviceFigures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Something that waits for a person."""

    kind: str
    n: int
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The workspace at one instant: what goes out, how fast, until when, and what needs a person."""

    at: datetime
    rate: float | None
    finish: datetime | None
    left: int
    campaigns: Mapping[str, int]
    active: tuple[CampaignFigures, ...]
    scheduled: tuple[CampaignFigures, ...]
    resting: tuple[CampaignFigures, ...]
    fleet: Fleet
    needs: tuple[Need, ...]
    has_leads: bool
    troubles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCounts:
    """What happened in a time. A number may be negative: what failed before was tried again."""

    sent: int
    delivered: int
    """Reached the phone, those that were then read included."""
    read: int
    failed: int
    skipped: int
    cancelled: int
    replied: int
    opted_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPeriod:
    """What happened from `at` until `until`, which belongs to the next period."""

    at: datetime
    until: datetime
    counts: HistoryCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Some days of the workspace in periods, by its own clock."""

    zone: str
    first: date
    last: date
    step: str
    """quarter_hour, hour or day."""
    known_until: datetime | None
    periods: tuple[HistoryPeriod, ...]
    total: HistoryCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignReport:
    """A campaign in numbers."""

    id: int
    title: str
    status: str
    counts: Counts
    seconds_left: float | None
    """Until the slowest device is through at its mean pace, if all were online."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePart:
    """One device's part of a campaign."""

    device_id: int
    device: str
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParts:
    """A campaign device by device."""

    items: tuple[DevicePart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """So many messages failed or were skipped for this reason."""

    status: str
    reason: str
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Why messages failed or were skipped."""

    items: tuple[Failure, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Funnel:
    """Messages and people of a step, a device, or all."""

    due: int
    """Messages that were made: sent, under way, or not sent."""
    sent: int
    delivered: int
    read: int
    by_status: Mapping[str, int]
    by_reason: Mapping[str, Mapping[str, int]]
    people: People


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFunnel:
    """One step."""

    step_id: int
    place: int
    when: str
    funnel: Funnel


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFunnel:
    """One device."""

    device_id: int
    device: str
    funnel: Funnel


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceReport:
    """A sequence in numbers."""

    whole: Funnel
    steps: tuple[StepFunnel, ...]
    before_first: People
    """Who was stopped before the first step ended."""
    devices: tuple[DeviceFunnel, ...]
    """Those with most people first."""


class Reports:
    """`fleet.reports`."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def overview(self) -> Overview:
        """The workspace at a glance. Asked again after a few seconds it also knows rates."""
        return read(Overview, await self._exchange.ask("GET", "reports/overview"))

    async def history(self, first: date | None = None, last: date | None = None, *, step: str | None = None) -> History:
        """What was sent over time on these days, both included; the last seven if none are named.

        `step`: quarter_hour, hour or day.
        """
        days = {"from": first and first.isoformat(), "to": last and last.isoformat(), "step": step}
        return read(History, await self._exchange.ask("GET", "reports/history", query=days))

    async def campaign(self, campaign_id: int) -> CampaignReport:
        """A campaign in numbers, and how long it still takes."""
        told = await self._exchange.ask("GET", "reports/campaigns/{campaign_id}", campaign_id=campaign_id)
        return read(CampaignReport, told)

    async def campaign_devices(self, campaign_id: int) -> tuple[DevicePart, ...]:
        """A campaign device by device."""
        told = await self._exchange.ask("GET", "reports/campaigns/{campaign_id}/devices", campaign_id=campaign_id)
        return read(DeviceParts, told).items

    async def sequence(self, sequence_id: int) -> SequenceReport:
        """A sequence in numbers: as a whole, step by step and device by device."""
        told = await self._exchange.ask("GET", "reports/sequences/{sequence_id}", sequence_id=sequence_id)
        return read(SequenceReport, told)

    async def failures(self, *, campaign_id: int | None = None) -> tuple[Failure, ...]:
        """Why messages failed or were skipped, the most frequent first."""
        told = await self._exchange.ask("GET", "reports/failures", query={"campaign_id": campaign_id})
        return read(Failures, told).items

    async def single_sends(self, *, device_id: int | None = None) -> Counts:
        """How messages stand that belong to no campaign, for as long as they are kept."""
        return read(Counts, await self._exchange.ask("GET", "reports/single-sends", query={"device_id": device_id}))
