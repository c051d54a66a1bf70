"""When the steps of a sequence are due for one person: by their clock, across summer time, and after an outage.

A step has its own moment: a day counted from the day on which somebody begins and a time on their clock, or so long
after the step before it ended. What is late by no more than the sequence's window is sent as soon as the pace allows;
what is later has expired, and the next step keeps its own moment. Two steps of one person are never sent in a heap:
however late the first of them was, an hour lies between, or the time that was planned where that is less.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from fleetcast.domain.identifiers import StepId
from fleetcast.domain.schedule import resolve
from fleetcast.errors import InvalidInput

LAST_DAY = 365
LONGEST_SPAN = timedelta(days=90)
DAY = timedelta(days=1)
LEAST_GAP = timedelta(hours=1)
"""Between the end of a step and the next one, where that one is late already."""
RETRY_AFTER = timedelta(hours=1)
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_SPAN = re.compile(r"([0-9]{1,7})\s*([dhm])")
_UNITS = {"d": DAY, "h": timedelta(hours=1), "m": timedelta(minutes=1)}


@dataclass(frozen=True, slots=True)
class At:
    """At a time on the person's clock, so many days after the day on which they begin; day 0 is that day."""

    day: int
    time: time

    def __str__(self) -> str:
        return f"day {self.day} at {self.time:%H:%M}"


@dataclass(frozen=True, slots=True)
class After:
    """So long after the step before ended; the first step: after somebody was enrolled."""

    span: timedelta

    def __str__(self) -> str:
        return f"{write_span(self.span)} after the step before"


Timing = At | After


def in_words(timing: Timing, place: int) -> str:
    """When a step comes, by its place from 1: the first one follows no other."""
    if place > 1 or isinstance(timing, At):
        return str(timing)
    return f"{write_span(timing.span)} after the enrolment" if timing.span else "at once"


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """A step as far as time is concerned."""

    id: StepId
    position: int
    timing: Timing
    is_deleted: bool = False
    """It keeps its place among the others for those who have had it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What was so far for one person."""

    enrolled_at: datetime
    anchor: date
    """Day 0, by the person's clock."""
    zone: ZoneInfo
    done: StepId | None = None
    """The last step that ended."""
    done_at: datetime | None = None
    """When it ended: sent, or not."""
    done_moment: datetime | None = None
    """The moment it was to be sent."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The step that follows."""

    step: StepId
    moment: datetime
    """Its own; its window begins then."""
    due_at: datetime
    """When it is to be sent; later than its moment only where the step before was late."""


def parse_time(text: str, field: str = "time") -> time:
    """A time of day such as `09:00`. Raises InvalidInput."""
    found = _TIME.fullmatch(text.strip()[:16])
    if found is None or int(found[1]) > 23 or int(found[2]) > 59:
        raise InvalidInput(field, f'"{text.strip()[:16]}" is not a time of day: write it as 09:00')
    return time(int(found[1]), int(found[2]))


def parse_span(text: str, field: str = "after") -> timedelta:
    """A span such as `3h`, `90m` or `2d`, at most 90 days; nothing at all is `0m`. Raises InvalidInput."""
    found = _SPAN.fullmatch(text.strip()[:16].casefold())
    if found is None:
        raise InvalidInput(field, f'"{text.strip()[:16]}" is not a span of time: write minutes, hours or days as 3h')
    span = min(int(found[1]), 10**6) * _UNITS[found[2]]
    if span > LONGEST_SPAN:
        raise InvalidInput(field, "at most 90 days lie between two steps")
    return span


def write_span(span: timedelta) -> str:
    """A span as `parse_span` reads it, in the largest unit that gives a whole number."""
    for unit in ("d", "h"):
        if span and not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{round(span / _UNITS['m'])}m"


def check_timeline(timings: Sequence[Timing]) -> None:
    """Refuse steps whose order is not the order of their moments, for whomever and whenever they begin.

    Raises InvalidInput that names the step by its place: `steps[2]`.
    """
    latest = DAY  # behind day 0's midnight, at the latest: somebody may be enrolled in its last second
    is_known = False
    for place, timing in enumerate(timings):
        field = f"steps[{place}]"
        if isinstance(timing, After):
            if place and timing.span <= timedelta(0):
                raise InvalidInput(
                    field, f"Step {place + 1} has the moment of step {place}: let some time pass after it."
                )
            latest += timing.span
            continue
        moment = timing.day * DAY + _since_midnight(timing.time)
        if place and moment == latest and is_known:
            raise InvalidInput(field, f"Step {place + 1} has the moment of step {place}: {timing}.")
        if place and moment < latest:
            raise InvalidInput(field, _too_early(place, timing, latest, is_known=is_known))
        latest, is_known = moment, True


def _too_early(place: int, timing: At, latest: timedelta, *, is_known: bool) -> str:
    days, rest = divmod(latest, DAY)
    when = f"day {days} at {rest // timedelta(hours=1):02}:{rest % timedelta(hours=1) // timedelta(minutes=1):02}"
    why = "is then" if is_known else "may be as late as then, for who is enrolled late in the day"
    return f"Step {place + 1} ({timing}) comes before step {place}: that {why}, {when}. Give a later day or time."


def _since_midnight(at: time) -> timedelta:
    return timedelta(hours=at.hour, minutes=at.minute)


def first_day(first: Timing, enrolled_at: datetime, zone: ZoneInfo) -> date:
    """Day 0: the day of the enrolment on the person's clock; the day after, where the first step's time on day 0 is
    over already.
    """
    today = enrolled_at.astimezone(zone).date()
    if isinstance(first, At) and moment_of(first, today, zone, enrolled_at) < enrolled_at:
        return today + DAY
    return today


def moment_of(timing: Timing, anchor: date, zone: ZoneInfo, before: datetime) -> datetime:
    """The instant, in UTC, that a step means for one person. `before`: the end of the step before it."""
    if isinstance(timing, After):
        return before.astimezone(UTC) + timing.span
    return resolve(datetime.combine(anchor + timing.day * DAY, timing.time), zone)


class Timeline:
    """The steps of a sequence in their order, those that were deleted with them."""

    def __init__(self, steps: Sequence[TimelineStep]) -> None:
        self._steps = sorted(steps, key=lambda step: step.position)
        self._by_id = {step.id: step for step in self._steps}

    @property
    def live(self) -> list[TimelineStep]:
        """The steps that are sent."""
        return [step for step in self._steps if not step.is_deleted]

    def first_day(self, enrolled_at: datetime, zone: ZoneInfo) -> date:
        """Day 0 of somebody who is enrolled now."""
        live = self.live
        return first_day(live[0].timing, enrolled_at, zone) if live else enrolled_at.astimezone(zone).date()

    def following(self, so_far: Progress) -> Placed | None:
        """The step that follows, whether its moment is over or not; None: there is none."""
        behind = self._behind(so_far.done)
        return self._placed(behind[0], so_far) if behind else None

    def again(self, so_far: Progress, waiting_for: StepId, now: datetime) -> Placed | None:
        """The step that follows now that the timeline has changed, for somebody who waited for a step of it.

        A step that is new before theirs reaches them if its moment is still to come; where theirs is gone, the one
        behind it follows.
        """
        place = self._by_id[waiting_for].position
        for step in self._behind(so_far.done):
            placed = self._placed(step, so_far)
            if step.position >= place or placed.moment >= now:
                return placed
        return None

    def whole(self, enrolled_at: datetime, zone: ZoneInfo) -> list[datetime]:
        """When each step would come to somebody who is enrolled then, if each went out at its moment."""
        moments: list[datetime] = []
        anchor, before = self.first_day(enrolled_at, zone), enrolled_at
        for step in self.live:
            before = moment_of(step.timing, anchor, zone, before)
            moments.append(before)
        return moments

    def _behind(self, done: StepId | None) -> list[TimelineStep]:
        place = -1 if done is None else self._by_id[done].position
        return [step for step in self._steps if step.position > place and not step.is_deleted]

    def _placed(self, step: TimelineStep, so_far: Progress) -> Placed:
        before = so_far.done_at or so_far.enrolled_at
        moment = moment_of(step.timing, so_far.anchor, so_far.zone, before)
        if so_far.done is None or so_far.done_moment is None or isinstance(step.timing, After):
            return Placed(step.id, moment, moment)
        gap = self._distance(self._by_id[so_far.done], step, moment - so_far.done_moment)
        return Placed(step.id, moment, max(moment, before + min(gap, LEAST_GAP)))

    @staticmethod
    def _distance(one: TimelineStep, other: TimelineStep, passed: timedelta) -> timedelta:
        """What was planned to lie between two steps; by the clock on the wall, which an hour that is skipped leaves."""
        if isinstance(one.timing, At) and isinstance(other.timing, At):
            days = (other.timing.day - one.timing.day) * DAY
            planned = days + _since_midnight(other.timing.time) - _since_midnight(one.timing.time)
            return planned if planned > timedelta(0) else LEAST_GAP
        return passed if passed > timedelta(0) else LEAST_GAP
