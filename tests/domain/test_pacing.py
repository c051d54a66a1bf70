"""Paces: what is refused, what is drawn, how far ahead rows are queued."""

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetcast.domain.pacing import DEFAULT, Pace, effective, window_for
from fleetcast.errors import InvalidInput

seconds = st.floats(min_value=0, max_value=86_400)


def test_f19_equal_bounds_are_a_pace_and_draw_exactly_that() -> None:
    assert Pace(7, 7).draw(Random(1)) == 7.0
    assert Pace(0, 0).draw(Random(1)) == 0.0


@pytest.mark.parametrize(
    ("low", "high", "field"),
    [
        (30, 10, "min_delay"),
        (-1, 10, "min_delay"),
        (0, -0.5, "max_delay"),
        (math.nan, 10, "min_delay"),
        (1, math.nan, "max_delay"),
        (1, math.inf, "max_delay"),
        (float("1e400"), 1, "min_delay"),
        (1, 86_400.5, "max_delay"),
        (True, 2, "min_delay"),
    ],
)
def test_a_pace_that_is_none_is_refused_by_its_field(low: float, high: float, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Pace(low, high)
    assert refused.value.field == field
    assert refused.value.problem.endswith(".")


def test_half_a_pace_is_refused_by_the_missing_half() -> None:
    assert Pace.from_optional(None, None) is None
    assert Pace.from_optional(1, 2) == Pace(1, 2)
    with pytest.raises(InvalidInput) as refused:
        Pace.from_optional(1, None)
    assert refused.value.field == "max_delay"
    with pytest.raises(InvalidInput) as refused:
        Pace.from_optional(None, 1)
    assert refused.value.field == "min_delay"


@settings(max_examples=80)
@given(seconds, seconds, st.integers(0, 2**32))
def test_every_draw_lies_within_the_bounds(one: float, other: float, seed: int) -> None:
    pace = Pace(min(one, other), max(one, other))
    random = Random(seed)
    assert all(pace.min_delay <= pace.draw(random) <= pace.max_delay for _ in range(20))


def test_draws_are_fresh_and_average_to_the_mean() -> None:
    random = Random(5)
    draws = [DEFAULT.draw(random) for _ in range(20_000)]
    assert len(set(draws)) > 19_000
    assert abs(sum(draws) / len(draws) - DEFAULT.mean) < 0.2


def test_the_campaigns_pace_goes_before_the_devices() -> None:
    device, campaign = Pace(10, 30), Pace(0, 0)
    assert effective(campaign, device) is campaign
    assert effective(None, device) is device


def test_the_window_is_fifty_without_delay_and_ten_at_real_pacing() -> None:
    assert window_for(Pace(0, 0)) == 50
    assert window_for(Pace(6, 6)) == window_for(DEFAULT) == window_for(Pace(86_400, 86_400)) == 10


@settings(max_examples=100)
@given(seconds, seconds)
def test_a_slower_pace_never_widens_the_window(one: float, other: float) -> None:
    fast, slow = sorted((one, other))
    assert 10 <= window_for(Pace(slow, slow)) <= window_for(Pace(fast, fast)) <= 50
