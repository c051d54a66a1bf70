"""Growth: whether a message costs the same in a small table and in a large one, with few devices and with many.

And whether an old campaign can be deleted without being felt.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench.figures import judge
from bench.outcome import Order, Outcome
from bench.retention import Deleting, delete_everything
from bench.seeding import Fleet, hold, launch, make_fleet, plan
from bench.sending import Sending, send_everything
from bench.stage import Stage, stage
from fleetcast.cli.session import runner
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import open_runtime

SLOWEST = 1_000.0
"""Messages a second below which a run is given up."""


@dataclass(frozen=True, slots=True)
class Size:
    """One run."""

    rows: int
    devices: int
    planning_us: float
    """CPU microseconds a planned row, PostgreSQL and Python."""
    planning_seconds: float
    sending: Sending
    deleting: Deleting | None
    """None where it was not measured."""

    def details(self) -> dict[str, object]:
        """The run as it stands in the report."""
        return (
            {
                "devices": self.devices,
                "planning_cpu_us_a_row": round(self.planning_us, 2),
                "planning_s": round(self.planning_seconds, 2),
                "sending_cpu_us_a_message": round(self.sending.cpu_us, 2),
                "msg_s": round(self.sending.rate),
                "bytes_a_row": {
                    name: [round(size / self.rows) for size in sizes]
                    for name, sizes in {
                        "heap": (self.sending.before.heap, self.sending.after.heap),
                        "indexes": (self.sending.before.indexes, self.sending.after.indexes),
                    }.items()
                },
            }
            | self.sending.details()
            | (self.deleting.details() if self.deleting else {})
        )


def run(order: Order) -> Outcome:
    """Each size on fresh servers."""
    sizes = []
    settings: Mapping[str, str] = {}
    versions: Mapping[str, str] = {}
    for rows, devices in order.scale.growth:
        delete = (rows, devices) == order.scale.growth_deleted
        with stage({"shared_buffers": order.scale.shared_buffers}) as play:
            settings, versions = play.postgres_settings, play.versions
            size = runner(_run(play, order, rows, devices, delete=delete))
        order.tell(
            f"{rows:>9,} rows {devices:>6,} devices: planning {size.planning_us:.1f} us a row, sending "
            f"{size.sending.cpu_us:.1f} us a message ({size.sending.rate:,.0f} msg/s), "
            f"HOT {size.sending.details()['hot_share']}"
        )
        sizes.append(size)
    return Outcome(
        [
            judge("growth_sending_ratio", dearer([(s.rows, s.devices, s.sending.cpu_us) for s in sizes])),
            judge("growth_planning_ratio", dearer([(s.rows, s.devices, s.planning_us) for s in sizes])),
        ]
        + [judge("retention_writer_p99_ms", d.beside.p99) for d in (size.deleting for size in sizes) if d],
        {"runs": [size.details() for size in sizes]},
        settings,
        versions,
    )


def dearer(runs: list[tuple[int, int, float]]) -> float:
    """How many times as dear a message is in a run than in one that is no larger in anything: (rows, devices, cost).

    The other way round is no growth: with three rows for each device, what a device costs is shared by three messages.
    """
    return max(
        large / small
        for rows, devices, small in runs
        for more_rows, more_devices, large in runs
        if more_rows >= rows and more_devices >= devices
    )


async def _run(play: Stage, order: Order, rows: int, devices: int, *, delete: bool) -> Size:
    async with open_runtime(play.settings) as runtime:
        workspace = await make_fleet(runtime, Fleet(devices, rows, Pace(0, 0), order.seed))
        campaign = await launch(runtime, workspace)
        servers, own, begun = play.cpu(), time.process_time(), time.perf_counter()
        await plan(runtime)
        taken = time.perf_counter() - begun
        spent = sum(play.cpu().values()) - sum(servers.values()) + time.process_time() - own
        await hold(runtime, workspace, campaign)
        limit = 60 + rows / SLOWEST
        sending = await send_everything(play, runtime, workspace, campaign, order, limit)
        deleting = await delete_everything(runtime, workspace, campaign, rows, limit) if delete else None
    return Size(rows, devices, spent / rows * 1e6, taken, sending, deleting)
