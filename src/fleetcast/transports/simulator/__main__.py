"""`python -m fleetcast.transports.simulator`: what `launch` starts. People use `fleetcast simulator`.

Separate from the command line's version because it must start fast and know nothing of settings.
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    """Run the simulator; the exit code says why it ended."""
    # structlog loads rich where there is one, to colour errors on a terminal: a third of this start, for nobody.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    import structlog

    from fleetcast.errors import FleetcastError
    from fleetcast.transports.simulator.server import ServerOptions, parse_latency, run

    parser = argparse.ArgumentParser(prog="simulator")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--profile", default="quiet")
    parser.add_argument("--latency-ms")
    parser.add_argument("--production", action="store_true")
    parser.add_argument("--ends-with-stdin", action="store_true")
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=sys.stderr))
    try:
        run(
            ServerOptions(
                socket=given.socket,
                ledger=given.ledger,
                seed=given.seed,
                profile=given.profile,
                latency_ms=parse_latency(given.latency_ms) if given.latency_ms else None,
                production=given.production,
                ends_with_stdin=given.ends_with_stdin,
            )
        )
    except FleetcastError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
