"""`fleetcast doctor`: the check-up, with exit code 1 when a promise is broken."""

from dataclasses import asdict

import typer

from fleetcast.cli.output import console, emit_json, number, say, table
from fleetcast.cli.session import JsonOption, with_runtime
from fleetcast.services.doctor import Checkup, examine

app = typer.Typer()

SHOWN = 10
"""Violations of one promise in the text; JSON has more."""


@app.command("doctor")
def doctor(as_json: JsonOption = False) -> None:
    """Check versions, paths, health and every promise on the live database. Exit code 1 if a promise is broken."""
    found = with_runtime(examine)
    if as_json:
        promises = [asdict(p) | {"holds": p.holds} for p in found.promises]
        emit_json(asdict(found) | {"holds": found.holds, "promises": promises})
    else:
        _show(found)
    if not found.holds:
        raise typer.Exit(1)


def _megabytes(size: int | None) -> str:
    return "unknown" if size is None else f"{number(size // 1024**2)} MB"


def _show(found: Checkup) -> None:
    v, p, h = found.versions, found.places, found.health
    table(
        ("part", ""),
        [
            ("Fleetcast", f"{v.fleetcast} on Python {v.python}"),
            ("PostgreSQL", f"{v.postgresql} at {p.postgresql}, {_megabytes(p.database_bytes)}"),
            ("Redis or Valkey", f"{v.redis} at {p.redis}"),
            ("schema", v.schema if v.schema == v.schema_expected else f"{v.schema}, expected {v.schema_expected}"),
            ("data directory", f"{p.data}, {_megabytes(p.disk_free_bytes)} free"),
            ("clock", f"{found.clock_difference.total_seconds():+.3f} s from the database's"),
            ("senders", f"{h.senders}, holding {h.shards_leased} of {h.shards} shards"),
            ("devices", f"{number(h.devices)}, ready {number(h.devices_ready)}, paused {number(h.devices_paused)}"),
            ("campaigns running", number(h.campaigns_running)),
            ("inbound events waiting", number(h.inbox_waiting)),
        ],
    )
    console.print()
    for promise in found.promises:
        say(f"{'ok    ' if promise.holds else 'BROKEN'} {promise.invariant:>2}  {promise.name}")
        for violation in promise.violations[:SHOWN]:
            say(f"           {violation.subject}: {violation.what}", style="red")
        if len(promise.violations) > SHOWN:
            say("           and more; see --json", style="red")
    if found.concerns:
        console.print()
        for concern in found.concerns:
            say(f"Note: {concern.sentence}", style="yellow")
    console.print()
    broken = sum(not p.holds for p in found.promises)
    say(
        "Every promise holds." if not broken else f"{broken} of {len(found.promises)} promises are broken.",
        style="bold",
    )
