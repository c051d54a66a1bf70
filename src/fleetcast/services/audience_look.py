"""An audience while it is being chosen: how many people, from which devices, until when, and who is left out.

Exact where that is quick, as for every small workspace and every narrow choice; else an estimate from a sample, which
says so. Separate from `audience`, whose count is exact whatever it costs, because a figure that follows every key
pressed must cost next to nothing with a million leads.
"""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from fleetcast.domain.identifiers import DeviceId, LeadId, WorkspaceId
from fleetcast.domain.pacing import Pace
from fleetcast.domain.schedule import parse_zone, touches_night
from fleetcast.errors import InvalidInput
from fleetcast.store import audience, audience_sample
from fleetcast.store.audience import Audience, Headcount
from fleetcast.store.audience_sample import LeadsMark, Sample, Sender
from fleetcast.store.connection import Connection
from fleetcast.store.workspaces import Workspace

__all__ = ["AudienceLook", "LeadCounts", "Share", "Wish", "look_at_audience"]

FEW = 5_000
"""Leads that are counted one by one; of more an estimate is made."""
DAY = 86_400.0
PRIOR = 20
"""Leads that would have to be looked at of a device before its own share of recipients outweighs that of all."""
REMEMBERED = timedelta(minutes=10)
"""How long leads that change, but hardly grow in number, are not counted anew for an estimate."""
UNNOTICED = 200
"""An estimate may be that part of all leads behind."""
MUCH_A_DAY = 500
"""Messages of one number on one day from which on a person is warned."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What decides whom a campaign reaches and how long it takes."""

    audience: Audience
    required: tuple[str, ...] = ()
    """Variables that the text cannot do without."""
    pace: Pace | None = None
    """None: each device's own."""
    starts_at: datetime | None = None
    """None: now."""


class Share(NamedTuple):
    """What one device has to send."""

    device: Sender
    n: int
    seconds: float
    """Until it is through, at its mean pace."""

    @property
    def a_day(self) -> int:
        """The most that it sends in a day."""
        return self.n if self.seconds <= DAY else round(self.n * DAY / self.seconds)


@dataclass(frozen=True, slots=True)
class AudienceLook:
    """An audience in numbers; they count people, but for `leads`."""

    is_exact: bool
    """Else every number is an estimate."""
    leads: int
    """Leads that match."""
    recipients: int
    lacking: int
    """Of the recipients: without a variable that the text needs; they will be skipped."""
    suppressed: int
    """Left out: on the suppression list."""
    refused: int
    """Left out: they refused consent."""
    at_night: int
    """Recipients, about, for whom it goes out at night: by their own clock where it is known, else the workspace's."""
    shares: tuple[Share, ...]
    """The fullest device first."""
    readers: tuple[LeadId, ...]
    """Some recipients, by number."""
    is_few: bool
    """Few enough that each of them is found quickly."""

    @property
    def twice(self) -> int:
        """Left out: leads that are a person who is counted already."""
        return max(0, self.leads - self.recipients - self.suppressed - self.refused)

    @property
    def slowest(self) -> Share | None:
        """The device that is through last."""
        return max(self.shares, key=lambda s: s.seconds, default=None)

    @property
    def seconds(self) -> float | None:
        """Until the last one has it; None: nobody is reached."""
        return self.slowest.seconds if self.slowest else None

    @property
    def busiest(self) -> Share | None:
        """The number that sends most in a day, where that is much."""
        found = max(self.shares, key=lambda s: s.a_day, default=None)
        return found if found is not None and found.a_day > MUCH_A_DAY else None

    @property
    def held(self) -> tuple[Share, ...]:
        """What devices have that cannot send now."""
        return tuple(s for s in self.shares if not s.device.is_ready)


class LeadCounts:
    """How many leads each device of a workspace has, remembered: what an estimate is shared out by.

    Counting a million takes longer than somebody who types should wait, so what is remembered serves until leads or
    devices were added or removed that would show in an estimate, and else for `REMEMBERED`.
    """

    def __init__(self, most: int = 200) -> None:
        self._most = most
        self._known: OrderedDict[WorkspaceId, _Counted] = OrderedDict()

    async def of(self, connection: Connection, workspace_id: WorkspaceId, now: datetime) -> dict[DeviceId, int]:
        """By device."""
        mark = await audience_sample.leads_mark(connection, workspace_id)
        known = self._known.pop(workspace_id, None)
        if known is None or not known.serves(mark, now):
            known = _Counted(now, mark, await audience_sample.leads_by_device(connection, workspace_id))
        self._known[workspace_id] = known
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return known.by_device


class _Counted(NamedTuple):
    """What was counted, and of what."""

    at: datetime
    mark: LeadsMark
    by_device: dict[DeviceId, int]

    def serves(self, mark: LeadsMark, now: datetime) -> bool:
        """Whether an estimate would hardly be another if it was counted again."""
        if mark == self.mark:
            return True
        added = mark.newest_lead - self.mark.newest_lead
        return (
            mark.devices == self.mark.devices
            and added * UNNOTICED <= sum(self.by_device.values())
            and now - self.at <= REMEMBERED
        )


async def look_at_audience(
    connection: Connection, workspace: Workspace, wish: Wish, now: datetime, counts: LeadCounts, *, exact: bool = False
) -> AudienceLook:
    """Look at an audience, in a transaction whose time is bounded. With `exact` it is counted, however long that takes.

    Raises Unavailable.
    """
    every = {d.id: d for d in await audience_sample.senders(connection, workspace.id)}
    sampled = await audience_sample.sample(connection, workspace.id, wish.audience, wish.required)
    counted: Headcount | None = None
    is_small = not await audience_sample.has_more_leads_than(connection, workspace.id, FEW)
    owned = {} if exact or is_small else await counts.of(connection, workspace.id, now)
    scale = sum(owned.values()) / sampled.every if sampled.every else 0.0
    is_few = is_small or (_has_an_index(wish.audience) and sampled.leads * scale <= FEW)
    if exact:
        counted = await audience.count(connection, workspace.id, wish.audience, wish.required)
    elif is_few:
        counted = await audience.count_few(connection, workspace.id, wish.audience, wish.required)
    if counted is not None:
        by_device = {d: float(n) for d, n in counted.by_device.items()}
    else:
        by_device = _shared_out(sampled, wish.audience, {d: n for d, n in owned.items() if d in every}, scale)
    shares = _shares(by_device, wish.pace, every)
    recipients = counted.recipients if counted else round(sampled.recipients * scale)
    return AudienceLook(
        is_exact=counted is not None,
        leads=counted.leads if counted else round(sampled.leads * scale),
        recipients=recipients,
        lacking=counted.lacking if counted else round(sampled.lacking * scale),
        suppressed=counted.suppressed if counted else round(sampled.suppressed * scale),
        refused=counted.refused if counted else round(sampled.refused * scale),
        at_night=round(recipients * _share_at_night(sampled, wish.starts_at or now, shares, workspace.time_zone)),
        shares=shares,
        readers=tuple(sampled.readers),
        is_few=is_few,
    )


def _has_an_index(wanted: Audience) -> bool:
    """Whether few among many can be found without a look at all of them."""
    return bool(wanted.niches) or wanted.device_ids is not None


def _share_at_night(sampled: Sample, start: datetime, shares: tuple[Share, ...], zone: str) -> float:
    """How many of the recipients, from 0 to 1, live where it is night at some time until the last one has it."""
    seconds = max((s.seconds for s in shares), default=0.0)
    total = sum(sampled.zones.values())
    ours = ZoneInfo(zone)
    night = sum(n for name, n in sampled.zones.items() if touches_night(start, seconds, _zone(name, ours)))
    return night / total if total else 0.0


def _shared_out(sampled: Sample, wanted: Audience, owned: dict[DeviceId, int], scale: float) -> dict[DeviceId, float]:
    """The recipients by device: its leads, times the share of them that is reached. Where few of a device were looked
    at, that share is near the one of all, so that a lucky draw makes no giant.
    """
    chosen = owned.keys() if wanted.device_ids is None else set(wanted.device_ids) & owned.keys()
    looked_at = sum(sampled.looked_at.get(d, 0) for d in chosen)
    usual = sum(sampled.hits.get(d, 0) for d in chosen) / looked_at if looked_at else 0.0
    found = {
        d: owned[d] * (sampled.hits.get(d, 0) + PRIOR * usual) / (sampled.looked_at.get(d, 0) + PRIOR) for d in chosen
    }
    total = sum(found.values())
    return {d: n * sampled.recipients * scale / total for d, n in found.items()} if total else {}


def _shares(by_device: dict[DeviceId, float], pace: Pace | None, every: dict[DeviceId, Sender]) -> tuple[Share, ...]:
    gap = None if pace is None else pace.mean
    found = [
        Share(every[d], round(n), n * (every[d].gap if gap is None else gap))
        for d, n in by_device.items()
        if n >= 0.5 and d in every
    ]
    return tuple(sorted(found, key=lambda s: (-s.n, s.device.name)))


def _zone(name: str, otherwise: ZoneInfo) -> ZoneInfo:
    try:
        return parse_zone(name) if name else otherwise
    except InvalidInput:  # of a time when leads were not checked
        return otherwise
