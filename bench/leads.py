"""lead_import_csv_seconds, lead_import_xlsx_seconds, lead_import_peak_mb, lead_export_rows_per_s: the real commands.

Each file goes into a workspace of its own, so that every lead is a new one.
"""

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.figures import judge
from bench.lead_files import write_csv, write_workbook
from bench.outcome import Order, Outcome
from bench.stage import ROOT, Stage, folder, stage
from fleetcast.runtime import open_runtime
from fleetcast.services.devices import add_device
from fleetcast.services.workspaces import create_workspace

DEVICE = "Shop"


@dataclass(frozen=True, slots=True)
class _Ran:
    """What one command took: seconds, of CPU too, and megabytes at its peak."""

    seconds: float
    cpu: float
    postgres_cpu: float
    peak_mb: float

    @property
    def details(self) -> dict[str, float]:
        return {
            "s": round(self.seconds, 1),
            "cpu_s": round(self.cpu, 1),
            "postgres_cpu_s": round(self.postgres_cpu, 1),
            "peak_mb": round(self.peak_mb),
        }


def run(order: Order) -> Outcome:
    """Import a CSV file and a workbook, export what came of the first."""
    rows = order.scale.lead_rows
    with folder() as place, stage({"shared_buffers": order.scale.shared_buffers}) as play:
        order.tell(f"files of {rows:,} rows ...")
        write_csv(place / "leads.csv", rows, order.seed)
        write_workbook(place / "leads.xlsx", rows, order.seed)
        ran: dict[str, _Ran] = {}
        for kind in ("csv", "xlsx"):
            asyncio.run(_make_workspace(play, kind))
            file = str(place / f"leads.{kind}")
            ran[kind] = _command(play, "import", file, "--device", DEVICE, "--workspace", kind)
            order.tell(f"{kind}: {ran[kind].details}")
        _check(asyncio.run(_count(play)), 2 * rows, "leads are stored")
        out = place / "export.csv"
        ran["export"] = _command(play, "export", "--output", str(out), "--workspace", "csv")
        order.tell(f"export: {ran['export'].details}")
        with out.open("rb") as lines:
            _check(sum(1 for _ in lines), rows + 1, "lines were exported")
        sizes = {kind: round((place / f"leads.{kind}").stat().st_size / 1e6, 1) for kind in ("csv", "xlsx")}
    return Outcome(
        [
            judge("lead_import_csv_seconds", ran["csv"].seconds),
            judge("lead_import_xlsx_seconds", ran["xlsx"].seconds),
            judge("lead_import_peak_mb", max(ran["csv"].peak_mb, ran["xlsx"].peak_mb)),
            judge("lead_export_rows_per_s", rows / ran["export"].seconds),
        ],
        {"rows": rows, "file_mb": sizes} | {name: each.details for name, each in ran.items()},
        play.postgres_settings,
    )


def _check(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        raise RuntimeError(f"{found:,} {what} instead of {wanted:,}")


async def _make_workspace(play: Stage, name: str) -> None:
    async with open_runtime(play.settings) as runtime:
        await add_device(runtime, (await create_workspace(runtime, name)).id, DEVICE, region="MY")


async def _count(play: Stage) -> int:
    connection = await asyncpg.connect(play.database_url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM leads"))
    finally:
        await connection.close()


def _command(play: Stage, *words: str) -> _Ran:
    """Run `fleetcast leads …` to its end. Raises RuntimeError when it fails."""
    settings = play.settings
    assert settings.redis_url is not None
    env = os.environ | {
        "DATABASE_URL": play.database_url,
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "FLEETCAST_DATA": str(settings.data),
    }
    before, begun = play.cpu()["postgres"], time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-m", "fleetcast", "leads", *words],
        cwd=Path(ROOT),
        env=env,
        stdout=subprocess.DEVNULL,
    )
    try:
        _, status, used = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()
        raise
    finally:
        child.returncode = 0
    taken = time.monotonic() - begun
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"fleetcast leads {words[0]} ended with exit code {os.waitstatus_to_exitcode(status)}")
    return _Ran(taken, used.ru_utime + used.ru_stime, play.cpu()["postgres"] - before, used.ru_maxrss / 1024)
