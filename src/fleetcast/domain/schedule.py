"""Local time, time zones and deadlines as people write them, and the instants they mean.

What a person chooses is a reading of the clock on their wall plus the zone of that wall; what the system compares
are instants in UTC. The predecessor mixed the two and sent eight hours early. An empty time never means "now": the
word has to be said.
"""

import difflib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from fleetcast.errors import InvalidInput

NOW = "now"
EARLIEST_YEAR, LATEST_YEAR = 2000, 2100
SHORTEST_DEADLINE, LONGEST_DEADLINE = timedelta(minutes=1), timedelta(days=90)
EVENING, MORNING = time(21), time(8)
"""Between the two it is night: a message then wakes people, or is taken for a nuisance."""

_EXAMPLE = 'write it as in "2026-12-24 18:30"'
_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]\s*([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.0+)?)?")
_WITH_OFFSET = re.compile(r".*[0-9]{2}:[0-9]{2}.*(?:[zZ]|[+-][0-9]{2}:?[0-9]{2})")
_DEADLINE = re.compile(r"([0-9]{1,7})\s*([dhm])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}
_SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something starts: the instant, and what the person chose (`local` is None when they said "now")."""

    at: datetime
    zone: str
    local: datetime | None


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def parse_zone(name: str, field: str = "time_zone") -> ZoneInfo:
    """The IANA zone of that name; InvalidInput with the nearest names for any other text."""
    wanted = name.strip()
    if wanted in _zone_names():
        try:
            return ZoneInfo(wanted)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass  # listed, but its file is unreadable: the same sentence helps
    if not wanted:
        raise InvalidInput(field, 'The time zone is missing: give a name such as "Asia/Kuala_Lumpur".')
    folded = {known.casefold(): known for known in sorted(_zone_names())}
    near = difflib.get_close_matches(wanted[:64].replace(" ", "_").casefold(), list(folded), n=3, cutoff=0.6)
    hint = " or ".join(f'"{folded[key]}"' for key in near) or '"Asia/Kuala_Lumpur" or "UTC"'
    raise InvalidInput(field, f'There is no time zone "{wanted[:64]}": give an IANA name such as {hint}.')


def parse_local(text: str, field: str = "schedule") -> datetime:
    """Date and time on the clock on the wall, such as `2026-12-24 18:30` (seconds and a `T` are fine).

    The result carries no zone. Raises InvalidInput for a missing time, an offset, a day that does not exist, or a
    year outside 2000 to 2100.
    """
    wanted = text.strip()
    if not wanted:
        raise InvalidInput(field, f'The time is missing: {_EXAMPLE}, or "{NOW}" to start at once.')
    if _DATE.fullmatch(wanted):
        _calendar_day(wanted, field)
        raise InvalidInput(field, f'"{wanted}" has no time of day: {_EXAMPLE}.')
    match = _MOMENT.fullmatch(wanted[:64])
    if match is None:
        if len(wanted) <= 64 and _WITH_OFFSET.fullmatch(wanted):
            raise InvalidInput(
                field, f'"{wanted[:64]}" has an offset: give the local time alone; the zone is set apart.'
            )
        raise InvalidInput(field, f'"{wanted[:64]}" is not a date and time: {_EXAMPLE}.')
    day = _calendar_day(match[1], field)
    hour, minute, second = int(match[2]), int(match[3]), int(match[4] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise InvalidInput(field, f'"{wanted}" has no such time of day: hours end at 23, minutes and seconds at 59.')
    return datetime(day.year, day.month, day.day, hour, minute, second)  # noqa: DTZ001 - local on purpose


def _calendar_day(text: str, field: str) -> date:
    year, month, day = (int(part) for part in text.split("-"))
    if not EARLIEST_YEAR <= year <= LATEST_YEAR:
        raise InvalidInput(
            field, f"The year {year:04} is out of range: give one from {EARLIEST_YEAR} to {LATEST_YEAR}."
        )
    try:
        return date(year, month, day)
    except ValueError:
        raise InvalidInput(field, f'The calendar has no day "{text}": {_EXAMPLE}.') from None


def resolve(local: datetime, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, at which the zone's clocks first show `local` or later.

    In the hour that summer time skips this is the moment of the change; in the hour that comes twice, the first.
    """
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None, fold=0) == local:
        return first
    # A gap. `first` used the offset before it and so lies after it; with the offset after it we land before it.
    before, after = local.replace(tzinfo=zone, fold=1).astimezone(UTC), first
    while after - before > _SECOND:
        middle = before + _SECOND * ((after - before) // _SECOND // 2)
        if middle.astimezone(zone).replace(tzinfo=None) >= local:
            after = middle
        else:
            before = middle
    return after


def is_skipped(local: datetime, zone: ZoneInfo) -> bool:
    """Whether the zone's clocks never show `local`, since summer time begins in that hour."""
    return resolve(local, zone).astimezone(zone).replace(tzinfo=None, fold=0) != local


def touches_night(start: datetime, seconds: float, zone: ZoneInfo) -> bool:
    """Whether something that goes on for `seconds` from `start` (aware) meets the night of the zone."""
    local = start.astimezone(zone)
    if not MORNING <= local.time() < EVENING:
        return True
    evening = resolve(datetime.combine(local.date(), EVENING), zone)
    return start + timedelta(seconds=min(seconds, 86_400)) > evening


def parse_schedule(text: str, zone: str, now: datetime, field: str = "schedule") -> Schedule:
    """What a person wrote as a start: the word "now", or a local time of `zone` that is not in the past.

    `now` is the current instant (aware). Raises InvalidInput naming `field`, or `time_zone` for the zone.
    """
    where = parse_zone(zone)
    if text.strip().casefold() == NOW:
        return Schedule(at=now.astimezone(UTC), zone=where.key, local=None)
    local = parse_local(text, field)
    at = resolve(local, where)
    if at < now:
        clock = now.astimezone(where)
        raise InvalidInput(
            field,
            f"{local:%Y-%m-%d %H:%M} in {where.key} is in the past (it is {clock:%Y-%m-%d %H:%M} there): "
            f'give a later time, or "{NOW}" to start at once.',
        )
    return Schedule(at=at, zone=where.key, local=local)


def parse_deadline(text: str, field: str = "deadline") -> timedelta:
    """A span such as `7d`, `36h` or `90m`, from one minute to 90 days."""
    match = _DEADLINE.fullmatch(text.strip()[:64].casefold())
    if match is None:
        raise InvalidInput(
            field, f'"{text.strip()[:64]}" is not a span of time: write days, hours or minutes as 7d, 36h or 90m.'
        )
    count, unit = int(match[1]), match[2]
    span = min(count, 10**6) * _UNITS[unit]
    if not SHORTEST_DEADLINE <= span <= LONGEST_DEADLINE:
        raise InvalidInput(field, f"{count}{unit} is out of range: give at least one minute and at most 90 days.")
    return span


def write_deadline(span: timedelta) -> str:
    """A span as `parse_deadline` reads it, in the largest unit that gives a whole number; minutes are rounded."""
    for unit in ("d", "h"):
        if not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{round(span / _UNITS['m'])}m"
