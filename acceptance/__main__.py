"""`python -m acceptance [TARGET ...] [--quick] [--seed N]`: run long proofs, print their figures, write the report.

Exits 0 when every figure holds, 1 when one does not or a proof could not be finished, 2 for a wrong name.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from acceptance import chaos, report
from acceptance.report import Found
from bench import report as machine_report
from fleetcast.cli.session import runner
from fleetcast.observability.logging import configure_logging
from fleetcast.settings import Settings

TARGETS = ("chaos", "linked", "fuzz")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m acceptance", description="Prove what Fleetcast promises.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"which proofs: {', '.join(TARGETS)}")
    parser.add_argument("--quick", action="store_true", help="everything, a few of each")
    parser.add_argument("--seed", type=int, help="draws what is done; else a new one, which is printed")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="PART",
        help="this fault, or operation like 'GET /devices', alone; no report",
    )
    parser.add_argument("--report", type=Path, default=report.PATH, help="where the report is; else acceptance/")
    given = parser.parse_args(words)
    for name in given.targets:
        if name not in TARGETS:
            parser.error(f"there is no target '{name}'; there are {', '.join(TARGETS)}")
    if given.only and len(given.targets) != 1:
        parser.error("--only belongs to one target: name it")
    if given.targets == ["linked"] and given.only:
        parser.error("linked is one proof: it has no parts")
    if given.targets == ["chaos"]:
        for name in given.only:
            if name not in (known := [proof.name for proof in chaos.PROOFS]):
                parser.error(f"there is no fault '{name}'; there are {', '.join(known)}")
    return given


def _teller() -> Callable[[str], None]:
    begun = time.monotonic()
    return lambda text: print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)


async def _run(target: str, seed: int, given: argparse.Namespace) -> Found:
    if target == "linked":
        from acceptance import linked  # needs a client library that not every platform has

        return await linked.run(seed, linked.QUICK if given.quick else linked.FULL, _teller())
    if target == "fuzz":
        from acceptance import fuzz  # needs tools that only tests need

        return await fuzz.run(seed, given.quick, _teller(), given.only)
    return await chaos.run(seed, given.quick, _teller(), given.only)


def _prove(target: str, given: argparse.Namespace) -> Found:
    """Run one target and write its part of the report."""
    seed = given.seed if given.seed is not None else int.from_bytes(os.urandom(3), "big")
    scale = "quick" if given.quick else "full"
    print(f"{target} ({scale}), seed {seed}; again with: python -m acceptance {target} --seed {seed}", flush=True)
    began = datetime.now(UTC)
    found = runner(_run(target, seed, given))
    took = (datetime.now(UTC) - began).total_seconds()
    if not given.only:
        more = {
            "begun": began.isoformat(timespec="seconds"),
            "took_s": round(took),
            "scale": scale,
            "machine": machine_report.machine(),
            "details": found.details,
        }
        report.merge(
            given.report,
            target,
            seed=seed,
            versions=machine_report.versions() | found.versions,
            method=found.method,
            figures=found.figures,
            more=more,
        )
        print(f"The report is {given.report}.")
    print(f"\n{report.table(found.figures)}\n\n{took:.0f} s, seed {seed}", flush=True)
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for: the exit code."""
    given = _arguments(words)
    found = [_prove(target, given) for target in given.targets or TARGETS]
    return 0 if all(figure.holds for part in found for figure in part.figures) else 1


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us with it ignored
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # clean up as for Ctrl-C
    configure_logging(Settings(log_level="error"), "acceptance")
    sys.exit(main())
