"""Use cases of the calendar: a month of campaigns by the clock of the workspace, and moving a start to another day.

Moving is an edit of the schedule alone, with rules of its own: the time of day stays when only a day is named, and an
hour that the clocks skip is refused, where a form that names it means the next instant: whoever drags a box has not
seen which hour they chose.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.schedule import EARLIEST_YEAR, LATEST_YEAR, is_skipped, parse_local, parse_schedule, resolve
from fleetcast.errors import Conflict, InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import audit, calendar, campaigns, overview, workspaces
from fleetcast.store.campaigns import Campaign, Counts

__all__ = ["MOST", "UNDATED", "Day", "Entry", "Month", "Moved", "look_at_month", "move_campaign"]

MOST = 1_000
"""Campaigns of a month that are shown; a month with more says so."""
UNDATED = 20
"""Drafts without a time that lie beside the calendar."""
USUAL_TIME = time(10)
"""For a draft that had no time and is put on a day."""
MOVABLE = frozenset({CampaignStatus.DRAFT, CampaignStatus.SCHEDULED})


@dataclass(frozen=True, slots=True)
class Entry:
    """A campaign on its day."""

    campaign: Campaign
    local: datetime | None
    """When it started or is to start, by the clock of the workspace; None: a draft without a time."""
    counts: Counts

    @property
    def is_movable(self) -> bool:
        """Whether its start can still be put elsewhere."""
        return self.campaign.status in MOVABLE


@dataclass(frozen=True, slots=True)
class Day:
    """One day and what begins on it."""

    date: date
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """A month in whole weeks, from Monday on."""

    first: date
    today: date
    days: tuple[Day, ...]
    undated: tuple[Entry, ...]
    is_cut: bool
    """There is more than is shown."""

    @property
    def before(self) -> date | None:
        """The first day of the month before, while there is one."""
        last = self.first - timedelta(days=1)
        return last.replace(day=1) if last.year >= EARLIEST_YEAR else None

    @property
    def after(self) -> date | None:
        """The first day of the month after."""
        following = _following(self.first)
        return following if following.year <= LATEST_YEAR else None

    @property
    def count(self) -> int:
        """Campaigns that begin in the month itself."""
        return sum(len(d.entries) for d in self.days if d.date.month == self.first.month)


@dataclass(frozen=True, slots=True)
class Moved:
    """A start that was moved, by the clock of the workspace; None: no time."""

    campaign: Campaign
    before: datetime | None
    after: datetime | None


def _following(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


async def look_at_month(runtime: Runtime, workspace_id: WorkspaceId, month: date | None) -> Month:
    """The month of that day, or this month. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound(f"There is no workspace {workspace_id}.")
        zone = ZoneInfo(workspace.time_zone)
        today = (await overview.now(connection)).astimezone(zone).date()
        first = (month or today).replace(day=1)
        last = _following(first) - timedelta(days=1)
        monday, sunday = first - timedelta(days=first.weekday()), last + timedelta(days=6 - last.weekday())
        found = await calendar.between(
            connection,
            workspace_id,
            _midnight(monday, zone),
            _midnight(sunday + timedelta(days=1), zone),
            MOST + 1,
        )
        beside = await calendar.undated(connection, workspace_id, UNDATED)
        counts = await campaigns.counts(connection, [c.id for c in found[:MOST] if c.started_at is not None])
    entries: dict[date, list[Entry]] = {}
    for campaign in found[:MOST]:
        at = campaign.started_at or campaign.starts_at
        assert at is not None  # by the statement
        local = at.astimezone(zone).replace(tzinfo=None)
        entries.setdefault(local.date(), []).append(Entry(campaign, local, counts.get(campaign.id, _NONE)))
    return Month(
        first=first,
        today=today,
        days=tuple(Day(d, tuple(entries.get(d, ()))) for d in _days(monday, sunday)),
        undated=tuple(Entry(c, None, _NONE) for c in beside),
        is_cut=len(found) > MOST,
    )


_NONE = Counts({}, {}, 0, 0)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return resolve(datetime.combine(day, time()), zone)


async def move_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, to: str, *, actor: str
) -> Moved:
    """Put a start to another day, `2026-12-24`, at the same time of day, or to another time, `2026-12-24 18:30`, by the
    clock of the workspace. An empty text takes a draft's time away.

    Raises InvalidInput for a time that is past, skipped by the clocks or cannot be read, Conflict for a campaign that
    has started, NotFound.
    """
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        campaign = await campaigns.locked(connection, workspace_id, campaign_id)
        if workspace is None or campaign is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        if campaign.status not in MOVABLE:
            raise Conflict(
                f"Campaign '{campaign.title}' is {campaign.status}: its start cannot move any more. "
                "Copy it to send it again on another day."
            )
        zone = ZoneInfo(workspace.time_zone)
        before = None if campaign.starts_at is None else _local(campaign.starts_at, zone)
        changes: dict[str, Any] = {"schedule_local": None, "schedule_zone": None, "starts_at": None}
        after = None
        if to.strip():
            after = _wanted(to.strip(), before)
            if is_skipped(after, zone):
                raise InvalidInput(
                    "schedule",
                    f"on {after:%Y-%m-%d} the clocks in {zone.key} skip {after:%H:%M}: give another time of day",
                )
            start = parse_schedule(f"{after:%Y-%m-%d %H:%M:%S}", zone.key, await overview.now(connection))
            changes = {"schedule_local": after, "schedule_zone": zone.key, "starts_at": start.at}
        elif campaign.status is CampaignStatus.SCHEDULED:
            raise InvalidInput("schedule", "a scheduled campaign needs a time; take its start back to make it a draft")
        await campaigns.update(connection, workspace_id, campaign_id, changes)
        await audit.record(
            connection,
            workspace_id,
            actor,
            "campaign.move",
            f"campaign {campaign.id}",
            before={"starts": _told(before)},
            after={"starts": _told(after)},
        )
    await runtime.nudges.plan(campaign_id)
    return Moved(campaign, before, after)


def _local(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _told(local: datetime | None) -> str | None:
    return None if local is None else f"{local:%Y-%m-%d %H:%M}"


def _wanted(to: str, before: datetime | None) -> datetime:
    if len(to) > len("2026-12-24"):
        return parse_local(to)
    day = parse_local(f"{to} 00:00").date()
    return datetime.combine(day, USUAL_TIME if before is None else before.time())
