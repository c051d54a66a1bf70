"""Use cases of the history: what a workspace sent in each period of some days, by the clock on its wall."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from fleetcast.domain.history import Step, periods, step_for
from fleetcast.domain.identifiers import WorkspaceId
from fleetcast.domain.schedule import EARLIEST_YEAR, LATEST_YEAR
from fleetcast.errors import InvalidInput, NotFound
from fleetcast.runtime import Runtime
from fleetcast.store import history as store
from fleetcast.store import overview, workspaces
from fleetcast.store.history import Counts

__all__ = ["MOST", "Counts", "History", "Period", "Step", "history"]

USUAL = timedelta(days=7)
MOST = 1_000
"""Periods of one answer."""


@dataclass(frozen=True, slots=True)
class Period:
    """What happened from `at` until `until`, which belongs to the next one."""

    at: datetime
    until: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class History:
    """Days of a workspace in periods. Those that have not begun yet are left out."""

    zone: str
    first: date
    last: date
    """Belongs to it."""
    step: Step
    at: datetime
    """Now, by the database's clock."""
    known_until: datetime | None
    """Up to when it was counted; None before the first look."""
    periods: tuple[Period, ...]
    total: Counts


async def history(
    runtime: Runtime,
    workspace_id: WorkspaceId,
    first: date | None = None,
    last: date | None = None,
    step: Step | None = None,
) -> History:
    """These days, both included: without `last` up to today, without `first` seven of them. Without `step`: periods as
    long as is right for that many days.

    Raises InvalidInput for days in the wrong order, too many periods, a year that nobody means; NotFound.
    """
    async with runtime.db.transaction() as connection:
        workspace = await workspaces.by_id(connection, workspace_id)
        if workspace is None:
            raise NotFound("There is no such workspace.")
        at = await overview.now(connection)
        zone = ZoneInfo(workspace.time_zone)
        last = last or at.astimezone(zone).date()
        first = first or last - (USUAL - timedelta(days=1))
        step = step or step_for((last - first).days + 1)
        _check(first, last, step)
        begins = periods(first, last, zone, step)
        counted = await store.periods(connection, workspace_id, begins)
        known_until = await store.looked_at(connection)
    told = [Period(a, b, counts) for (a, b), counts in zip(pairwise(begins), counted, strict=True)]
    begun = tuple(p for p in told if p.at <= at)
    return History(zone.key, first, last, step, at, known_until, begun, sum((p.counts for p in begun), Counts()))


def _check(first: date, last: date, step: Step) -> None:
    for name, day in (("from", first), ("to", last)):
        if not EARLIEST_YEAR <= day.year < LATEST_YEAR:
            raise InvalidInput(name, f"give a year from {EARLIEST_YEAR} to {LATEST_YEAR - 1}")
    if last < first:
        raise InvalidInput("to", "the last day is before the first: give it as the same day or a later one")
    days = (last - first).days + 1
    most = {Step.DAY: MOST, Step.HOUR: MOST // 25, Step.QUARTER_HOUR: MOST // 100}[step]
    if days > most:
        raise InvalidInput(
            "from", f"that are {days:,} days, and in steps of {_WORDS[step]} at most {most} can be shown: choose fewer"
        )


_WORDS = {Step.QUARTER_HOUR: "a quarter of an hour", Step.HOUR: "an hour", Step.DAY: "a day"}
