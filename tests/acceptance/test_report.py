"""The report that several long proofs share."""

import json
from pathlib import Path
from typing import Any

from acceptance.report import merge
from bench.figures import Figure


def written(path: Path, target: str, seed: int, **figures: float) -> dict[str, Any]:
    """The report after a target wrote these figures, which are to be 0."""
    merge(
        path,
        target,
        seed=seed,
        versions={"postgresql": "18"},
        method={name: f"how {name}" for name in figures},
        figures=[Figure(name, value, "messages", 0, value == 0) for name, value in figures.items()],
        more={"scale": "quick"},
    )
    found = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def test_each_target_replaces_its_own_entries_only(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    written(path, "chaos", 1, lost_kill=3, lost_slow=0)
    written(path, "other", 2, month=0)
    report = written(path, "chaos", 5, lost_kill=0)
    assert {figure["name"]: figure["value"] for figure in report["figures"]} == {"month": 0, "lost_kill": 0}
    assert report["seeds"] == {"chaos": 5, "other": 2}
    assert set(report["method"]) == {"month", "lost_kill"}
    assert report["targets"]["chaos"] == {"figures": ["lost_kill"], "scale": "quick"}
    assert {"versions", "seeds", "method", "figures"} <= report.keys()
    assert set(report["figures"][0]) == {"name", "value", "unit", "target", "holds"}
