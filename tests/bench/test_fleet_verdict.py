"""The judge of the fleet: invented ledgers whose verdict is known."""

import pytest

from bench.fleet_verdict import Attempt, judge_fleet

LATENCY = 0.05


def _device(device: int, arrivals: list[float], gap: float = 10.0) -> list[Attempt]:
    """Attempts that were claimed a moment before they arrived and answered a moment later."""
    return [Attempt(device, at, gap, claimed=at - 0.01, finished=at - 0.01 + LATENCY) for at in arrivals]


def _steady(gap: float = 10.0, late: float = 0.0, n: int = 7) -> list[float]:
    """Arrivals of a device that starts each attempt `late` after the first instant allowed."""
    return [100 + i * (gap + LATENCY - 0.01 + late) for i in range(n)]


def test_a_device_that_is_never_late_reaches_its_share() -> None:
    verdict = judge_fleet(_device(1, _steady()), 100.0, 100 + 6 * (10 + LATENCY))
    assert verdict.violations == 0
    assert verdict.lateness(0.99) == pytest.approx(0.0, abs=0.001)
    assert verdict.accepted / verdict.possible == pytest.approx(1.0, abs=0.17)  # one of six: where the window is cut


def test_lateness_is_first_byte_minus_end_plus_drawn_delay() -> None:
    verdict = judge_fleet(_device(1, _steady(late=0.030)), 100.0, 1000.0)
    assert verdict.lateness(0.5) == pytest.approx(30.0, abs=0.001)
    assert verdict.violations == 0


def test_an_arrival_before_its_time_is_a_violation() -> None:
    arrivals = _steady()
    arrivals[3] -= 0.010
    assert judge_fleet(_device(1, arrivals), 100.0, 1000.0).violations == 1


def test_two_milliseconds_are_left_to_the_clocks() -> None:
    arrivals = _steady()
    arrivals[-1] -= 0.0015
    assert judge_fleet(_device(1, arrivals), 100.0, 1000.0).violations == 0


def test_the_ledger_counts_even_where_the_rows_flatter() -> None:
    early = Attempt(1, 100.0, 10.0, claimed=99.99, finished=90.0)
    after = Attempt(1, 105.0, 10.0, claimed=104.99, finished=105.04)
    assert judge_fleet([early, after], 100.0, 110.0).violations == 1


def test_what_arrived_before_the_window_is_only_a_predecessor() -> None:
    arrivals = _steady()
    arrivals[1] -= 5  # a violation, but before the window
    verdict = judge_fleet(_device(1, arrivals), 115.0, 1000.0)
    assert verdict.accepted == 5
    assert verdict.violations == 0


def test_a_silent_device_lowers_the_share() -> None:
    attempts = _device(1, _steady()) + _device(2, [50.0])
    verdict = judge_fleet(attempts, 100.0, 170.0)
    assert verdict.possible == pytest.approx(2 * 70 / (10 + LATENCY))
    assert verdict.accepted / verdict.possible == pytest.approx(0.5, abs=0.05)


def test_devices_do_not_see_each_other() -> None:
    attempts = _device(1, _steady()) + _device(2, [at + 1 for at in _steady()])
    assert judge_fleet(reversed(attempts), 100.0, 1000.0).violations == 0


def test_an_empty_window_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing arrived"):
        judge_fleet(_device(1, _steady()), 5000.0, 6000.0)
