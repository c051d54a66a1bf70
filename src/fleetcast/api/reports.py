"""Reports: the workspace at a glance and over time, campaigns and sequences in numbers, and why messages failed."""

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from fleetcast.api.campaigns import Counts
from fleetcast.api.guard import Caller, GuardedRoute, Open, needs, own_device
from fleetcast.api.paging import LAST_ID, Id
from fleetcast.api.sequences import People
from fleetcast.domain.access import Scope
from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId, SequenceId
from fleetcast.services import campaigns, history, overview, reports, sequence_reports
from fleetcast.services.history import Step
from fleetcast.services.overview import CampaignLine, Meters

router = APIRouter(route_class=GuardedRoute, tags=["reports"])


class CampaignFigures(BaseModel):
    """A campaign at this moment. The eight statuses add up to `planned`."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    status: CampaignStatus
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
    rate: float | None = Field(description="Sent per minute; null until two looks, three seconds apart, can tell.")
    finish: datetime | None = Field(description="About when it is through; null when that cannot be said.")


class DeviceFigures(BaseModel):
    """A device at this moment."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    phone: str | None
    transport: TransportKind
    state: DeviceState
    state_reason: str
    restricted_until: datetime | None
    paused: bool
    paused_reason: str | None
    last_send_at: datetime | None
    waiting: int = Field(description="Open messages, counted up to 101.")


class Fleet(BaseModel):
    """The devices, counted, and the first of them."""

    model_config = ConfigDict(from_attributes=True)

    total: int
    sending: int = Field(description="With an attempt that ended within the last minute.")
    simulated: int
    cannot_send: int
    standings: dict[str, int] = Field(examples=[{"online": 12, "paused": 1}])
    listed: list[DeviceFigures]


class Need(BaseModel):
    """Something that waits for a person."""

    model_config = ConfigDict(from_attributes=True)

    kind: str = Field(examples=["in_doubt"])
    n: int
    names: list[str]


class Overview(BaseModel):
    """The workspace at one instant: what goes out, how fast, until when, and what needs a person."""

    at: datetime
    rate: float | None = Field(description="Sent per minute; null until two looks, three seconds apart, can tell.")
    finish: datetime | None = Field(description="About when the last running campaign is through.")
    left: int = Field(description="Messages of running campaigns that are still to go out.")
    campaigns: dict[str, int] = Field(description="How many have each status.", examples=[{"running": 2}])
    active: list[CampaignFigures] = Field(description="Running and paused.")
    scheduled: list[CampaignFigures] = Field(description="The next to start.")
    resting: list[CampaignFigures] = Field(description="The newest drafts and ended ones.")
    fleet: Fleet
    needs: list[Need]
    has_leads: bool
    troubles: list[str] = Field(description="Processes of the installation that do not do their work, in sentences.")


class DevicePart(BaseModel):
    """One device's part of a campaign."""

    model_config = ConfigDict(from_attributes=True)

    device_id: int
    device: str
    counts: Counts


class CampaignReport(BaseModel):
    """A campaign in numbers."""

    id: int
    title: str
    status: CampaignStatus
    counts: Counts
    seconds_left: float | None = Field(
        description="Until the slowest device is through at its mean pace, if all were online; null: nothing waits."
    )


class Failure(BaseModel):
    """So many messages failed or were skipped for this reason."""

    model_config = ConfigDict(from_attributes=True)

    status: str = Field(examples=["failed"])
    reason: str = Field(examples=["not_on_whatsapp"])
    n: int


class Failures(BaseModel):
    """Why messages failed or were skipped, the most frequent first."""

    items: list[Failure]


class DeviceParts(BaseModel):
    """A campaign device by device."""

    items: list[DevicePart]


class HistoryCounts(BaseModel):
    """What happened in a time. A number may be negative: what failed before was tried again."""

    model_config = ConfigDict(from_attributes=True)

    sent: int
    delivered: int = Field(description="Reached the phone, those that were then read included.")
    read: int
    failed: int
    skipped: int
    cancelled: int
    replied: int = Field(description="Messages that came back.")
    opted_out: int = Field(description="People who asked for no more.")


class HistoryPeriod(BaseModel):
    """What happened from `at` until `until`."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    until: datetime = Field(description="Belongs to the next period.")
    counts: HistoryCounts


class History(BaseModel):
    """Some days of the workspace in periods, by its own clock."""

    model_config = ConfigDict(from_attributes=True)

    zone: str = Field(description="IANA name.", examples=["Asia/Kuala_Lumpur"])
    first: date
    last: date
    step: Step
    known_until: datetime | None = Field(description="Up to when it was counted, some 20 seconds ago.")
    periods: list[HistoryPeriod] = Field(description="Those that have begun, each of them, the oldest first.")
    total: HistoryCounts


def _figures(line: CampaignLine) -> CampaignFigures:
    row, counts = line.row, line.counts
    facts = {name: getattr(row, name) for name in CampaignFigures.model_fields if hasattr(row, name)}
    facts |= {name: getattr(counts, name) for name in CampaignFigures.model_fields if hasattr(counts, name)}
    return CampaignFigures.model_validate(facts | {"rate": line.rate, "finish": line.finish})


class Funnel(BaseModel):
    """Messages and people of a step, a device, or all. `due` is the sum of `by_status`."""

    model_config = ConfigDict(from_attributes=True)

    due: int = Field(description="Messages that were made: sent, under way, or not sent.")
    sent: int
    delivered: int = Field(description="Reached the phone; `sent` only means that WhatsApp took it.")
    read: int
    by_status: dict[str, int] = Field(examples=[{"sent": 4800, "skipped": 12}])
    by_reason: dict[str, dict[str, int]] = Field(examples=[{"skipped": {"expired": 12}}])
    people: People = Field(description="Who is at the step, and who replied, was stopped or was through after it.")

    @classmethod
    def of(cls, funnel: sequence_reports.Funnel) -> "Funnel":
        """For programs."""
        return cls.model_validate(funnel)


class StepFunnel(BaseModel):
    """One step."""

    step_id: int
    place: int = Field(description="From 1.")
    when: str = Field(examples=["day 1 at 09:00"])
    funnel: Funnel


class DeviceFunnel(BaseModel):
    """One device."""

    device_id: int
    device: str
    funnel: Funnel


class SequenceReport(BaseModel):
    """A sequence in numbers."""

    whole: Funnel
    steps: list[StepFunnel]
    before_first: People = Field(description="Who was stopped before the first step ended.")
    devices: list[DeviceFunnel] = Field(description="Those with most people first.")


@router.get("/reports/overview", **needs(Scope.READ))
async def report_overview(request: Request, access: Caller, runtime: Open) -> Overview:
    """The workspace at a glance. Asked again after a few seconds it also knows rates."""
    meters: Meters = request.app.state.meters
    now = await overview.overview(runtime, access.workspace_id, meters.of(access.workspace_id))
    return Overview(
        at=now.at,
        rate=now.rate,
        finish=now.finish,
        left=now.left,
        campaigns={status.value: n for status, n in now.statuses.items()},
        active=[_figures(c) for c in now.active],
        scheduled=[_figures(c) for c in now.scheduled],
        resting=[_figures(c) for c in now.resting],
        fleet=Fleet.model_validate(now.fleet),
        needs=[Need.model_validate(n) for n in now.needs],
        has_leads=now.has_leads,
        troubles=[str(t) for t in now.troubles],
    )


@router.get("/reports/history", **needs(Scope.READ))
async def report_history(
    access: Caller,
    runtime: Open,
    first: Annotated[
        date | None, Query(alias="from", description="The first day, by the workspace's clock. Without it: of seven.")
    ] = None,
    last: Annotated[date | None, Query(alias="to", description="The last day, included. Without it: today.")] = None,
    step: Annotated[
        Step | None, Query(description="Length of a period. Without it: as is right for so many days.")
    ] = None,
) -> History:
    """What was sent, delivered, read and failed over time: messages of campaigns and single ones. Costs the same
    however many are stored, and stays when they are deleted.
    """
    return History.model_validate(await history.history(runtime, access.workspace_id, first, last, step))


@router.get("/reports/campaigns/{campaign_id}", **needs(Scope.READ))
async def report_campaign(campaign_id: Id, access: Caller, runtime: Open) -> CampaignReport:
    """A campaign in numbers, and how long it still takes."""
    found = await campaigns.show_campaign(runtime, access.workspace_id, CampaignId(campaign_id))
    return CampaignReport(
        id=found.campaign.id,
        title=found.campaign.title,
        status=found.campaign.status,
        counts=Counts.of(found.counts),
        seconds_left=found.seconds_left,
    )


@router.get("/reports/campaigns/{campaign_id}/devices", **needs(Scope.READ))
async def report_campaign_devices(campaign_id: Id, access: Caller, runtime: Open) -> DeviceParts:
    """A campaign device by device. Counts its messages: a million take a second or two."""
    found = await reports.campaign_by_device(runtime, access.workspace_id, CampaignId(campaign_id))
    return DeviceParts(items=[DevicePart.model_validate(p) for p in found])


@router.get("/reports/sequences/{sequence_id}", **needs(Scope.READ))
async def report_sequence(sequence_id: Id, access: Caller, runtime: Open) -> SequenceReport:
    """A sequence in numbers: as a whole, step by step and device by device. Costs the same however many are in it."""
    found = await sequence_reports.report_sequence(runtime, access.workspace_id, SequenceId(sequence_id))
    return SequenceReport(
        whole=Funnel.of(found.whole),
        steps=[
            StepFunnel(step_id=s.step_id, place=s.place, when=s.when, funnel=Funnel.of(s.funnel)) for s in found.steps
        ],
        before_first=People.of(found.before_first),
        devices=[
            DeviceFunnel(device_id=d.device_id, device=d.device, funnel=Funnel.of(d.funnel)) for d in found.devices
        ],
    )


@router.get("/reports/failures", **needs(Scope.READ))
async def report_failures(
    access: Caller,
    runtime: Open,
    campaign_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this campaign.")] = None,
) -> Failures:
    """Why messages failed or were skipped."""
    only = None if campaign_id is None else CampaignId(campaign_id)
    found = await reports.failures(runtime, access.workspace_id, only)
    return Failures(items=[Failure.model_validate(f) for f in found])


@router.get("/reports/single-sends", **needs(Scope.READ, device_keys=True))
async def report_single_sends(
    access: Caller,
    runtime: Open,
    device_id: Annotated[int | None, Query(ge=1, le=LAST_ID, description="Only of this device.")] = None,
) -> Counts:
    """How messages stand that belong to no campaign, for as long as they are kept."""
    found = await reports.single_send_counts(runtime, access.workspace_id, own_device(access, device_id))
    return Counts.of(found)
