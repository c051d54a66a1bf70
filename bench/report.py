"""The report: what was measured, on what, with what; as JSON for machines and as a table for people."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.figures import GOALS, Figure

FOLDER = Path(__file__).resolve().parent


def machine() -> dict[str, object]:
    """The computer, as far as it says."""
    model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                model = value.strip()
                break
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": memory >> 20,
        "kernel": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """What ran on our side; which servers, the benchmarks say."""
    names = ("fleetcast", "asyncpg", "redis", "uvloop")
    return {name: version(name) for name in names} | {"python": platform.python_version()}


def as_json(figures: Sequence[Figure], more: Mapping[str, Any]) -> dict[str, Any]:
    """The whole report. `more` is what the figures do not say."""
    listed = [asdict(figure) | {"value": _rounded(figure.value)} for figure in figures]
    return dict(more) | {
        "method": {figure.name: GOALS[figure.name].method for figure in figures},
        "figures": listed,
    }


def write(path: Path, report: Mapping[str, Any]) -> None:
    """In one step: nobody ever reads half a report."""
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
    half.replace(path)


def table(figures: Sequence[Figure]) -> str:
    """The figures for people."""
    rows = [("figure", "value", "unit", "target", "")]
    for figure in figures:
        sign = "<=" if GOALS[figure.name].compare(0.0, 1.0) else ">="
        verdict = "holds" if figure.holds else "MISSED"
        rows.append((figure.name, _shown(figure.value), figure.unit, f"{sign} {_shown(figure.target)}", verdict))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        f"{row[0]:{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in rows
    ]
    return "\n".join(lines)


def _rounded(value: float) -> float:
    """Four significant digits and more for large numbers: what repeats at all."""
    return float(f"{value:.4g}") if abs(value) < 1000 else round(value)


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
