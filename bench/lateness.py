"""lateness_100k_p99_ms: 100,000 devices at a calm pace, and how far each claim is behind its time."""

import asyncio

from bench.figures import judge, percentile
from bench.outcome import Order, Outcome
from bench.seeding import ACTOR, Fleet, make_fleet, plan_and_hold
from bench.sending import until_ready
from bench.stage import Parts, Stage, stage
from fleetcast.cli.session import runner
from fleetcast.runtime import Runtime, open_runtime
from fleetcast.services.campaign_actions import resume_campaign

# As if the devices had been sending for long: each sent its last message some time within the shortest delay.
_SPREAD = """
UPDATE devices SET last_send_at = fleetcast_now() - min_delay * random() * interval '1 second'"""

# Attempts of the window whose device had one before in this run: its end, as recorded, is where the delay begins.
_MEASURED = """
SELECT extract(epoch FROM started_at - ended) * 1000 - drawn_gap_ms AS late FROM (
  SELECT a.started_at, a.drawn_gap_ms,
    lag(b.finished_at) OVER (PARTITION BY b.device_id ORDER BY a.started_at) AS ended
  FROM message_attempts a JOIN broadcast_messages b ON b.id = a.message_id) z
WHERE ended IS NOT NULL AND started_at >= $1 AND started_at < $2"""


def run(order: Order) -> Outcome:
    """Warm up for most of a cycle, then look at a window."""
    with stage({"shared_buffers": order.scale.shared_buffers}) as play:
        outcome = runner(_run(play, order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    # enough that no device runs dry, whatever delays it draws
    rows_each = int((scale.late_warm_up + scale.late_window) / scale.late_pace.min_delay) + 2
    async with open_runtime(play.settings) as runtime:
        tell(f"{scale.late_devices:,} devices with {rows_each} leads each ...")
        fleet = Fleet(scale.late_devices, scale.late_devices * rows_each, scale.late_pace, order.seed, even=True)
        workspace = await make_fleet(runtime, fleet)
        campaign = await plan_and_hold(runtime, workspace)
        async with runtime.db.connection() as connection:
            await connection.execute(_SPREAD, timeout=300)
            await connection.execute("VACUUM (ANALYZE) devices", timeout=300)
            with Parts(play, "sender", "scheduler") as parts:
                await until_ready(connection, parts, order.scale.moment)
                await resume_campaign(runtime, workspace, campaign, actor=ACTOR)
                tell(f"warming up for {scale.late_warm_up:g} s ...")
                await asyncio.sleep(scale.late_warm_up)
                parts.check()
                cpu, begun = play.cpu() | parts.cpu(), await _now(runtime)
                tell(f"measuring for {scale.late_window:g} s ...")
                await asyncio.sleep(scale.late_window)
                parts.check()
                after, ended = play.cpu() | parts.cpu(), await _now(runtime)
            found = await connection.fetch(_MEASURED, begun, ended, timeout=300)
            all_claims = await connection.fetchval(
                "SELECT count(*) FROM message_attempts WHERE started_at >= $1 AND started_at < $2", begun, ended
            )
    late = [float(row["late"]) for row in found]
    return Outcome(
        [judge("lateness_100k_p99_ms", percentile(late, 0.99))],
        {
            "devices": scale.late_devices,
            "claims_in_the_window": all_claims,
            "claims_measured": len(late),
            "claims_a_second": round(all_claims / scale.late_window, 1),
            "lateness_ms": {
                "p50": round(percentile(late, 0.5), 1),
                "p90": round(percentile(late, 0.9), 1),
                "max": round(max(late), 1),
                "min": round(min(late), 1),
            },
            "cores_used": {name: round((after[name] - cpu[name]) / scale.late_window, 3) for name in after},
        },
    )


async def _now(runtime: Runtime) -> object:
    async with runtime.db.connection() as connection:
        return await connection.fetchval("SELECT clock_timestamp()")
