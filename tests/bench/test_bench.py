"""The benchmarks themselves, run tiny: the report's shape, and that its numbers come from the tables.

How fast anything was is never asserted.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bench import __main__ as bench
from bench.figures import GOALS, judge
from bench.outcome import Order, Outcome
from bench.scale import TINY

ROOT = Path(__file__).resolve().parents[2]
FULL_RUN = {
    "pipeline_rate",
    "pipeline_share_of_bare_loop",
    "planning_seconds",
    "planning_ratio",
    "planning_writer_p99_ms",
    "lead_import_csv_seconds",
    "lead_import_xlsx_seconds",
    "lead_import_peak_mb",
    "lead_export_rows_per_s",
    "fleet_rate",
    "fleet_rate_share",
    "gap_violations",
    "device_lateness_p99_ms",
    "device_cpu_share",
    "app_memory_mb",
    "queued_to_claim_p99_ms",
    "lateness_100k_p99_ms",
    "page_under_load_p95_ms",
    "page_events_per_s",
    "page_event_gap_p99_s",
}
APART = {
    "growth_sending_ratio",
    "growth_planning_ratio",
    "retention_writer_p99_ms",
    "page_p95_ms",
    "api_p95_ms",
    "sequence_lateness_p99_ms",
    "sequence_cpu_share",
    "sequence_enrol_seconds",
    "sequence_enrol_writer_p99_ms",
}


@dataclass(frozen=True, slots=True)
class Ran:
    """One tiny run of everything, by two processes at a time."""

    report: dict[str, Any]
    printed: str
    mark: str
    """In the environment of every process of the run."""
    temporary: Path
    """The run's folder for temporary files."""


@pytest.fixture(scope="module")
def ran(short_directory: Path) -> Ran:
    temporary = short_directory / "bench"
    temporary.mkdir(mode=0o711)
    mark = f"bench-{uuid4().hex}"
    halves = (["idle", "lateness", "page", "fleet", "sequences"], ["pipeline", "planning", "leads", "growth", "pages"])
    assert {name for half in halves for name in half} == set(bench.BENCHMARKS)
    children, reports, printed = [], [], ""
    for number, names in enumerate(halves):
        path = short_directory / f"bench-{number}.json"
        command = [sys.executable, "-m", "bench", *names, "--scale", "tiny", "--report", str(path)]
        env = os.environ | {"TMPDIR": str(temporary), "BENCH_MARK": mark}
        child = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        children.append((child, path))
    try:
        for child, path in children:
            output, _ = child.communicate(timeout=200)
            assert child.returncode == 0, output
            reports.append(json.loads(path.read_text(encoding="utf-8")))
            printed += output
    finally:
        for child, _ in children:
            child.terminate()
            child.wait(60)
    first, second = reports
    whole = {k: _united(v, second[k]) for k, v in first.items()}
    return Ran(whole, printed, mark, temporary)


def _united(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return one | other
    return one + other if isinstance(one, list) else one


@pytest.fixture(scope="module")
def found(ran: Ran) -> dict[str, Any]:
    """The report."""
    return ran.report


def test_every_figure_is_in_the_report_once_with_value_unit_target_and_verdict(found: dict[str, Any]) -> None:
    assert {figure["name"] for figure in found["figures"]} == FULL_RUN | APART == set(GOALS)
    assert len(found["figures"]) == len(GOALS)
    for figure in found["figures"]:
        assert set(figure) == {"name", "value", "unit", "target", "holds"}
        assert isinstance(figure["value"], int | float)
        assert isinstance(figure["target"], int | float)
        assert isinstance(figure["holds"], bool)


def test_the_report_says_on_what_with_what_and_how(found: dict[str, Any]) -> None:
    assert found["seed"] == 1
    assert found["scale"] == "tiny"
    assert found["failed"] == {}
    assert {"cpu", "cores", "memory_mb", "kernel", "load_before"} <= set(found["machine"])
    assert {"fleetcast", "python", "postgresql", "valkey", "asyncpg", "redis"} <= set(found["versions"])
    assert found["postgres_settings"]["pipeline"]["shared_buffers"] == TINY.shared_buffers
    assert set(found["method"]) == set(GOALS)
    assert all(sentence.endswith(".") for sentence in found["method"].values())


def test_the_printed_table_has_a_line_for_each_figure(ran: Ran) -> None:
    for name in GOALS:
        assert f"\n{name} " in ran.printed


def test_the_pipeline_counts_what_the_tables_hold(found: dict[str, Any]) -> None:
    details, value = found["details"]["pipeline"], _value(found, "pipeline_rate")
    assert details["rows"] == TINY.pipeline_rows
    assert value == pytest.approx(details["rows"] / details["seconds"], rel=0.05)
    bare = sum(details["bare_loop_rows_per_s"]) / 2
    assert _value(found, "pipeline_share_of_bare_loop") == pytest.approx(value / bare, rel=0.01)
    assert {"postgres", "valkey", "sender", "scheduler"} == set(details["cpu_us_a_message"])
    assert details["rows_a_claim"] >= 1
    assert details["wal_bytes_a_message"] > 0
    assert 0 < details["hot_share"] <= 1


def test_planning_is_compared_round_by_round(found: dict[str, Any]) -> None:
    details = found["details"]["planning"]
    assert details["rows"] == TINY.planning_rows
    assert len(details["planner_s"]) == len(details["bare_s"]) == TINY.planning_rounds
    assert details["writer_beside_planner_ms"]["writes"] > 0


def test_the_fleet_is_judged_by_the_ledger(found: dict[str, Any]) -> None:
    details = found["details"]["fleet"]
    assert details["accepted"] > 0
    assert _value(found, "gap_violations") == 0
    assert _value(found, "fleet_rate") == pytest.approx(details["accepted"] / details["window_s"], rel=0.05)
    assert set(details["cores_used"]) == set(details["memory_mb"]) == {"up", "scheduler", "sender", "web"}
    assert {"postgres", "simulator"} <= {name.split("-")[0] for name in details["cores_used_by_others"]}
    assert details["rows_by_delivery"].get("delivered", 0) + details["rows_by_delivery"].get("read", 0) > 0
    low, high = TINY.fleet_pace.min_delay, TINY.fleet_pace.max_delay
    assert low <= details["mean_gap_s"] <= high


def test_idle_and_late_devices_are_measured_from_attempts(found: dict[str, Any]) -> None:
    assert found["details"]["idle"]["rows"] == TINY.idle_campaigns
    details = found["details"]["lateness"]
    assert details["claims_measured"] > 0
    assert details["lateness_ms"]["min"] > -2


def test_the_page_is_asked_for_and_listened_to_while_the_campaign_runs(found: dict[str, Any]) -> None:
    details = found["details"]["page"]
    assert details["rows"] == TINY.page_rows
    assert details["pages"] > 1
    assert details["page_bytes"] > 1_000
    assert _value(found, "page_under_load_p95_ms") == pytest.approx(details["page_ms"]["p95"], rel=0.05)
    listening = details["browsers"]["listening"]
    assert details["events"] >= listening  # everybody was told that the campaign went out
    assert details["event_bytes"] > 100
    assert _value(found, "page_events_per_s") == pytest.approx(
        details["events"] / details["watched_s"] / listening, rel=0.05
    )
    assert _value(found, "page_event_gap_p99_s") <= details["event_gap_s"]["max"] + 0.001
    assert {"postgres", "valkey", "sender", "scheduler", "web"} == set(details["cores_used"])
    assert details["web_memory_mb"] > 10


def test_every_page_is_asked_for_on_the_state_of_a_large_install(found: dict[str, Any]) -> None:
    details = found["details"]["pages"]
    assert details["not_asked"] == []
    assert details["addresses"] > 90
    assert details["asked"] == details["addresses"] * TINY.asked
    assert details["stored"]["messages"] == TINY.state.messages
    for kind, figure in (("pages", "page_p95_ms"), ("api", "api_p95_ms")):
        slowest = details[f"slowest_{kind}"]
        assert len(slowest) == 10
        assert all(each["name"].startswith("/api/v1") is (kind == "api") for each in slowest)
        assert 0 < _value(found, figure) <= max(each["max_ms"] for each in slowest) + 0.1


def test_growth_has_a_row_for_each_size(found: dict[str, Any]) -> None:
    runs = found["details"]["growth"]["runs"]
    assert [(run["rows"], run["devices"]) for run in runs] == list(TINY.growth)
    costs = [run["sending_cpu_us_a_message"] for run in runs]
    smaller, larger = costs
    assert _value(found, "growth_sending_ratio") == pytest.approx(max(1.0, larger / smaller), rel=0.01)


def test_nothing_stays_behind(ran: Ran) -> None:
    assert list(ran.temporary.iterdir()) == []
    for entry in Path("/proc").iterdir():
        try:
            environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        assert ran.mark.encode() not in environment, entry


def test_a_benchmark_that_is_ended_cleans_up_even_where_ctrl_c_is_ignored(short_directory: Path) -> None:
    temporary = short_directory / "ended"
    temporary.mkdir(mode=0o711)
    command = ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-m", "bench", "lateness"]
    with subprocess.Popen(
        [*command, "--scale", "tiny", "--report", str(short_directory / "ended.json")],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        said = next(line for line in child.stdout if "devices" in line)
        assert said
        assert len(list(temporary.iterdir())) == 2, "the servers' data as it was made, and the benchmark's own"
        child.terminate()
        assert child.wait(60) != 0
    assert list(temporary.iterdir()) == []


def test_a_missed_target_is_no_failure_and_a_failed_benchmark_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow(order: Order) -> Outcome:
        del order
        return Outcome([judge("pipeline_rate", 12.0)])

    def broken(order: Order) -> Outcome:
        raise RuntimeError(f"no fleet with seed {order.seed}")

    monkeypatch.setattr(bench, "BENCHMARKS", {"slow": slow, "broken": broken})
    path = tmp_path / "report.json"
    assert bench.main(["slow", "--report", str(path)]) == 0
    assert json.loads(path.read_text())["figures"][0]["holds"] is False
    assert "MISSED" in capsys.readouterr().out
    assert bench.main(["--seed", "7", "--report", str(path)]) == 1
    report = json.loads(path.read_text())
    assert report["failed"] == {"broken": "RuntimeError: no fleet with seed 7"}
    assert [figure["name"] for figure in report["figures"]] == ["pipeline_rate"]


def test_a_wrong_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(["pipelin"])
    assert ended.value.code == 2
    assert "there is no benchmark 'pipelin'" in capsys.readouterr().err


def test_reports_are_not_committed() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/bench/*.json" in ignored


def _value(report: dict[str, Any], name: str) -> float:
    return float(next(figure["value"] for figure in report["figures"] if figure["name"] == name))
