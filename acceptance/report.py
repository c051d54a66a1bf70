"""The report of all long proofs: each target replaces its own entries and leaves those of others alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.figures import Figure
from bench.report import write

FOLDER = Path(__file__).resolve().parent
PATH = FOLDER / "report.json"


@dataclass(slots=True)
class Found:
    """What the whole run found."""

    figures: list[Figure] = field(default_factory=list)
    method: dict[str, str] = field(default_factory=dict)
    details: dict[str, object] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    known: set[str] = field(default_factory=set)
    """What was wrong already: it is the fault of what was done before it was first seen."""

    def add(self, name: str, value: float, unit: str, target: float, method: str) -> None:
        """A figure that is to be `target`, or, in times, at least it."""
        holds = value >= target if unit == "times" else value <= target
        self.figures.append(Figure(name, value, unit, target, holds))
        self.method[name] = method


def merge(
    path: Path,
    target: str,
    *,
    seed: int,
    versions: Mapping[str, str],
    method: Mapping[str, str],
    figures: Sequence[Figure],
    more: Mapping[str, Any],
) -> None:
    """Put a target's figures in the place of its earlier ones. `more`: what the figures do not say."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    targets: dict[str, Any] = old.get("targets", {})
    names = {figure.name for figure in figures}
    gone = {*targets.get(target, {}).get("figures", ()), *names}
    kept = [entry for entry in old.get("figures", []) if entry["name"] not in gone]
    report = {
        "versions": old.get("versions", {}) | dict(versions),
        "seeds": old.get("seeds", {}) | {target: seed},
        "method": {k: v for k, v in old.get("method", {}).items() if k not in gone} | dict(method),
        "figures": kept + [asdict(figure) for figure in figures],
        "targets": targets | {target: {"figures": [figure.name for figure in figures]} | dict(more)},
    }
    write(path, report)


def table(figures: Sequence[Figure]) -> str:
    """The figures for people."""
    width = max(len(figure.name) for figure in figures)
    return "\n".join(
        f"{figure.name:{width}}  {figure.value:>9g} {figure.unit:9} target {figure.target:g}"
        f"  {'holds' if figure.holds else 'MISSED'}"
        for figure in figures
    )
