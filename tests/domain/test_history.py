"""Days and hours as the clock on the wall cuts them, also where it is moved."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from fleetcast.domain.history import SLOT, Step, midnight, periods, step_for

BERLIN = ZoneInfo("Europe/Berlin")


def lengths(first: date, last: date, zone: str, step: Step) -> list[timedelta]:
    return [b - a for a, b in pairwise(periods(first, last, ZoneInfo(zone), step))]


def test_days_begin_at_midnight_of_the_wall_and_end_where_the_next_begins() -> None:
    begins = periods(date(2026, 11, 24), date(2026, 11, 26), ZoneInfo("Asia/Kuala_Lumpur"), Step.DAY)
    assert begins == [datetime(2026, 11, 23 + n, 16, tzinfo=UTC) for n in range(4)]


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 3, 28), 24)])
def test_a_day_on_which_the_clock_is_moved_has_an_hour_less_or_more(day: date, hours: int) -> None:
    assert lengths(day, day, "Europe/Berlin", Step.DAY) == [timedelta(hours=hours)]
    assert lengths(day, day, "Europe/Berlin", Step.HOUR) == [timedelta(hours=1)] * hours
    assert len(lengths(day, day, "Europe/Berlin", Step.QUARTER_HOUR)) == 4 * hours


def test_the_hour_that_comes_twice_is_two_periods() -> None:
    begins = periods(date(2026, 10, 25), date(2026, 10, 25), BERLIN, Step.HOUR)
    shown = [at.astimezone(BERLIN).strftime("%H:%M %Z") for at in begins]
    assert shown[1:5] == ["01:00 CEST", "02:00 CEST", "02:00 CET", "03:00 CET"]


def test_where_midnight_does_not_exist_the_day_begins_with_the_first_instant_that_does() -> None:
    beirut = ZoneInfo("Asia/Beirut")  # on 29 March 2026 its clocks go from 00:00 to 01:00
    assert midnight(date(2026, 3, 29), beirut).astimezone(beirut).strftime("%d %H:%M") == "29 01:00"
    assert lengths(date(2026, 3, 28), date(2026, 3, 30), "Asia/Beirut", Step.DAY) == [
        timedelta(hours=n) for n in (24, 23, 24)
    ]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Chatham"])
def test_every_period_is_made_of_whole_slots_also_where_zones_are_odd(zone: str) -> None:
    for step in Step:
        begins = periods(date(2026, 4, 1), date(2026, 4, 10), ZoneInfo(zone), step)
        assert all(at.timestamp() % SLOT.total_seconds() == 0 for at in begins)
        assert begins == sorted(set(begins))


def test_no_zone_of_today_has_an_offset_that_slots_cannot_show() -> None:
    odd = {
        name
        for name in available_timezones()
        for month in (1, 7)
        if (datetime(2026, month, 1, tzinfo=ZoneInfo(name)).utcoffset() or timedelta(0)) % SLOT
    }
    assert odd == set()


def test_periods_get_longer_with_the_days() -> None:
    assert [step_for(n) for n in (1, 2, 3, 14, 15, 90)] == [
        Step.QUARTER_HOUR, Step.QUARTER_HOUR, Step.HOUR, Step.HOUR, Step.DAY, Step.DAY,
    ]  # fmt: skip
