"""When steps come: by the clock of each person, across every change of it, in order, and never in a heap."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.identifiers import StepId
from fleetcast.domain.timeline import (
    LEAST_GAP,
    After,
    At,
    Progress,
    Timeline,
    TimelineStep,
    Timing,
    check_timeline,
    first_day,
    moment_of,
    parse_span,
    parse_time,
    write_span,
)
from fleetcast.errors import InvalidInput
from tests.domain.test_schedule import ZONES

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def timeline(*timings: Timing, deleted: Sequence[int] = ()) -> Timeline:
    return Timeline([TimelineStep(StepId(n), n, timing, n in deleted) for n, timing in enumerate(timings)])


timings = st.one_of(
    st.builds(At, st.integers(0, 40), st.times().map(lambda t: t.replace(second=0, microsecond=0))),
    st.builds(After, st.timedeltas(timedelta(0), timedelta(days=20))),
)
instants = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


def is_in_order(steps: Sequence[Timing]) -> bool:
    try:
        check_timeline(steps)
    except InvalidInput:
        return False
    return True


@settings(max_examples=300)
@given(steps=st.lists(timings, min_size=1, max_size=5).filter(is_in_order), at=instants, zone=st.sampled_from(ZONES))
def test_f32_the_moments_of_a_timeline_that_is_accepted_never_fall_whoever_begins_whenever(
    steps: list[Timing], at: datetime, zone: str
) -> None:
    moments = timeline(*steps).whole(at, ZoneInfo(zone))
    assert moments == sorted(moments)
    assert all(moment >= at for moment in moments)


@settings(max_examples=300)
@given(
    steps=st.lists(timings, min_size=2, max_size=5).filter(is_in_order),
    at=instants,
    zone=st.sampled_from(ZONES),
    lateness=st.lists(st.timedeltas(timedelta(0), timedelta(days=9)), min_size=5, max_size=5),
)
def test_f32_however_late_a_step_was_the_next_is_neither_early_nor_in_a_heap_with_it(
    steps: list[Timing], at: datetime, zone: str, lateness: list[timedelta]
) -> None:
    line, where = timeline(*steps), ZoneInfo(zone)
    so_far = Progress(at, line.first_day(at, where), where)
    sent: list[datetime] = []
    for late in lateness[: len(steps)]:
        placed = line.following(so_far)
        assert placed is not None
        assert placed.due_at >= placed.moment
        if sent:
            assert placed.due_at > sent[-1] or steps[len(sent)] == After(timedelta(0))
            if placed.due_at > placed.moment:
                assert placed.due_at <= sent[-1] + LEAST_GAP
        sent.append(placed.due_at + late)
        so_far = Progress(at, so_far.anchor, where, placed.step, sent[-1], placed.moment)
    assert line.following(so_far) is None
    assert sent == sorted(sent)


@settings(max_examples=200)
@given(at=instants, zone=st.sampled_from(ZONES), day=st.integers(0, 30), clock=st.times())
def test_f33_the_first_step_comes_at_its_time_on_the_persons_clock_and_day_0_is_today_or_tomorrow(
    at: datetime, zone: str, day: int, clock: time
) -> None:
    where, first = ZoneInfo(zone), At(day, clock.replace(second=0, microsecond=0))
    anchor = first_day(first, at, where)
    today = at.astimezone(where).date()
    assert anchor in (today, today + DAY)
    moment = moment_of(first, anchor, where, at)
    assert moment >= at
    wall = moment.astimezone(where).replace(tzinfo=None)
    assert wall >= datetime.combine(anchor + day * DAY, first.time), "in a gap the next instant that there is"


def test_f31_a_step_in_the_hour_that_is_skipped_comes_when_it_is_over_and_in_the_hour_that_comes_twice_once() -> None:
    spring = moment_of(At(0, time(2, 30)), date(2026, 3, 29), BERLIN, NOON)
    autumn = moment_of(At(0, time(2, 30)), date(2026, 10, 25), BERLIN, NOON)
    assert spring == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert autumn == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert moment_of(At(1, time(9)), date(2026, 3, 28), BERLIN, NOON) == datetime(2026, 3, 29, 7, tzinfo=UTC)


def test_two_steps_in_the_hour_that_is_skipped_keep_the_time_between_them() -> None:
    line = timeline(At(0, time(2, 10)), At(0, time(2, 50)))
    at = datetime(2026, 3, 28, 23, tzinfo=UTC)
    anchor = date(2026, 3, 29)
    first = line.following(Progress(at, anchor, BERLIN))
    assert first is not None
    second = line.following(Progress(at, anchor, BERLIN, first.step, first.due_at, first.moment))
    assert second is not None
    assert second.moment == first.moment
    assert second.due_at == first.due_at + timedelta(minutes=40)


@pytest.mark.parametrize(
    ("steps", "field", "words"),
    [
        ((At(0, time(9)), At(0, time(9))), "steps[1]", "has the moment of step 1"),
        ((At(1, time(9)), At(0, time(12))), "steps[1]", "comes before step 1"),
        ((After(HOUR), After(timedelta(0))), "steps[1]", "let some time pass"),
        ((At(0, time(9)), After(3 * HOUR), At(0, time(11))), "steps[2]", "day 0 at 12:00"),
        ((At(0, time(9)), After(3 * HOUR), At(0, time(12))), "steps[2]", "has the moment of step 2"),
        ((After(timedelta(0)), At(0, time(9))), "steps[1]", "enrolled late in the day"),
        ((After(2 * HOUR), At(1, time(1))), "steps[1]", "day 1 at 02:00"),
    ],
)
def test_steps_that_are_not_in_the_order_of_their_moments_are_refused(
    steps: tuple[Timing, ...], field: str, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        check_timeline(steps)
    assert refused.value.field == field


def test_a_step_that_is_added_reaches_those_for_whom_its_moment_is_still_to_come() -> None:
    old = timeline(At(0, time(9)), At(3, time(9)), At(7, time(9)))
    anchor = date(2026, 11, 23)
    so_far = Progress(NOON, anchor, BERLIN, StepId(0), NOON, NOON)
    early, late = NOON + HOUR, NOON + 5 * DAY
    assert old.again(so_far, StepId(2), early) == old.following(so_far)
    skipped = old.again(so_far, StepId(2), late)
    assert skipped is not None
    assert skipped.step == StepId(2), "the third day is over, and they waited for the seventh"


def test_who_waited_for_a_step_that_is_deleted_goes_on_with_the_next() -> None:
    line = timeline(At(0, time(9)), At(3, time(9)), At(7, time(9)), deleted=[1])
    so_far = Progress(NOON, date(2026, 11, 23), BERLIN, StepId(0), NOON, NOON)
    placed = line.again(so_far, StepId(1), NOON)
    assert placed is not None
    assert placed.step == StepId(2)
    last = timeline(At(0, time(9)), At(3, time(9)), deleted=[1])
    assert last.again(so_far, StepId(1), NOON) is None


@given(minutes=st.integers(0, 90 * 24 * 60))
def test_a_span_is_read_as_it_is_written(minutes: int) -> None:
    assert parse_span(write_span(timedelta(minutes=minutes))) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["", "3", "3 weeks", "-1h", "91d", "1.5h", "9999999d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_span(text)


@pytest.mark.parametrize("text", ["", "9", "24:00", "09:60", "9.30", "nine"])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_time(text)
