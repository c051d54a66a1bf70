"""Verdicts: when a figure holds, and how percentiles and the table are made."""

import pytest

from bench.figures import GOALS, judge, percentile
from bench.growth import dearer
from bench.report import as_json, table


def test_a_rate_is_given_its_target_but_holds_from_less() -> None:
    assert judge("pipeline_rate", 10_000).holds
    assert judge("pipeline_rate", 10_000).target == 20_000
    assert not judge("pipeline_rate", 9_999).holds


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("pipeline_share_of_bare_loop", 0.45, 0.449),
        ("planning_seconds", 30, 30.1),
        ("planning_ratio", 1.5, 1.51),
        ("planning_writer_p99_ms", 20, 20.1),
        ("fleet_rate_share", 0.99, 0.989),
        ("gap_violations", 0, 1),
        ("device_lateness_p99_ms", 50, 50.1),
        ("device_cpu_share", 0.5, 0.51),
        ("app_memory_mb", 400, 400.1),
        ("queued_to_claim_p99_ms", 100, 100.1),
        ("lateness_100k_p99_ms", 250, 250.1),
        ("page_under_load_p95_ms", 100, 100.1),
        ("page_events_per_s", 1.2, 1.21),
        ("page_event_gap_p99_s", 3, 3.01),
        ("growth_sending_ratio", 1.5, 1.51),
        ("growth_planning_ratio", 1.5, 1.51),
    ],
)
def test_targets_are_those_of_the_design(name: str, good: float, bad: float) -> None:
    assert judge(name, good).holds
    assert not judge(name, bad).holds
    assert judge(name, good).target == good


def test_the_fleets_rate_has_the_target_that_its_delays_allow() -> None:
    assert judge("fleet_rate", 300.0, 297.0).holds
    assert not judge("fleet_rate", 296.0, 297.0).holds
    with pytest.raises(ValueError, match="needs a target"):
        judge("fleet_rate", 300.0)


def test_percentiles_are_measured_values() -> None:
    values = [float(n) for n in range(100, 0, -1)]
    assert percentile(values, 0.5) == 51
    assert percentile(values, 0.99) == 100
    assert percentile([3.0], 0.99) == 3.0
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 0.5)


def test_the_report_rounds_values_but_judges_what_was_measured() -> None:
    figure = judge("planning_ratio", 1.50004)
    report = as_json([figure], {"seed": 3})
    assert report["figures"] == [
        {"name": "planning_ratio", "value": 1.5, "unit": "fraction", "target": 1.5, "holds": False}
    ]
    assert report["method"] == {"planning_ratio": GOALS["planning_ratio"].method}
    assert report["seed"] == 3


def test_the_table_says_which_way_a_target_lies() -> None:
    lines = table([judge("pipeline_rate", 23_456.7), judge("gap_violations", 2)]).splitlines()
    assert lines[1].split() == ["pipeline_rate", "23,457", "msg/s", ">=", "20,000", "holds"]
    assert lines[2].split() == ["gap_violations", "2", "count", "<=", "0", "MISSED"]


def test_growth_is_what_a_larger_run_costs_more_than_a_smaller_one_and_never_what_it_saves() -> None:
    assert dearer([(10, 3, 9.0), (100, 3, 5.0), (1_000, 3, 6.0)]) == 1.2
    assert dearer([(100, 1, 5.0), (100, 30, 8.0)]) == 1.6
    assert dearer([(100, 30, 5.0), (1_000, 1, 8.0)]) == 1.0, "larger in one thing and smaller in another"
