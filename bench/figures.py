"""The figures to reach: name, unit, target and method of each. The one place where a target is written."""

from collections.abc import Callable
from dataclasses import dataclass
from operator import ge, le

Compare = Callable[[float, float], bool]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure is, and when it holds."""

    unit: str
    target: float | None
    """None: computed in the run and handed over with the value."""
    compare: Compare
    method: str
    holds_from: float | None = None
    """Where the verdict differs from the target, which is meant for a quiet machine."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure as it stands in the report."""

    name: str
    value: float
    unit: str
    target: float
    holds: bool


GOALS: dict[str, Goal] = {
    "pipeline_rate": Goal(
        "msg/s",
        20_000,
        ge,
        "Leads planned beforehand by the real planner, zero delay, null transport, one scheduler and one sender "
        "process: rows divided by the time from the first claim to the last row `sent`, by the database's clock; "
        "`holds` from 10,000.",
        holds_from=10_000,
    ),
    "pipeline_share_of_bare_loop": Goal(
        "fraction",
        0.45,
        ge,
        "pipeline_rate divided by the mean rate of two bare loops (claim, queue, mark; nothing else) over as many "
        "rows of a table like that of the messages, one before and one after it on the same servers.",
    ),
    "planning_seconds": Goal(
        "s",
        30,
        le,
        "Planner.run_once until every lead has its row, while another connection writes an inbox row every 5 ms; "
        "median of the rounds.",
    ),
    "planning_ratio": Goal(
        "fraction",
        1.5,
        le,
        "planning_seconds divided by the median time of one bare INSERT..SELECT of the same rows into the same table, "
        "interleaved with it, under the same writer.",
    ),
    "planning_writer_p99_ms": Goal(
        "ms",
        20,
        le,
        "99th percentile of the time that the other connection's single-row inserts take while the planner plans.",
    ),
    "lead_import_csv_seconds": Goal(
        "s",
        60,
        le,
        "`fleetcast leads import` of a CSV file of 1,000,000 new leads with six columns, from the start of the command "
        "to its end.",
    ),
    "lead_import_xlsx_seconds": Goal(
        "s", 60, le, "The same people from an Excel workbook, with shared texts and phones as numbers."
    ),
    "lead_import_peak_mb": Goal(
        "MB", 200, le, "Largest resident set of the two import commands, pages of temporary files included."
    ),
    "lead_export_rows_per_s": Goal(
        "rows/s", 20_000, ge, "`fleetcast leads export` to a file: leads divided by the time of the whole command."
    ),
    "fleet_rate": Goal(
        "msg/s",
        None,
        ge,
        "`fleetcast up` with the simulator and all receipts: messages that the ledger accepted in the window, divided "
        "by its length; the target is 0.99 of the most that the drawn delays allow.",
    ),
    "fleet_rate_share": Goal(
        "fraction",
        0.99,
        ge,
        "Messages that the ledger accepted in the window, divided by the sum over devices of window / (mean drawn "
        "delay + mean attempt time), both means measured.",
    ),
    "gap_violations": Goal(
        "count",
        0,
        le,
        "Messages that reached the simulator less than the drawn delay (2 ms are left to clocks and rounding) after "
        "the device's previous message reached it or its attempt ended, whichever was later.",
    ),
    "device_lateness_p99_ms": Goal(
        "ms",
        50,
        le,
        "99th percentile of: arrival at the simulator minus (end of the device's previous attempt + drawn delay).",
    ),
    "device_cpu_share": Goal(
        "cores",
        0.5,
        le,
        "CPU seconds of parent, scheduler, sender and web (without PostgreSQL, Valkey and simulator) in the window, "
        "divided by its length.",
    ),
    "app_memory_mb": Goal(
        "MB", 400, le, "Proportional set size of the same processes; the largest of the samples taken in the window."
    ),
    "queued_to_claim_p99_ms": Goal(
        "ms",
        100,
        le,
        "99th percentile of claimed_at - queued_at of the first rows of idle devices, from small campaigns launched "
        "one after the other.",
    ),
    "lateness_100k_p99_ms": Goal(
        "ms",
        250,
        le,
        "99th percentile of claim minus (end of the device's previous attempt + drawn delay) over all attempts of the "
        "window, null transport.",
    ),
    "page_under_load_p95_ms": Goal(
        "ms",
        100,
        le,
        "95th percentile of the time from a new connection to the last byte of `GET /`, ten times a second while a "
        "campaign runs at full speed (zero delay, null transport) and 23 browsers have the page open; the client "
        "shares the cores, so its own waits for a CPU are included.",
    ),
    "page_events_per_s": Goal(
        "events/s",
        1.2,
        le,
        "Events that each of 20 reading browsers is sent in a second of the same time, whatever the message rate.",
    ),
    "page_event_gap_p99_s": Goal(
        "s",
        3,
        le,
        "99th percentile of the time between two events of the same 20 browsers while three others never read; the "
        "silence after the last event is counted.",
    ),
    "page_p95_ms": Goal(
        "ms",
        100,
        le,
        "95th percentile of the time from a new connection to the last byte of every page of the dashboard, each asked "
        "for equally often with parameters drawn anew, while a campaign goes out at a human pace and the tables hold "
        "the state of a large install.",
    ),
    "api_p95_ms": Goal("ms", 50, le, "The same of every GET of the API that does not stream a table."),
    "growth_sending_ratio": Goal(
        "fraction",
        1.5,
        le,
        "CPU time a message (PostgreSQL, Valkey and Python) in a run divided by that in one that has no more rows and "
        "no more devices: the largest of these.",
    ),
    "growth_planning_ratio": Goal("fraction", 1.5, le, "The same for the CPU time of a planned row."),
    "retention_writer_p99_ms": Goal(
        "ms",
        20,
        le,
        "99th percentile of the time that another connection's single-row inserts take while retention deletes a "
        "finished campaign with all its messages and attempts.",
    ),
    "sequence_lateness_p99_ms": Goal(
        "ms",
        2_000,
        le,
        "99th percentile of sent minus due, by the database's clock, of 1,000 steps a minute while a million people "
        "are in five sequences on 3,000 devices; null transport.",
    ),
    "sequence_cpu_share": Goal(
        "cores",
        0.25,
        le,
        "CPU of scheduler, sender, PostgreSQL and Valkey in that window, less what they use while nothing is due, by "
        "its length.",
    ),
    "sequence_enrol_seconds": Goal(
        "s",
        60,
        le,
        "From the wish until all are enrolled: 100,000 of a million leads, by a niche, while everything runs.",
    ),
    "sequence_enrol_writer_p99_ms": Goal(
        "ms",
        20,
        le,
        "99th percentile of the time that another connection's single-row inserts take meanwhile.",
    ),
}
"""By the name in the report."""


def judge(name: str, value: float, target: float | None = None) -> Figure:
    """The figure with its verdict. `target`: for those whose target is computed in the run."""
    goal = GOALS[name]
    wanted = goal.target if goal.target is not None else target
    if wanted is None:
        raise ValueError(f"{name} needs a target")
    bound = wanted if goal.holds_from is None else goal.holds_from
    return Figure(name, value, goal.unit, wanted, goal.compare(value, bound))


def percentile(values: list[float], share: float) -> float:
    """The value below which a share (0 to 1) of all values lies, by the nearest rank. Raises ValueError without any."""
    if not values:
        raise ValueError("nothing was measured")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
