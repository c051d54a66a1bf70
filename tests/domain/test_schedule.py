"""Local times, zones and deadlines: what they mean, and what is refused."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.schedule import parse_deadline, parse_local, parse_schedule, parse_zone, resolve
from fleetcast.errors import InvalidInput

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)  # noon in Kuala Lumpur
ZONES = [
    "UTC", "Asia/Kuala_Lumpur", "Europe/Berlin", "America/New_York", "America/St_Johns",
    "America/Sao_Paulo", "Africa/Cairo", "Asia/Kathmandu", "Asia/Tehran", "Australia/Lord_Howe",
    "Pacific/Chatham", "Pacific/Apia", "America/Havana", "Asia/Gaza",
]  # fmt: skip


def test_f29_a_local_time_is_the_instant_of_its_own_zone() -> None:
    schedule = parse_schedule("2026-12-24 18:30", "Asia/Kuala_Lumpur", NOW)
    assert schedule.at == datetime(2026, 12, 24, 10, 30, tzinfo=UTC)
    assert schedule.at.tzinfo is UTC
    assert (schedule.local, schedule.zone) == (datetime(2026, 12, 24, 18, 30), "Asia/Kuala_Lumpur")
    later = parse_schedule("2026-12-24 18:30", "America/New_York", NOW)
    assert later.at - schedule.at == timedelta(hours=13)


def test_f29_the_same_wall_time_moves_by_an_hour_across_a_change_of_summer_time() -> None:
    berlin = parse_zone("Europe/Berlin")
    assert resolve(datetime(2026, 10, 24, 9), berlin) == datetime(2026, 10, 24, 7, tzinfo=UTC)
    assert resolve(datetime(2026, 10, 26, 9), berlin) == datetime(2026, 10, 26, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("local", "zone", "expected"),
    [
        (datetime(2026, 3, 29, 2, 30), "Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (datetime(2026, 3, 29, 3, 0), "Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
        (datetime(2026, 3, 8, 2, 0), "America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
        (datetime(2026, 10, 4, 2, 15), "Australia/Lord_Howe", datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
        (datetime(2011, 12, 30, 12, 0), "Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_f29_a_time_that_summer_time_skips_is_the_moment_of_the_change(
    local: datetime, zone: str, expected: datetime
) -> None:
    assert resolve(local, parse_zone(zone)) == expected


def test_f29_a_time_that_comes_twice_is_the_first() -> None:
    assert resolve(datetime(2026, 10, 25, 2, 30), parse_zone("Europe/Berlin")) == datetime(
        2026, 10, 25, 0, 30, tzinfo=UTC
    )


@settings(max_examples=150)
@given(
    zone=st.sampled_from(ZONES),
    local=st.datetimes(datetime(2008, 1, 1), datetime(2060, 1, 1)).map(lambda moment: moment.replace(microsecond=0)),
)
def test_f29_the_instant_is_the_first_at_which_the_wall_shows_the_time_or_later(zone: str, local: datetime) -> None:
    where = ZoneInfo(zone)
    instant = resolve(local, where)

    def wall(moment: datetime) -> datetime:
        return moment.astimezone(where).replace(tzinfo=None)

    assert wall(instant) >= local
    assert wall(instant - timedelta(seconds=1)) < local


@settings(max_examples=100)
@given(zone=st.sampled_from(ZONES), year=st.integers(2020, 2040))
def test_f29_around_every_change_of_a_year_the_rule_holds(zone: str, year: int) -> None:
    where = ZoneInfo(zone)
    hour = datetime(year, 1, 1, tzinfo=UTC)
    offsets = [(hour + timedelta(hours=n)).astimezone(where).utcoffset() for n in range(0, 366 * 24, 6)]
    for n, (before, after) in enumerate(pairwise(offsets)):
        if before == after:
            continue
        start = (hour + timedelta(hours=6 * n)).astimezone(where).replace(tzinfo=None)
        for minutes in range(0, 480, 15):
            local = start + timedelta(minutes=minutes)
            instant = resolve(local, where)
            assert instant.astimezone(where).replace(tzinfo=None) >= local
            assert (instant - timedelta(seconds=1)).astimezone(where).replace(tzinfo=None) < local


def test_f30_only_the_word_now_means_now() -> None:
    assert parse_schedule(" Now ", "UTC", NOW).at == NOW
    assert parse_schedule("now", "UTC", NOW).local is None
    for empty in ("", "   "):
        with pytest.raises(InvalidInput, match="missing") as refused:
            parse_schedule(empty, "UTC", NOW)
        assert refused.value.field == "schedule"


def test_f30_a_future_date_without_a_time_is_refused_and_not_sent_at_once() -> None:
    with pytest.raises(InvalidInput, match="no time of day"):
        parse_schedule("2027-01-01", "UTC", NOW)


@pytest.mark.parametrize(
    "text", ["2026-12-24 18:30", "2026-12-24T18:30", "2026-12-24T18:30:00", "2026-12-24 18:30:00.000"]
)
def test_iso_spellings_mean_the_same(text: str) -> None:
    assert parse_local(text) == datetime(2026, 12, 24, 18, 30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("9999-12-31 23:59", "year 9999"),
        ("0001-01-01 00:00", "year 0001"),
        ("2027-02-29 10:00", "no day"),
        ("2026-13-01 10:00", "no day"),
        ("2026-12-24 24:00", "no such time"),
        ("2026-12-24 18:60", "no such time"),
        ("2026-12-24T18:30Z", "offset"),
        ("2026-12-24T18:30+08:00", "offset"),
        ("24/12/2026 18:30", "not a date"),
        ("tomorrow", "not a date"),
        ("٢٠٢٦-12-24 18:30", "not a date"),
        ("2026-12-24 18:30" + " " * 100 + "x" * 1_000_000, "not a date"),
    ],
)
def test_a_time_that_is_none_is_refused_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        parse_local(text, "starts")
    assert refused.value.field == "starts"
    assert len(str(refused.value)) < 300


def test_a_date_in_the_past_is_refused_with_the_zones_own_clock() -> None:
    with pytest.raises(InvalidInput, match=r"in the past \(it is 2026-11-23 12:00 there\)") as refused:
        parse_schedule("2026-11-23 11:59", "Asia/Kuala_Lumpur", NOW)
    assert refused.value.field == "schedule"
    assert parse_schedule("2026-11-23 12:00", "Asia/Kuala_Lumpur", NOW).at == NOW


@pytest.mark.parametrize(
    "name", ["Mars/X", "", " ", "America", "../../etc/passwd", "/etc/localtime", "localtime", "a\0b", "x" * 99]
)
def test_an_unknown_zone_is_refused_by_its_field(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_zone(name)
    assert refused.value.field == "time_zone"


def test_a_misspelt_zone_gets_the_nearest_name() -> None:
    with pytest.raises(InvalidInput, match='"Asia/Kuala_Lumpur"'):
        parse_zone("asia/kuala lumpur")
    assert parse_zone(" Asia/Kuala_Lumpur ").key == "Asia/Kuala_Lumpur"


@pytest.mark.parametrize(
    ("text", "span"),
    [("7d", timedelta(days=7)), ("36h", timedelta(hours=36)), (" 90 M ", timedelta(minutes=90)),
     ("1m", timedelta(minutes=1)), ("90d", timedelta(days=90))],
)  # fmt: skip
def test_a_deadline_is_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert parse_deadline(text) == span


@pytest.mark.parametrize(
    "text", ["", "0m", "0d", "91d", "2161h", "-1d", "1.5d", "7", "d", "7w", "1d12h", "9999999d", "٧d"]
)
def test_a_deadline_out_of_bounds_or_shape_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_deadline(text)
    assert refused.value.field == "deadline"
