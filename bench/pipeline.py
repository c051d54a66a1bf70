"""pipeline_rate and pipeline_share_of_bare_loop: the whole path at full speed, and the yardstick beside it."""

from statistics import mean

from bench import statements
from bench.bare_loop import SLIM, BareLoop
from bench.figures import judge
from bench.outcome import Order, Outcome
from bench.seeding import Fleet, make_fleet, plan_and_hold
from bench.sending import send_everything
from bench.stage import Stage, stage
from fleetcast.cli.session import runner
from fleetcast.domain.pacing import Pace
from fleetcast.runtime import open_runtime

SLOWEST = 1_000.0
"""Messages a second below which the run is given up."""


def run(order: Order) -> Outcome:
    """One pass of the bare loop, one of the pipeline, one of the bare loop again, on the same servers; before all, one
    on the slim table."""
    with stage(statements.settings(order.statements) | {"shared_buffers": order.scale.shared_buffers}) as play:
        outcome = runner(_run(play, order))
    outcome.postgres_settings, outcome.servers = play.postgres_settings, play.versions
    return outcome


async def _run(play: Stage, order: Order) -> Outcome:
    scale, tell = order.scale, order.tell
    limit = 60 + scale.pipeline_rows / SLOWEST
    async with open_runtime(play.settings) as runtime:
        tell(f"{scale.pipeline_rows:,} leads on {scale.devices:,} devices ...")
        workspace = await make_fleet(runtime, Fleet(scale.devices, scale.pipeline_rows, Pace(0, 0), order.seed))
        bare = BareLoop(play.servers.database_url, play.servers.redis_url)
        slim = BareLoop(play.servers.database_url, play.servers.redis_url, SLIM)
        tell("bare loop, on a slim table ...")
        slim_rate = await slim.run(seconds=limit)
        tell(f"{slim_rate:,.0f} rows/s; bare loop, first pass ...")
        bare_rates = [await bare.run(seconds=limit)]
        tell(f"{bare_rates[0]:,.0f} rows/s; planning ...")
        campaign = await plan_and_hold(runtime, workspace)
        tell("pipeline ...")
        await statements.reset(runtime, order.statements)
        sending = await send_everything(play, runtime, workspace, campaign, order, limit)
        by_statement = await statements.read(runtime, order.statements, sending.rows)
        tell(f"{sending.rate:,.0f} msg/s; bare loop, second pass ...")
        bare_rates.append(await bare.run(seconds=limit))
        tell(f"{bare_rates[1]:,.0f} rows/s")
    share = sending.rate / mean(bare_rates)
    return Outcome(
        [judge("pipeline_rate", sending.rate), judge("pipeline_share_of_bare_loop", share)],
        sending.details()
        | {
            "senders": order.senders,
            "bare_loop_rows_per_s": [round(rate) for rate in bare_rates],
            "slim_loop_rows_per_s": round(slim_rate),
            "share_of_slim_loop": round(sending.rate / slim_rate, 3),
        }
        | ({"statements": by_statement} if order.statements else {}),
    )
