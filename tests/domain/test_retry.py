"""When a message is tried again, and when no more."""

import math
from random import Random

import pytest

from fleetcast.domain.message import MAX_ATTEMPTS
from fleetcast.domain.retry import next_attempt


@pytest.mark.parametrize(("attempts", "nominal"), [(1, 60), (2, 300), (3, 900)])
def test_waits_grow_from_one_to_fifteen_minutes_with_a_fifth_of_jitter(attempts: int, nominal: float) -> None:
    random = Random(3)
    waits = [next_attempt(attempts, None, random) or 0 for _ in range(500)]
    assert all(nominal * 0.8 <= wait <= nominal * 1.2 for wait in waits)
    assert min(waits) < nominal * 0.85
    assert max(waits) > nominal * 1.15


def test_f15_the_fourth_attempt_is_the_last_whatever_the_provider_says() -> None:
    assert next_attempt(MAX_ATTEMPTS, None, Random(1)) is None
    assert next_attempt(MAX_ATTEMPTS + 1, 5, Random(1)) is None
    waits = [next_attempt(attempt, None, Random(1)) for attempt in range(1, MAX_ATTEMPTS + 1)]
    assert [wait is None for wait in waits] == [False, False, False, True]


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(0, 48, 72), (-5, 48, 72), (math.nan, 48, 72), (30, 48, 72), (600, 600, 600), (math.inf, 86_400, 86_400)],
)
def test_a_providers_wish_only_lengthens_the_wait_and_never_beyond_a_day(
    asked: float, least: float, most: float
) -> None:
    wait = next_attempt(1, asked, Random(1))
    assert wait is not None
    assert least <= wait <= most


def test_a_retry_without_an_attempt_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="attempt"):
        next_attempt(0, None, Random(1))
