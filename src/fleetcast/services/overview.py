"""The state of a workspace at one instant: what goes out, how fast, until when, and what needs a person.

One value for the page, its live fragments and `fleetcast status`, so that all three say the same. Counts are exact:
they are the sums of `campaign_tallies`, which move in the same statement as the rows. The rate is not stored
anywhere: a `Meter` remembers the sums it was shown over the last minute, so a process that has only just begun to look
does not know a rate yet and says so. The estimate divides what is left by that rate; it is an estimate and is always
called "about".
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from fleetcast.domain.campaign import CampaignStatus
from fleetcast.domain.device import DeviceState, TransportKind
from fleetcast.domain.identifiers import CampaignId, WorkspaceId
from fleetcast.domain.message import MessageStatus
from fleetcast.errors import NotFound
from fleetcast.runtime import Runtime
from fleetcast.services.liveness import Trouble, missing, troubles
from fleetcast.store import overview as store
from fleetcast.store import processes, workspaces
from fleetcast.store.connection import Connection
from fleetcast.store.overview import CampaignRow, DeviceRow, TallyRow
from fleetcast.store.workspaces import Workspace

LISTED = 60
"""Campaigns or devices on one page; the count says how many there are."""
COUNTED = 500
"""Active campaigns whose sums are read for the total rate."""
PEEK = 100
"""Open messages of one device that are counted; more are "100+"."""
NAMED = 3
"""Devices that a line about many of them names."""


@dataclass(frozen=True, slots=True)
class Counts:
    """A campaign's messages. The eight statuses add up to `planned`; delivered and read are parts of sent."""

    pending: int = 0
    queued: int = 0
    sending: int = 0
    in_doubt: int = 0
    sent: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    delivered: int = 0
    """Reached the phone, those that were then read included."""
    read: int = 0
    reasons: tuple[tuple[str, str, int], ...] = ()
    """(status, reason, n) of what was failed or skipped, the largest first."""

    @property
    def planned(self) -> int:
        """All messages."""
        return self.waiting + self.sending + self.in_doubt + self.done

    @property
    def waiting(self) -> int:
        """Not on their way yet."""
        return self.pending + self.queued

    @property
    def left(self) -> int:
        """Still to be attempted or being attempted now."""
        return self.waiting + self.sending

    @property
    def done(self) -> int:
        """Settled: nothing more happens to them by itself."""
        return self.sent + self.failed + self.skipped + self.cancelled

    @property
    def share(self) -> float:
        """Settled messages as a share of all, 0 to 1; 0 of nothing is 0."""
        return self.done / self.planned if self.planned else 0.0


@dataclass(frozen=True, slots=True)
class CampaignLine:
    """One campaign with its figures."""

    row: CampaignRow
    counts: Counts
    rate: float | None
    """Messages sent per minute over the last minute; None while too little was seen to tell."""
    finish: datetime | None
    """About when the last message is attempted; None when that cannot be said."""

    @property
    def planning(self) -> bool:
        """Whether messages are still being added."""
        return self.row.status is CampaignStatus.RUNNING and self.row.planned_at is None


@dataclass(frozen=True, slots=True)
class Fleet:
    """The devices of a workspace, counted and the first of them listed."""

    total: int
    sending: int
    """With an attempt that ended within the last minute."""
    simulated: int
    cannot_send: int
    standings: dict[str, int]
    """By what a person is told: a device's state, or 'paused'. Adds up to `total`."""
    listed: tuple[DeviceRow, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """Something that waits for a person. `kind`: in_doubt, campaign_paused, paused (devices), or a device's state."""

    kind: str
    n: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Overview:
    """A workspace at one instant."""

    workspace: Workspace
    at: datetime
    """By the database's clock."""
    rate: float | None
    finish: datetime | None
    """About when the last running campaign is through; None when one of them cannot say."""
    statuses: dict[CampaignStatus, int]
    active: tuple[CampaignLine, ...]
    scheduled: tuple[CampaignLine, ...]
    resting: tuple[CampaignLine, ...]
    fleet: Fleet
    needs: tuple[Need, ...]
    has_leads: bool
    troubles: tuple[Trouble, ...] = ()
    """Processes of the installation that do not do their work."""
    missing: tuple[str, ...] = ()
    """Kinds of processes that campaigns under way wait for, because none runs."""

    @property
    def running(self) -> int:
        """Campaigns under way."""
        return self.statuses.get(CampaignStatus.RUNNING, 0)

    @property
    def left(self) -> int:
        """Messages of the listed running campaigns that are still to go out."""
        return sum(c.counts.left for c in self.active if c.row.status is CampaignStatus.RUNNING)


class Meter:
    """Rates from sums seen over time: what was sent and settled between the oldest and the newest look of a minute."""

    def __init__(self, window: float = 60.0, minimum: float = 3.0) -> None:
        self._window = window
        self._minimum = minimum
        self._looks: deque[tuple[float, dict[CampaignId, tuple[int, int]]]] = deque()

    def note(self, at: float, sums: dict[CampaignId, tuple[int, int]]) -> None:
        """Remember (sent, settled) of each campaign at a monotonic instant, in seconds."""
        if self._looks and at - self._looks[-1][0] < 0.5:
            self._looks.pop() if len(self._looks) > 1 else None
        self._looks.append((at, sums))
        while at - self._looks[0][0] > self._window:
            self._looks.popleft()

    @property
    def last(self) -> float:
        """When the newest look was, monotonic; 0 before the first."""
        return self._looks[-1][0] if self._looks else 0.0

    def rates(self, campaign_id: CampaignId) -> tuple[float, float] | None:
        """Messages a minute, (sent, settled); None when the looks are less than three seconds apart."""
        known = [(at, sums[campaign_id]) for at, sums in self._looks if campaign_id in sums]
        if len(known) < 2 or known[-1][0] - known[0][0] < self._minimum:
            return None
        (first, before), (last, after) = known[0], known[-1]
        minutes = (last - first) / 60
        return max(0, after[0] - before[0]) / minutes, max(0, after[1] - before[1]) / minutes


class Meters:
    """What was seen of each of many things in the last minute: workspaces, or campaigns."""

    def __init__(self, most: int = 500) -> None:
        self._most = most
        self._known: OrderedDict[int, Meter] = OrderedDict()

    def of(self, thing: int) -> Meter:
        """The meter of one of them; who was not looked at for longest is forgotten, and has no rate for a moment."""
        meter = self._known.pop(thing, None) or Meter()
        self._known[thing] = meter
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return meter


def counts_of(rows: list[TallyRow]) -> Counts:
    """Fold the tallies of one campaign."""
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.counter] = sums.get(row.counter, 0) + row.n
    explained = sorted(
        ((r.counter, r.reason, r.n) for r in rows if r.reason and r.counter in ("failed", "skipped")),
        key=lambda part: (-part[2], part[1]),
    )
    known = {s.value for s in MessageStatus} | {"delivered", "read"}
    return Counts(**{k: v for k, v in sums.items() if k in known}, reasons=tuple(explained))


def standing(state: DeviceState, *, paused: bool) -> str:
    """What a person is told of a device: a pause hides only states that the pause itself makes unimportant."""
    hidden = (DeviceState.ONLINE, DeviceState.OFFLINE, DeviceState.CONNECTING)
    return "paused" if paused and state in hidden else state.value


def _line(row: CampaignRow, counts: Counts, meter: Meter, at: datetime) -> CampaignLine:
    rates = meter.rates(row.id)
    running = row.status is CampaignStatus.RUNNING
    rate = rates[0] if rates and running else None
    finish = None
    if rates and running and row.planned_at is not None and counts.left > 0 and rates[1] > 0:
        finish = at + timedelta(minutes=min(counts.left / rates[1], 60 * 24 * 365))
    return CampaignLine(row, counts, rate, finish)


async def fleet_of(connection: Connection, workspace_id: WorkspaceId, *, listed: int) -> Fleet:
    """The devices of a workspace, counted, and the first of them listed."""
    rows = await store.device_counts(connection, workspace_id)
    standings: dict[str, int] = {}
    for row in rows:
        key = standing(row.state, paused=row.paused)
        standings[key] = standings.get(key, 0) + row.n
    return Fleet(
        total=sum(r.n for r in rows),
        sending=sum(r.sending for r in rows),
        simulated=sum(r.n for r in rows if r.transport is TransportKind.SIMULATOR),
        cannot_send=sum(r.n for r in rows if r.paused or r.state is not DeviceState.ONLINE),
        standings=standings,
        listed=tuple(await store.devices(connection, workspace_id, listed, PEEK)) if rows and listed else (),
    )


_WANTS_A_PERSON = (DeviceState.BANNED, DeviceState.LOGGED_OUT, DeviceState.RESTRICTED)


async def _needs(
    connection: Connection, workspace_id: WorkspaceId, fleet: Fleet, campaigns: list[CampaignLine]
) -> tuple[Need, ...]:
    found = []
    doubtful = sum(c.counts.in_doubt for c in campaigns) + await store.single_in_doubt(connection, workspace_id)
    if doubtful:
        found.append(Need("in_doubt", doubtful, tuple(c.row.title for c in campaigns if c.counts.in_doubt)[:NAMED]))
    paused = [c.row.title for c in campaigns if c.row.status is CampaignStatus.PAUSED]
    if paused:
        found.append(Need("campaign_paused", len(paused), tuple(paused[:NAMED])))
    states = [s for s in _WANTS_A_PERSON if fleet.standings.get(s.value)]
    names = await store.names_in_state(connection, workspace_id, states, NAMED) if states else {}
    found.extend(Need(s.value, fleet.standings[s.value], tuple(names.get(s, ()))) for s in states)
    if fleet.standings.get("paused"):
        found.append(Need("paused", fleet.standings["paused"]))
    return tuple(found)


async def overview(runtime: Runtime, workspace_id: WorkspaceId, meter: Meter | None = None) -> Overview:
    """The workspace now. With a `meter` that is shown every look, rates and estimates appear after three seconds.

    Raises NotFound for an unknown workspace, Unavailable when the database does not answer.
    """
    meter = meter or Meter()
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound("There is no such workspace.")
        at = await store.now(connection)
        statuses = await store.campaign_counts(connection, workspace_id)
        active = await store.active_campaigns(connection, workspace_id, COUNTED)
        scheduled = await store.scheduled_campaigns(connection, workspace_id, 6)
        resting = await store.resting_campaigns(connection, workspace_id, 6)
        sums: dict[CampaignId, list[TallyRow]] = {}
        for row in await store.tallies(connection, workspace_id, [r.id for r in [*active, *resting]]):
            sums.setdefault(row.campaign_id, []).append(row)
        counted = {r.id: counts_of(sums.get(r.id, [])) for r in [*active, *resting]}
        meter.note(runtime.clock.monotonic(), {i: (c.sent, c.done) for i, c in counted.items()})
        lines = {r.id: _line(r, counted[r.id], meter, at) for r in [*active, *resting]}
        fleet = await fleet_of(connection, workspace_id, listed=LISTED)
        busy = [lines[r.id] for r in active]
        heard_of = await processes.known(connection)
        return Overview(
            workspace=workspace,
            at=at,
            rate=_total([meter.rates(i) for i in counted]) if active else None,
            finish=_latest([c for c in busy if c.row.status is CampaignStatus.RUNNING]),
            statuses=statuses,
            active=tuple(busy[:LISTED]),
            scheduled=tuple(CampaignLine(r, Counts(), None, None) for r in scheduled),
            resting=tuple(lines[r.id] for r in resting),
            fleet=fleet,
            needs=await _needs(connection, workspace_id, fleet, [*busy, *(lines[r.id] for r in resting)]),
            has_leads=bool(statuses) or await store.has_leads(connection, workspace_id),
            troubles=tuple(troubles(heard_of)),
            missing=tuple(missing(heard_of)) if statuses.get(CampaignStatus.RUNNING) else (),
        )


def _total(rates: list[tuple[float, float] | None]) -> float | None:
    known = [r[0] for r in rates if r is not None]
    return sum(known) if known else None


def _latest(running: list[CampaignLine]) -> datetime | None:
    finishes = [c.finish for c in running if c.counts.left or c.planning]
    return max((f for f in finishes if f), default=None) if finishes and all(finishes) else None


@dataclass(frozen=True, slots=True)
class CampaignLook:
    """One campaign at one instant."""

    line: CampaignLine
    at: datetime
    zone: str
    """IANA name; the workspace's."""


async def look_at_campaign(
    runtime: Runtime, workspace_id: WorkspaceId, campaign_id: CampaignId, meter: Meter
) -> CampaignLook:
    """One campaign with its figures; the meter remembers this look. Raises NotFound."""
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        row = await store.campaign(connection, workspace_id, campaign_id)
        if workspace is None or row is None:
            raise NotFound(f"There is no campaign {campaign_id} in this workspace.")
        at = await store.now(connection)
        counts = counts_of(await store.tallies(connection, workspace_id, [campaign_id]))
    meter.note(runtime.clock.monotonic(), {campaign_id: (counts.sent, counts.done)})
    return CampaignLook(_line(row, counts, meter, at), at, workspace.time_zone)


async def workspace_names(runtime: Runtime, limit: int = LISTED) -> list[tuple[WorkspaceId, str]]:
    """The first workspaces, oldest first: for the operator of the installation."""
    async with runtime.db.connection() as connection:
        return await store.workspace_names(connection, limit)
