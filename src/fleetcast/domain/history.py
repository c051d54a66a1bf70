"""Time cut into pieces as the clock on a workspace's wall cuts it: days, hours, quarters of an hour. Pure.

A day of a zone is 23, 24 or 25 hours long, and in India hours begin at half past by UTC. What is stored are slots of a
quarter of an hour, which all of them are made of: every offset in use since 1972 is a multiple of it.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from fleetcast.domain.schedule import resolve

SLOT = timedelta(minutes=15)
"""The smallest piece of time that is kept apart."""


class Step(StrEnum):
    """How long each period is."""

    QUARTER_HOUR = "quarter_hour"
    """Fifteen minutes."""
    HOUR = "hour"
    """Of the clock on the wall, counted from midnight."""
    DAY = "day"
    """From one midnight to the next, however long that is."""


LENGTHS = {Step.QUARTER_HOUR: SLOT, Step.HOUR: timedelta(hours=1), Step.DAY: timedelta(days=1)}
"""Of a period; a day's is the usual one."""


def step_for(days: int) -> Step:
    """Periods of which so many days have no more than fit beside each other on a page."""
    if days <= 2:
        return Step.QUARTER_HOUR
    return Step.HOUR if days <= 14 else Step.DAY


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins there, in UTC; where clocks jump over midnight, when they show something later."""
    return resolve(datetime(day.year, day.month, day.day), zone)  # noqa: DTZ001 - local on purpose


def periods(first: date, last: date, zone: ZoneInfo, step: Step) -> list[datetime]:
    """When each period of these days begins, both days included, and at the end of the list when the last one ends."""
    found: list[datetime] = []
    day = first
    while day <= last:
        at, following = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        while at < following:
            found.append(at)
            at = following if step is Step.DAY else at + LENGTHS[step]
        day += timedelta(days=1)
    return [*found, midnight(last + timedelta(days=1), zone)]
