"""`python -m bench [NAME ...] [--quick] [--report PATH]`: run benchmarks, print their figures, write the report.

Exits 0 when everything could be measured, whatever the figures are; 1 when a benchmark failed, 2 for a wrong name.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import fleet, growth, idle, lateness, leads, page, pages, pipeline, planning, report, sequences, usage
from bench.figures import Figure
from bench.outcome import Order, Outcome
from bench.scale import SCALES
from fleetcast.observability.logging import configure_logging
from fleetcast.settings import Settings

BENCHMARKS: dict[str, Callable[[Order], Outcome]] = {
    "pipeline": pipeline.run,
    "planning": planning.run,
    "leads": leads.run,
    "idle": idle.run,
    "lateness": lateness.run,
    "page": page.run,
    "fleet": fleet.run,
    "growth": growth.run,
    "pages": pages.run,
    "sequences": sequences.run,
}
"""By name, in the order in which they run."""
APART = ("growth", "pages", "sequences")
"""Only by name: each takes long, and has a report of its own."""


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Fleetcast on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to measure: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="smaller and shorter, for a look")
    parser.add_argument(
        "--report",
        type=Path,
        help="where the report goes; else bench/report.json (growth.json, pages.json, sequences.json)",
    )
    parser.add_argument("--seed", type=int, default=1, help="decides what is made up")
    parser.add_argument("--senders", type=int, default=1, help="sender processes of the pipeline")
    parser.add_argument("--statements", action="store_true", help="also PostgreSQL's time by statement")
    parser.add_argument("--scale", choices=SCALES, help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark '{unknown[0]}'; there are {', '.join(BENCHMARKS)}")
    return given


def _tell(name: str) -> Callable[[str], None]:
    begun = time.monotonic()
    return lambda text: print(f"  {name} {time.monotonic() - begun:5.0f} s  {text}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for: the exit code."""
    given = _arguments(words)
    names = given.names or [name for name in BENCHMARKS if name not in APART]
    scale = SCALES[given.scale or ("quick" if given.quick else "full")]
    path = given.report or report.FOLDER / (
        f"{names[0]}.json" if len(names) == 1 and names[0] in APART else "report.json"
    )
    load = round(usage.load(), 2)
    print(f"{', '.join(names)} ({scale.name}); load of this machine {load}", flush=True)
    failed: dict[str, str] = {}
    versions = report.versions()
    settings: dict[str, object] = {}
    details: dict[str, object] = {}
    more = {
        "begun": datetime.now(UTC).isoformat(timespec="seconds"),
        "scale": scale.name,
        "seed": given.seed,
        "benchmarks": names,
        "failed": failed,
        "machine": report.machine() | {"load_before": load},
        "versions": versions,
        "postgres_settings": settings,
        "details": details,
    }
    figures: list[Figure] = []
    for name in names:
        order = Order(scale, given.seed, given.senders, given.statements, _tell(name))
        try:
            outcome, quiet = _observed(BENCHMARKS[name], order)
        except Exception as error:  # the others are still worth having
            traceback.print_exc()
            failed[name] = f"{type(error).__name__}: {error}"
        else:
            figures += outcome.figures
            versions |= outcome.servers
            settings[name] = dict(outcome.postgres_settings)
            details[name] = quiet | outcome.details
        report.write(path, report.as_json(figures, more))
    print(f"\n{report.table(figures)}\n\nThe report is {path}.", flush=True)
    for name, why in failed.items():
        print(f"{name} could not be measured: {why}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def _observed(benchmark: Callable[[Order], Outcome], order: Order) -> tuple[Outcome, dict[str, object]]:
    """Run it, and see how quiet the machine was: what others used of it meanwhile."""
    begun, busy, own = time.monotonic(), usage.busy_seconds(), usage.own_seconds()
    outcome = benchmark(order)
    taken = time.monotonic() - begun
    strangers = usage.busy_seconds() - busy - (usage.own_seconds() - own)
    return outcome, {"took_s": round(taken, 1), "cores_used_by_strangers": round(strangers / taken, 2)}


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # clean up as for Ctrl-C
    configure_logging(Settings(log_level="warning"), "bench")
    sys.exit(main())
